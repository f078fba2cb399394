"""Gathers what one demo has to tell, from what its steps left on disk, and writes the report."""

from __future__ import annotations

import json
import os
import platform
import shlex
import time
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_train.demo.options import (
    DEFAULT_EPOCHS,
    DEFAULT_FPS,
    DEFAULT_NUM_UNKNOWN,
    DEFAULT_PER_CLASS,
    DEFAULT_SEED,
    DemoOptions,
    field_share,
    usual_application,
)
from cloud_train.demo.steps import Prepared
from cloud_train.evaluation.story import KeptSample, LoopStory, Opinion, StepTime, StreamFacts, VersionFacts
from cloud_train.retrain.plan import RetrainResult
from cloud_train.retrain.steps import read_report
from cloud_train.store.layout import StoreLayout
from cloud_train.types import GateResult, SampleRecord, Split
from converters.records import read_measurements, read_record, read_trained_proof
from edge import jsonvalue
from edge.bundle.reader import open_bundle
from edge.durable import write_bytes
from edge.jsonvalue import Json

if TYPE_CHECKING:
    from rich.console import Console

NUM_GALLERY = 24


@dataclass(frozen=True, slots=True, kw_only=True)
class DemoFacts:
    """What the workflow's steps returned.

    Attributes:
        prepared: The data.
        first: Version 1.
        second: Version 2.
        control: Version 2' from randomly kept samples.
        num_labels: Samples with a label.
        times: How long each step took.
    """

    prepared: Prepared
    first: RetrainResult
    second: RetrainResult
    control: RetrainResult
    num_labels: int
    times: tuple[StepTime, ...]


def write_story(options: DemoOptions, facts_json: Json) -> Path:
    """Writes `report.html` and `figures.json`.

    Returns:
        Path of the report.
    """
    from cloud_train.evaluation.report import write_report

    facts = jsonvalue.from_json(DemoFacts, facts_json, where="demo facts")
    story = tell(options, facts, now=time.time())
    write_report(story, options.report)
    write_bytes(options.folder / "figures.json", jsonvalue.pretty_bytes(figures(story, facts)), point="demo.figures")
    write_bytes(options.folder / "facts.json", jsonvalue.pretty_bytes(facts), point="demo.facts")
    return options.report


def print_story(options: DemoOptions, console: Console, *, as_json: bool) -> None:
    """Prints the table, or the figures as JSON."""
    from cloud_train.evaluation.report import terminal_table

    if as_json:
        print(json.dumps(json.loads((options.folder / "figures.json").read_bytes())))
        return
    facts = jsonvalue.load(DemoFacts, (options.folder / "facts.json").read_bytes(), where="facts.json")
    console.print(terminal_table(tell(options, facts, now=time.time())))


def tell(options: DemoOptions, facts: DemoFacts, *, now: float) -> LoopStory:
    """Everything the report shows."""
    from cloud_train.evaluation.metrics import paired_gain

    v1, v2, control = (_version(options, result) for result in (facts.first, facts.second, facts.control))
    records = kept_records(options, facts.first.bundle_digest)
    gain = paired_gain(v1.report, v2.report)
    return LoopStory(
        title="edgeloop: one turn of the loop",
        command=command_line(options),
        hardware=f"{processor_name()}, {os.cpu_count()} cores, {platform.system()} {platform.machine()}, no GPU used",
        data=data_line(options, facts),
        answers="the data set's own label, in place of a person, through the call that a person's click makes",
        unknown_classes=facts.prepared.unknown,
        v1=v1,
        v2=v2,
        control=control,
        gain=gain,
        gain_over_control=paired_gain(control.report, v2.report),
        gate=GateResult(passed=facts.second.published, gain=gain, reasons=facts.second.gate_reasons),
        stream=stream_facts(options, facts, records),
        num_labels=facts.num_labels,
        kept=gallery(options, facts, records),
        chain=chain(facts),
        steps=facts.times,
        created_at=now,
    )


def command_line(options: DemoOptions) -> str:
    """What was typed, without the work folder and what had its default."""
    usual = {
        "data": ("--data", ""),
        "weights": ("--weights", ""),
        "application": ("--app", usual_application(options.weights)),
        "per_class": ("--per-class", DEFAULT_PER_CLASS),
        "field_fraction": ("--field-fraction", field_share(options.application)),
        "num_unknown": ("--num-unknown", DEFAULT_NUM_UNKNOWN),
        "epochs": ("--epochs", DEFAULT_EPOCHS),
        "fps": ("--fps", DEFAULT_FPS),
        "seed": ("--seed", DEFAULT_SEED),
    }
    words = ["edgeloop", "demo"]
    for name, (option, default) in usual.items():
        value = getattr(options, name)
        if value != default:
            words += [option, os.path.relpath(value) if name in ("data", "weights") else str(value)]
    return shlex.join(words) if len(words) > 2 else "make demo"


def processor_name() -> str:
    """The processor as the system names it."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def data_line(options: DemoOptions, facts: DemoFacts) -> str:
    """The pictures in one line."""
    from cloud_train.datasets.snapshot import load_snapshot

    snapshot = load_snapshot(StoreLayout(root=options.store).snapshot(facts.prepared.snapshot))
    counts = ", ".join(f"{len(snapshot.of(split))} {split.value}" for split in Split)
    where = f"pictures of {Path(options.data).name}" if options.data else "drawn shelf products"
    field = f"{len(facts.prepared.field)} of them seen by the device only"
    return f"{len(snapshot.items)} {where} in {len(snapshot.classes)} classes ({counts}; {field})"


def kept_records(options: DemoOptions, judged_by: str) -> tuple[SampleRecord, ...]:
    """The samples that version 1 kept and the server holds, most instructive first."""
    from cloud_train.store.opened import open_store

    with open_store(options.store) as store:
        records = [record for record in store.meta.samples() if record.metadata.bundle_digest == judged_by]
    return tuple(sorted(records, key=lambda record: (-record.metadata.value, record.digest)))


def journal(options: DemoOptions) -> list[dict[str, Any]]:
    """Every answered frame that the device still remembers, oldest first."""
    lines: list[dict[str, Any]] = []
    for name in ("predictions.1.jsonl", "predictions.jsonl"):
        path = options.device / name
        if path.exists():
            lines += [
                json.loads(line)
                for line in path.read_text().splitlines()
                if line.startswith("{") and line.endswith("}")
            ]
    return lines


def stream_facts(options: DemoOptions, facts: DemoFacts, records: tuple[SampleRecord, ...]) -> StreamFacts:
    """What passed before the device: the first pass by picture, the swap by frame."""
    lines = journal(options)
    first = {line["picture_digest"]: line for line in lines if line["bundle_digest"] == facts.first.bundle_digest}
    outcomes = Counter(line["outcome"] for line in first.values())
    swap = json.loads((options.folder / "swap.json").read_bytes())
    by_bundle = swap["frames_by_bundle"]
    return StreamFacts(
        captured=swap["frames_seen"],
        answered=swap["frames_answered"],
        dropped=swap["frames_dropped"],
        by_bundle=(
            ("v1", by_bundle.get(facts.first.bundle_digest, 0)),
            ("v2", by_bundle.get(facts.second.bundle_digest, 0)),
        ),
        accepted=outcomes["accept"],
        confirmed=outcomes["confirm"],
        unknown=outcomes["unknown"],
        kept=len(records),
        bytes_seen=sum(path.stat().st_size for path in options.field.iterdir()),
        bytes_uploaded=sum(record.size_bytes for record in records),
    )


def gallery(options: DemoOptions, facts: DemoFacts, records: tuple[SampleRecord, ...]) -> tuple[KeptSample, ...]:
    """Kept samples, spread evenly over how instructive they were, with what both versions say."""
    from cloud_train.store.opened import open_store
    from edge.engine import open_engine

    blobs = open_store(options.store).blobs
    truth = {item.digest: item.label for item in facts.prepared.field}
    known = [record for record in records if record.digest in truth]
    num = min(NUM_GALLERY, len(known))
    chosen = [known[number * len(known) // num] for number in range(num)]
    with open_engine(Path(facts.second.bundle)) as engine:
        return tuple(_kept_sample(record, blobs.read(record.digest), truth[record.digest], engine) for record in chosen)


def _kept_sample(record: SampleRecord, picture: bytes, truth: str, engine: Any) -> KeptSample:  # noqa: ANN401 - an Engine
    now = engine.infer(picture)
    best = now.prediction.headline
    said = record.metadata
    return KeptSample(
        digest=record.digest,
        picture=picture,
        truth=truth,
        reason=said.reason.value,
        v1=Opinion(label=said.label, confidence=said.confidence, outcome=said.outcome.value),
        v2=Opinion(label=best.label, confidence=best.confidence, outcome=now.decision.outcome.value),
    )


def chain(facts: DemoFacts) -> tuple[tuple[str, str], ...]:
    """Names and digests from the pictures to the published bundle."""
    second = open_bundle(Path(facts.second.bundle))
    origin = second.manifest.provenance
    return (
        ("snapshot of everything", facts.prepared.snapshot),
        ("snapshot v1", facts.first.snapshot),
        ("bundle v1", facts.first.bundle_digest),
        ("snapshot v2", facts.second.snapshot),
        ("run v2", origin.run),
        ("weights v2", origin.weights),
        ("bundle v2", second.digest),
    )


def figures(story: LoopStory, facts: DemoFacts) -> dict[str, object]:
    """The figures a script would read."""
    return {
        "bundle_v1": facts.first.bundle_digest,
        "bundle_v2": facts.second.bundle_digest,
        "num_test": len(story.v1.report.pictures),
        "accuracy_v1": story.v1.report.accuracy,
        "accuracy_v2": story.v2.report.accuracy,
        "accuracy_control": story.control.report.accuracy if story.control else None,
        "majority_baseline": story.v2.report.majority_baseline,
        "histogram_baseline": story.v2.report.histogram_baseline,
        "gain": story.gain,
        "gain_over_control": story.gain_over_control,
        "frames": story.stream.judged,
        "kept": story.stream.kept,
        "bytes_seen": story.stream.bytes_seen,
        "bytes_uploaded": story.stream.bytes_uploaded,
        "captured": story.stream.captured,
        "answered": story.stream.answered,
        "dropped": story.stream.dropped,
        "gate": story.gate,
        "proof_v1": open_bundle(Path(facts.first.bundle)).manifest.proof,
        "proof_v2": open_bundle(Path(facts.second.bundle)).manifest.proof,
        "steps": story.steps,
    }


def _version(options: DemoOptions, result: RetrainResult) -> VersionFacts:
    from cloud_train.datasets.snapshot import load_snapshot

    bundle = open_bundle(Path(result.bundle))
    snapshot = load_snapshot(StoreLayout(root=options.store).snapshot(result.snapshot))
    proof = read_trained_proof(bundle)
    return VersionFacts(
        report=read_report(Path(result.report)),
        num_train=len(snapshot.of(Split.TRAIN)),
        proof=proof,
        measurements=read_measurements(bundle),
        record=read_record(bundle),
        reference_bytes=next(
            (entry.size_bytes for entry in bundle.manifest.files if proof and entry.name == proof.reference), 0
        ),
    )

"""What the report tells, from small real folders: a journal, a store with samples, proven bundles, reports."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import itertools
import json
from collections.abc import Callable
from pathlib import Path

import pytest
from demo_values import demo_options
from report_values import made_measurements, made_report
from rich.console import Console
from sample_values import sample_of
from tiny_bundles import picture_bytes

from cloud_train.datasets.snapshot_file import save_snapshot
from cloud_train.demo import story
from cloud_train.demo.options import DEFAULT_PER_CLASS, DemoOptions, field_share
from cloud_train.demo.steps import Prepared
from cloud_train.demo.story import DemoFacts
from cloud_train.evaluation.story import StepTime
from cloud_train.retrain.plan import RetrainResult
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.layout import StoreLayout
from cloud_train.store.sql import open_meta_store
from cloud_train.types import DatasetSnapshot, EvalReport, SampleRecord, SnapshotItem, Split
from edge import jsonvalue
from edge.bundle.manifest import MEASUREMENTS_NAME
from edge.bundle.reader import open_bundle
from edge.engine import open_engine

NOW = 1_800_000_000.0
NUM_FIELD = 30
KNOWN = ("red", "green", "blue")


def picture(number: int) -> bytes:
    """Like none of the others; its class is `label_of(number)`."""
    colour = {"red": (200, 20, 30), "green": (30, 190, 20), "blue": (20, 40, 210)}[label_of(number)]
    return picture_bytes(tuple(channel + number for channel in colour), size=(40, 36))


def label_of(number: int) -> str:
    return KNOWN[number % len(KNOWN)]


@pytest.fixture
def options(tmp_path: Path) -> DemoOptions:
    return demo_options(tmp_path / "work")


@pytest.fixture
def layout(options: DemoOptions) -> StoreLayout:
    return StoreLayout(root=options.store)


@pytest.fixture
def field(options: DemoOptions, layout: StoreLayout) -> tuple[SnapshotItem, ...]:
    """The field's pictures, in the folder and in the store."""
    options.field.mkdir(parents=True)
    blobs = FolderBlobStore(layout.blobs)
    items = []
    for number in range(NUM_FIELD):
        (options.field / f"{number:05d}.png").write_bytes(picture(number))
        digest = blobs.put(picture(number))
        items.append(
            SnapshotItem(digest=digest, label=label_of(number), split=Split.TRAIN, group=digest, origin="file:x")
        )
    return tuple(items)


def snapshot_with(layout: StoreLayout, items: tuple[SnapshotItem, ...]) -> str:
    ordered = tuple(sorted(items, key=lambda item: item.digest))
    snapshot = DatasetSnapshot(format_version=1, name="few", classes=tuple(sorted(KNOWN)), items=ordered)
    return save_snapshot(snapshot, layout.snapshots)


@pytest.fixture
def facts(
    options: DemoOptions,
    layout: StoreLayout,
    field: tuple[SnapshotItem, ...],
    make_bundle: Callable[..., Path],
) -> DemoFacts:
    def result(name: str, number: int, share: float, snapshot: str) -> RetrainResult:
        bundle = make_bundle(layout.bundles / name, version=number, flavour=number)
        (bundle / MEASUREMENTS_NAME).write_bytes(jsonvalue.pretty_bytes(made_measurements()))
        digest = open_bundle(bundle).digest
        report = dataclasses.replace(made_report(name, lambda _: share, labels=KNOWN), bundle=digest)
        layout.reports.mkdir(exist_ok=True)
        path = layout.reports / f"{name}.json"
        path.write_bytes(jsonvalue.pretty_bytes(report))
        return RetrainResult(
            snapshot=snapshot,
            run=f"runs/{name}",
            bundle=str(bundle),
            bundle_digest=digest,
            report=str(path),
            gate="passed",
            gate_reasons=("gain: ok: +9.0",),
            published=True,
        )

    told, everything = (snapshot_with(layout, field[:number]) for number in (10, NUM_FIELD))
    return DemoFacts(
        prepared=Prepared(snapshot=everything, told=told, unknown=("blue",), field=field),
        first=result("v1", 1, 0.5, told),
        second=result("v2", 2, 0.9, everything),
        control=result("control", 3, 0.7, everything),
        num_labels=4,
        times=(StepTime(name="data", seconds=1.5),),
    )


def keep(options: DemoOptions, field: tuple[SnapshotItem, ...], judged_by: str, numbers: range) -> None:
    """Puts field pictures into the server's store as samples, the later the more instructive."""
    records = []
    for number in numbers:
        sample = sample_of(
            picture(number), bundle_digest=judged_by, label="red", confidence=0.4, value=number / NUM_FIELD
        )
        assert sample.digest == field[number].digest
        records.append(
            SampleRecord(
                digest=sample.digest, size_bytes=len(sample.payload), received_at=NOW, metadata=sample.metadata
            )
        )
    with contextlib.closing(open_meta_store(StoreLayout(root=options.store).meta)) as meta:
        meta.add_samples(tuple(records))


def write_journal(options: DemoOptions, name: str, *frames: tuple[int, str, str]) -> None:
    """Lines of the device about frames `(picture, bundle, outcome)`, with a torn one at the end."""
    options.device.mkdir(exist_ok=True)
    lines = [
        json.dumps({"picture_digest": f"{number:064d}", "bundle_digest": bundle, "outcome": outcome})
        for number, bundle, outcome in frames
    ]
    (options.device / name).write_text("\n".join([*lines, '{"picture_digest": "0']))


def write_swap(options: DemoOptions, facts: DemoFacts) -> None:
    by_bundle = {facts.first.bundle_digest: 70, facts.second.bundle_digest: 28}
    swap = {"frames_seen": 100, "frames_answered": 98, "frames_dropped": 2, "frames_by_bundle": by_bundle}
    (options.folder / "swap.json").write_text(json.dumps(swap))


def test_the_stream_counts_the_first_pass_by_picture_and_the_swap_by_frame(
    options: DemoOptions, facts: DemoFacts, field: tuple[SnapshotItem, ...]
) -> None:
    v1, v2 = facts.first.bundle_digest, facts.second.bundle_digest
    write_journal(options, "predictions.1.jsonl", (1, v1, "accept"), (2, v1, "accept"), (3, v1, "confirm"))
    write_journal(options, "predictions.jsonl", (4, v1, "unknown"), (1, v1, "accept"), (2, v2, "accept"))
    write_swap(options, facts)
    keep(options, field, v1, range(5))
    records = story.kept_records(options, v1)
    told = story.stream_facts(options, facts, records)
    assert (told.captured, told.answered, told.dropped) == (100, 98, 2)
    assert told.by_bundle == (("v1", 70), ("v2", 28))
    assert (told.accepted, told.confirmed, told.unknown, told.judged) == (2, 1, 1, 4)
    assert told.kept == 5
    assert told.bytes_seen == sum(len(picture(number)) for number in range(NUM_FIELD))
    assert told.bytes_uploaded == sum(len(picture(number)) for number in range(5))


def test_kept_records_are_those_of_one_bundle_most_instructive_first(
    options: DemoOptions, facts: DemoFacts, field: tuple[SnapshotItem, ...]
) -> None:
    keep(options, field, facts.first.bundle_digest, range(6))
    keep(options, field, facts.second.bundle_digest, range(6, 9))
    records = story.kept_records(options, facts.first.bundle_digest)
    assert [record.digest for record in records] == [item.digest for item in reversed(field[:6])]


def test_the_gallery_says_what_both_versions_said(
    options: DemoOptions, facts: DemoFacts, field: tuple[SnapshotItem, ...]
) -> None:
    keep(options, field, facts.first.bundle_digest, range(3))
    shown = story.gallery(options, facts, story.kept_records(options, facts.first.bundle_digest))
    assert [one.digest for one in shown] == [item.digest for item in reversed(field[:3])]
    assert [one.truth for one in shown] == [label_of(number) for number in (2, 1, 0)]
    assert [one.picture for one in shown] == [picture(number) for number in (2, 1, 0)]
    with open_engine(Path(facts.second.bundle)) as engine:
        for one in shown:
            now = engine.infer(one.picture)
            assert (one.v1.label, one.v1.confidence, one.v1.outcome) == ("red", 0.4, "confirm")
            assert (one.v2.label, one.v2.outcome) == (now.prediction.top[0].label, now.decision.outcome.value)


def test_the_gallery_is_spread_over_all_that_was_kept(
    options: DemoOptions, facts: DemoFacts, field: tuple[SnapshotItem, ...]
) -> None:
    keep(options, field, facts.first.bundle_digest, range(NUM_FIELD))
    records = story.kept_records(options, facts.first.bundle_digest)
    places = [record.digest for record in records]
    shown = [places.index(one.digest) for one in story.gallery(options, facts, records)]
    assert len(shown) == story.NUM_GALLERY
    assert shown == sorted(set(shown))
    assert shown[-1] >= NUM_FIELD - 2, "the least instructive are missing"
    assert max(after - before for before, after in itertools.pairwise(shown)) <= 2


def test_the_gallery_leaves_out_what_was_not_in_the_field(
    options: DemoOptions, facts: DemoFacts, field: tuple[SnapshotItem, ...]
) -> None:
    keep(options, field, facts.first.bundle_digest, range(4))
    short = dataclasses.replace(facts, prepared=dataclasses.replace(facts.prepared, field=field[:2]))
    shown = story.gallery(options, short, story.kept_records(options, facts.first.bundle_digest))
    assert {one.digest for one in shown} == {item.digest for item in field[:2]}
    assert story.gallery(options, facts, ()) == ()


@pytest.fixture
def told(options: DemoOptions, facts: DemoFacts, field: tuple[SnapshotItem, ...]) -> DemoFacts:
    """A work folder from which everything can be told."""
    write_journal(options, "predictions.jsonl", (1, facts.first.bundle_digest, "unknown"))
    write_swap(options, facts)
    keep(options, field, facts.first.bundle_digest, range(4))
    return facts


def test_the_figures_are_those_of_the_reports(options: DemoOptions, told: DemoFacts) -> None:
    whole = story.tell(options, told, now=NOW)
    reports = {
        name: jsonvalue.load(EvalReport, Path(result.report).read_bytes(), where=name)
        for name, result in (("v1", told.first), ("v2", told.second), ("control", told.control))
    }
    figures = story.figures(whole, told)
    for name, report in reports.items():
        assert figures[f"accuracy_{name}"] == report.accuracy
    assert figures["num_test"] == len(reports["v1"].pictures)
    gain = reports["v2"].accuracy.value - reports["v1"].accuracy.value
    assert figures["gain"].value == pytest.approx(gain)
    assert figures["gain"].lower < figures["gain"].value < figures["gain"].upper
    over_control = reports["v2"].accuracy.value - reports["control"].accuracy.value
    assert figures["gain_over_control"].value == pytest.approx(over_control)
    assert (figures["bundle_v1"], figures["bundle_v2"]) == (told.first.bundle_digest, told.second.bundle_digest)
    assert (whole.v1.num_train, whole.v2.num_train) == (10, NUM_FIELD)
    assert whole.v1.measurements == made_measurements()


def test_the_chain_ends_at_the_published_bundle(told: DemoFacts) -> None:
    links = dict(story.chain(told))
    origin = open_bundle(Path(told.second.bundle)).manifest.provenance
    assert links["snapshot of everything"] == told.prepared.snapshot
    assert (links["snapshot v1"], links["bundle v1"]) == (told.first.snapshot, told.first.bundle_digest)
    assert (links["run v2"], links["weights v2"]) == (origin.run, origin.weights)
    assert links["bundle v2"] == told.second.bundle_digest


def test_the_data_in_one_line(options: DemoOptions, told: DemoFacts) -> None:
    line = story.data_line(options, told)
    assert line.startswith("30 drawn shelf products in 3 classes (30 train, 0 val, 0 test; 30 of them seen by")
    own = dataclasses.replace(options, data="/my/coins")
    assert story.data_line(own, told).startswith("30 pictures of coins in 3 classes")


def test_the_command_line_as_it_was_typed(
    options: DemoOptions, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    usual = dataclasses.replace(options, per_class=DEFAULT_PER_CLASS, epochs=0, field_fraction=field_share("shelf"))
    assert story.command_line(usual) == "make demo"
    changed = dataclasses.replace(usual, epochs=2, seed=8, field_fraction=0.25)
    assert story.command_line(changed) == "edgeloop demo --field-fraction 0.25 --epochs 2 --seed 8"
    data, weights = str(tmp_path / "my coins"), str(tmp_path / "w.safetensors")
    own = dataclasses.replace(
        usual, data=data, weights=weights, application="transfer", field_fraction=field_share("transfer")
    )
    assert story.command_line(own) == "edgeloop demo --data 'my coins' --weights w.safetensors"
    other = dataclasses.replace(own, application="shelf", field_fraction=field_share("shelf"))
    assert story.command_line(other).endswith("w.safetensors --app shelf")


def test_the_report_and_the_figures_are_written(options: DemoOptions, told: DemoFacts) -> None:
    path = story.write_story(options, jsonvalue.to_json(told))
    assert path == options.report
    page = path.read_text()
    assert told.second.bundle_digest in page
    assert "http://" not in page.replace("http://www.w3.org", "")
    figures = json.loads((options.folder / "figures.json").read_bytes())
    assert figures["bundle_v2"] == told.second.bundle_digest
    assert not list(options.folder.glob(".*.tmp"))


def test_the_table_and_the_json_are_printed(
    options: DemoOptions, told: DemoFacts, capsys: pytest.CaptureFixture[str]
) -> None:
    story.write_story(options, jsonvalue.to_json(told))
    screen = io.StringIO()
    story.print_story(options, Console(file=screen, width=140), as_json=False)
    accuracy = jsonvalue.load(EvalReport, Path(told.second.report).read_bytes(), where="v2").accuracy.value
    assert f"{accuracy:.1f}" in screen.getvalue()
    capsys.readouterr()
    story.print_story(options, Console(file=screen), as_json=True)
    assert json.loads(capsys.readouterr().out) == json.loads((options.folder / "figures.json").read_bytes())

"""Wraps a model that edgeloop did not make into a bundle: `edgeloop bundle import`.

What is told by a flag wins, what the file says comes next, then what shows when the model is run on drawn pictures. A
few harmless things are assumed and said; what stays open is asked for. The bundle is `imported` and not proven.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from converters.apart.convert import as_tflite
from converters.bundle_writer import file_entries, publish_bundle, stage_bundle, working_folder
from converters.foreign.external import as_one_file
from converters.foreign.inspect import opened_model
from converters.foreign.job import ImportJob, bundle_name
from converters.foreign.labels import MAX_BYTES as MAX_LABEL_BYTES
from converters.foreign.labels import read_label_file
from converters.foreign.recording import list_golden_pictures, record_golden
from converters.foreign.told import Finding
from converters.foreign.understand import Understood, understand
from converters.golden import GOLDEN_FILE, Recorder
from edge import __version__, durable, jsonvalue
from edge.backends.base import InferenceBackend
from edge.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    BundleManifest,
    Origin,
    ProofSummary,
    Provenance,
    QualityLimits,
    Task,
    Verdict,
)
from edge.bundle.reader import Bundle, open_bundle
from edge.engine import open_engine
from edge.errors import EdgeloopError, UsageError
from edge.postprocess.select import load_stage_files
from edge.update.selftest import self_test

TASKS = (Task.CLASSIFY, Task.DETECT, Task.MATCH)


@dataclass(frozen=True, slots=True, kw_only=True)
class Imported:
    """A bundle with what is believed about its model.

    Attributes:
        bundle: Where it stands.
        findings: What is believed, and why.
        notes: What was done to the labels, for people.
    """

    bundle: Bundle
    findings: tuple[Finding, ...]
    notes: tuple[str, ...]


def _keep_what_is_proven(out: Path) -> None:
    """A second import would throw the proof away."""
    if not (out / MANIFEST_NAME).is_file():
        return
    try:
        verdict = open_bundle(out, digests=False).manifest.proof.verdict
    except EdgeloopError:
        return  # a damaged one may be replaced
    if verdict is not Verdict.NONE:
        raise UsageError(f"{out} is a proven bundle ({verdict.value})", hint="name another folder with --out")


def import_converted(job: ImportJob, *, environments: Path, say: Callable[[str], None]) -> Imported:
    """Converts a Keras or ONNX file to TFLite in an environment apart, and imports that.

    Args:
        job: Its model is a `.keras`, `.h5` or `.onnx` file.
        environments: The folder where such environments are made and kept.
        say: Takes a line for people before anything takes long.

    Raises:
        ApartError: The environment cannot be made, or the conversion broke down.
        EdgeloopError: What `import_model` raises; a `BackendError` also where the model cannot be converted.
    """
    _keep_what_is_proven(job.out)
    _check_labels(job.labels)
    name = job.name or bundle_name(job.model)
    with as_tflite(job.model, root=environments, say=say) as converted:
        imported = import_model(replace(job, model=converted.path, name=name), producer=converted.producer)
    return replace(imported, notes=(converted.line(), *imported.notes))


def _check_labels(path: Path | None) -> None:
    """Nobody waits for a conversion to hear that the label file cannot be used."""
    if path is None:
        return
    try:
        with path.open("rb") as file:
            read_label_file(file.read(MAX_LABEL_BYTES + 1), name=path.name)
    except OSError as cause:
        raise UsageError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause


def import_model(job: ImportJob, *, producer: str = "") -> Imported:
    """Wraps a foreign model into a bundle, which is opened and run once before it appears.

    Args:
        job: What is to be imported.
        producer: What made the file from one of another format, for the manifest; empty where it is as it came.

    Raises:
        UsageError: Something is missing, told wrong, or stays open; names the flag that settles it.
        FormatError: The label file cannot be used, or does not fit the model.
        BackendError: The model is damaged, or is no model with one picture as its input.
        MissingExtraError: Its runtime is not installed.
        StorageError: The disk is full or failing; what stood at `out` still stands.
    """
    if job.task not in TASKS:
        known = ", ".join(task.value for task in TASKS)
        raise UsageError(f"a model with task {job.task.value!r} cannot be imported", hint=f"tasks: {known}")
    name = job.name or bundle_name(job.model)
    with opened_model(job.model) as (model, backend):
        try:
            understood = understand(model, backend, job)
        except ValueError as cause:  # what no spec of the manifest allows
            raise UsageError(f"{model.name}: {cause}") from cause
        files = {understood.stage.artifacts[0].file: as_one_file(model.path), **understood.files}
        if job.golden is not None:
            files |= _golden_files(understood, backend, job)
    manifest = _manifest(job, name, understood, files, producer)
    durable.make_folder(job.out.absolute().parent)
    _keep_what_is_proven(job.out)
    with working_folder(job.out) as work:
        staged = stage_bundle(manifest, files, work=work)
        _try(staged)
        bundle = publish_bundle(staged, job.out, work=work)
    return Imported(bundle=bundle, findings=tuple(understood.findings), notes=understood.labels.notes)


def _golden_files(understood: Understood, backend: InferenceBackend, job: ImportJob) -> dict[str, bytes]:
    assert job.golden is not None  # noqa: S101  (asked by the caller)
    recorder = Recorder(
        stage=understood.stage,
        labels=understood.labels.names,
        policy=job.decision,
        files=load_stage_files(understood.stage, understood.files.__getitem__),
    )
    draft = record_golden(recorder, backend, list_golden_pictures(job.golden))
    return {GOLDEN_FILE: jsonvalue.canonical_bytes(draft.index), **draft.pictures}


def _manifest(
    job: ImportJob, name: str, understood: Understood, files: dict[str, bytes], producer: str
) -> BundleManifest:
    made_by = ", ".join(word for word in (f"edgeloop {__version__}", producer) if word)
    nobody = Provenance(run="", snapshot="", train_recipe="", seed=0, weights="", producer=made_by)
    return BundleManifest(
        format_version=FORMAT_VERSION,
        name=name,
        version=job.version,
        task=job.task,
        origin=Origin.IMPORTED,
        labels=understood.labels.names,
        stages=(understood.stage,),
        decision=job.decision,
        keep=job.keep,
        limits=QualityLimits(),
        proof=ProofSummary(verdict=Verdict.NONE),
        provenance=nobody,
        golden_file=GOLDEN_FILE if GOLDEN_FILE in files else "",
        files=file_entries(files),
        capture=job.capture,
    )


def _try(staged: Bundle) -> None:
    """Runs the golden vectors, or where there are none one grey picture, through the whole engine."""
    import numpy as np

    if staged.manifest.golden_file:
        self_test(staged)
    size = staged.manifest.stages[0].preprocess
    with open_engine(staged, allow_unproven=True) as engine:
        engine.infer(np.full((size.height, size.width, 3), 128, dtype=np.uint8))

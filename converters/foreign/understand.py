"""All that has to be known about a foreign model before it can be run: what is told wins, then what is found."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

from converters.foreign.answers import classifier_output
from converters.foreign.boxes import detector_side, wants_letterbox
from converters.foreign.input_side import input_spec
from converters.foreign.inspect import ForeignModel, probe
from converters.foreign.job import ImportJob, bundle_name
from converters.foreign.labels import (
    MAX_BYTES,
    LabelFile,
    Labels,
    fit_labels,
    label_counts,
    read_label_file,
    with_background,
)
from converters.foreign.references import (
    GALLERY_FILE,
    describe_references,
    embedding_output,
    gallery_of,
    list_references,
)
from converters.foreign.told import Finding, Source, Told
from edge.backends.base import InferenceBackend
from edge.bundle.manifest import (
    ArtifactSpec,
    CropPolicy,
    DetectSpec,
    InputType,
    MatchSpec,
    OutputSpec,
    StageSpec,
    Task,
)
from edge.errors import UsageError

if TYPE_CHECKING:
    from converters.foreign.answers import Runs

RECIPE = "imported"
# Of the range of an output. Integer models move in steps, which another processor may take one off.
_FLOAT_TOLERANCE, _INTEGER_TOLERANCE = 1e-4, 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class _Answers:
    """The output side of a model, and the labels that fit it."""

    outputs: tuple[OutputSpec, ...]
    labels: Labels
    crop: CropPolicy
    findings: list[Finding]
    detect: DetectSpec | None = None
    match: MatchSpec | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Understood:
    """A model whose every question is answered.

    Attributes:
        stage: How it is run and read.
        labels: Its class names.
        findings: What is believed, and why.
        files: What its answers need beside the model, by name.
    """

    stage: StageSpec
    labels: Labels
    findings: list[Finding]
    files: dict[str, bytes]


def understand(model: ForeignModel, backend: InferenceBackend, job: ImportJob) -> Understood:
    """Answers every question about a model, by what is told, found in its file, seen in its outputs, or assumed.

    Args:
        model: What the file says.
        backend: The same model, to be run.
        job: What the person says.

    Raises:
        UsageError: Something is missing, told wrong, or stays open; names the flag that settles it.
        FormatError: The label file cannot be used, or does not fit the model.
        BackendError: The model fails.
        ImageError: A reference picture cannot be used; names the file.
        ValueError: Something was found or told that no bundle allows.
    """
    spec, findings = input_spec(model, job.told)
    runs = probe(backend, spec)
    answers = _answers(model, job, runs)
    crop = job.told.crop or answers.crop
    stage = StageSpec(
        name=job.task.value,
        preprocess=replace(spec, crop=crop),
        outputs=answers.outputs,
        artifacts=(_artifact(model, job.told),),
        task=job.task,
        detect=answers.detect,
        match=answers.match,
    )
    files = {}
    if job.gallery is not None and answers.match is not None:
        data = gallery_of(list_references(job.gallery), backend, stage.preprocess, stage.outputs[0].name)
        files[GALLERY_FILE] = data
    findings = [
        *findings,
        Finding(what="crop", value=crop.value, source=Source.FLAG if job.told.crop else Source.ASSUMED),
        *answers.findings,
    ]
    return Understood(stage=stage, labels=answers.labels, findings=findings, files=files)


def _answers(model: ForeignModel, job: ImportJob, runs: Runs) -> _Answers:
    if job.task is Task.MATCH:
        return _embedder(model, job, runs)
    file, source = _label_file(model, job)
    answers = (_detector if job.task is Task.DETECT else _classifier)(model, job.told, runs, file)
    said = Finding(what="labels", value=f"{len(answers.labels.names)} from {file.name}", source=source)
    return replace(answers, findings=[*answers.findings, said])


def _classifier(model: ForeignModel, told: Told, runs: Runs, file: LabelFile) -> _Answers:
    output, findings = classifier_output(model, told, runs, len(file.lines))
    labels = fit_labels(file, max(output.shape))
    return _Answers(outputs=(output,), labels=labels, crop=CropPolicy.CENTER, findings=findings)


def _detector(model: ForeignModel, told: Told, runs: Runs, file: LabelFile) -> _Answers:
    side = detector_side(model, told, runs, label_counts(file))
    labels = fit_labels(file, side.num_classes)
    crop = CropPolicy.LETTERBOX if wants_letterbox(model, side.detect.decoder) else CropPolicy.STRETCH
    return _Answers(outputs=side.outputs, labels=labels, crop=crop, findings=side.findings, detect=side.detect)


def _embedder(model: ForeignModel, job: ImportJob, runs: Runs) -> _Answers:
    if job.gallery is None:
        raise UsageError(f"{model.name}: what shall its embeddings be compared with?", hint="add --gallery FOLDER")
    references = list_references(job.gallery)
    output, findings = embedding_output(model, job.told, runs)
    spec = MatchSpec(gallery=(GALLERY_FILE,))
    if job.told.match_threshold is not None:
        spec = replace(spec, threshold=job.told.match_threshold)
    threshold = Source.ASSUMED if job.told.match_threshold is None else Source.FLAG
    findings += [
        Finding(what="gallery", value=describe_references(references), source=Source.FLAG),
        Finding(what="threshold", value=f"cosine {spec.threshold:g}", source=threshold),
    ]
    labels = Labels(names=references.labels)
    return _Answers(outputs=(output,), labels=labels, crop=CropPolicy.CENTER, findings=findings, match=spec)


def _artifact(model: ForeignModel, told: Told) -> ArtifactSpec:
    usual = _FLOAT_TOLERANCE if model.dtype is InputType.FLOAT32 else _INTEGER_TOLERANCE
    return ArtifactSpec(
        file=f"{bundle_name(model.path)}.{model.format.value}",
        format=model.format,
        recipe=RECIPE,
        tolerance=usual if told.tolerance is None else told.tolerance,
    )


def _label_file(model: ForeignModel, job: ImportJob) -> tuple[LabelFile, Source]:
    """The labels that are given, or those inside the model file."""
    packed = model.metadata.label_files
    if job.labels is not None:
        file, source = read_label_file(_read_labels(job.labels), name=job.labels.name), Source.FLAG
    elif len(packed) == 1:
        file, source = read_label_file(packed[0][1], name=packed[0][0]), Source.FILE
    elif model.metadata.labels:
        data = "\n".join(" ".join(label.split()) for label in model.metadata.labels).encode()
        file, source = read_label_file(data, name=model.name), Source.FILE
    else:
        held = f"holds {len(packed)} label files" if packed else "holds no labels"
        raise UsageError(f"{model.name}: the file {held}", hint="add --labels FILE, one name a line")
    return (with_background(file) if job.told.background else file), source


def _read_labels(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MAX_BYTES + 1)
    except OSError as cause:
        raise UsageError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause

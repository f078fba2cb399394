"""Whether the stages of a manifest fit together: pure checks of each stage's outputs and of the list they form."""

from __future__ import annotations

import math
from collections.abc import Sequence

from edge.bundle.manifest import (
    BundleManifest,
    Decoder,
    OutputKind,
    OutputSpec,
    StageInput,
    StageSpec,
    Task,
)
from edge.errors import FormatError

_CLASS_SCORES = (OutputKind.LOGITS, OutputKind.PROBABILITIES)
_MEMBERS = (OutputKind.PROBABILITIES, OutputKind.SCORES, OutputKind.LOGITS)
_DETECTOR_OUTPUTS: dict[Decoder, tuple[tuple[OutputKind, ...], ...]] = {
    Decoder.YOLO: ((OutputKind.BOXES_SCORES,), (OutputKind.BOXES, OutputKind.SCORES)),
    Decoder.END_TO_END: ((OutputKind.DETECTIONS,),),
    Decoder.SSD: ((OutputKind.BOXES, OutputKind.CLASSES, OutputKind.SCORES),),
    Decoder.GRID: ((OutputKind.GRID,),),
}


def check_stage_list(manifest: BundleManifest, where: str) -> None:
    """Refuses a list of stages that is no pipeline, or whose task is not the bundle's.

    One stage reads the picture and has the bundle's task. Of several the first is a detector and the others read its
    crops; the bundle's task is then COUNT.

    Raises:
        FormatError: One line that names the stage.
    """
    first, others = manifest.stages[0], manifest.stages[1:]
    if first.reads is not StageInput.PICTURE:
        raise FormatError(f"{where}: the first stage {first.name[:100]!r} must read the picture")
    if not others:
        _require_task(manifest, first.task, where)
        return
    if first.task is not Task.DETECT:
        raise FormatError(f"{where}: stage {first.name[:100]!r} must detect, for others read its crops")
    for stage in others:
        if stage.reads is not StageInput.CROPS or stage.task is Task.DETECT:
            raise FormatError(f"{where}: stage {stage.name[:100]!r} must read crops and not detect")
    _require_task(manifest, Task.COUNT, where)


def check_outputs(manifest: BundleManifest, stage: StageSpec, where: str) -> None:
    """Refuses a stage whose outputs are not those that its task reads.

    Raises:
        FormatError: One line that names the output.
    """
    labels = manifest.labels_of(stage)
    match stage.task:
        case Task.CLASSIFY:
            _check_classifier(stage, labels, where)
        case Task.ATTRIBUTES | Task.TABULAR:
            _check_heads(stage, labels, where)
        case Task.DETECT:
            _check_detector(stage, where)
        case Task.MATCH:
            _only(stage, (OutputKind.EMBEDDING,), where)
        case Task.TEXT:
            _check_text(stage, where)
        case Task.COUNT:
            raise FormatError(f"{where}: count is the task of a whole pipeline")


def _require_task(manifest: BundleManifest, task: Task, where: str) -> None:
    if manifest.task is not task:
        raise FormatError(f"{where}: task is {manifest.task.value!r}, the stages give {task.value!r}")


def _check_classifier(stage: StageSpec, labels: Sequence[str], where: str) -> None:
    scores = _only(stage, _CLASS_SCORES, where)
    _require_labels(scores, labels, where)
    if (stage.find_output(OutputKind.EMBEDDING) is None) != (stage.match is None):
        raise FormatError(f"{where}: an embedding output and the field 'match' come together or not at all")


def _check_heads(stage: StageSpec, labels: Sequence[str], where: str) -> None:
    kinds = _CLASS_SCORES if stage.task is Task.ATTRIBUTES else _MEMBERS
    for output in stage.outputs:
        if output.kind not in kinds:
            raise FormatError(f"{where}: output {output.name[:100]!r} is {output.kind.value}, needs {_names(kinds)}")
        _require_labels(output, output.labels or labels, where)


def _check_detector(stage: StageSpec, where: str) -> None:
    assert stage.detect is not None  # noqa: S101  (the stage's own check)
    kinds = {output.kind for output in stage.outputs}
    choices = _DETECTOR_OUTPUTS[stage.detect.decoder]
    if not any(kinds >= set(choice) for choice in choices):
        needed = " or ".join(_names(choice) for choice in choices)
        raise FormatError(f"{where}: decoder {stage.detect.decoder.value!r} needs the outputs {needed}")


def _check_text(stage: StageSpec, where: str) -> None:
    assert stage.text is not None  # noqa: S101  (the stage's own check)
    steps = _only(stage, (OutputKind.STEPS,), where)
    classes = len(stage.text.charset) + 1
    if steps.shape[-1] != classes:
        raise FormatError(
            f"{where}: output {steps.name[:100]!r} has {steps.shape[-1]} classes for "
            f"{classes - 1} characters and the blank"
        )


def _only(stage: StageSpec, kinds: tuple[OutputKind, ...], where: str) -> OutputSpec:
    found = stage.find_output(*kinds)
    if found is None:
        raise FormatError(f"{where}: task {stage.task.value!r} needs an output of kind {_names(kinds, ' or ')}")
    return found


def _require_labels(output: OutputSpec, labels: Sequence[str], where: str) -> None:
    if math.prod(output.shape) != len(labels):
        raise FormatError(
            f"{where}: output {output.name[:100]!r} has shape {list(output.shape)[:8]} for {len(labels)} labels"
        )


def _names(kinds: Sequence[OutputKind], joint: str = ", ") -> str:
    return joint.join(kind.value for kind in kinds)

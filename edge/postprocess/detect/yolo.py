"""Anchor-free YOLO heads (YOLOv8 and later without their own choice, and our own): a box and class scores per place.

A DETR with boxes and class scores apart is read alike; with an `iou_threshold` of 1 nothing is suppressed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.manifest import OutputKind, OutputSpec, StageSpec
from edge.postprocess.detect.boxes import detect_spec, model_corners
from edge.postprocess.detect.outputs import array_of, misshapen, optional_spec, require_finite, spec_of
from edge.postprocess.detect.places import Places
from edge.postprocess.detect.scores import best_scores
from edge.types import RawOutputs

if TYPE_CHECKING:
    from edge.types import FloatArray


def yolo(outputs: RawOutputs, stage: StageSpec, num_labels: int) -> Places:
    """Reads BOXES and SCORES, or BOXES_SCORES.

    Either orientation is taken, told by the shapes. Where both would fit, places come first; scores with as many
    places as classes are turned as their boxes are.

    Args:
        outputs: BOXES (1, N, 4) or (1, 4, N) and SCORES (1, N, C), (1, C, N), or (1, N) for one class; or BOXES_SCORES
            (1, N, 4 + C) or (1, 4 + C, N). C is the number of labels plus `first_class`.
        stage: Its outputs and its `detect`.
        num_labels: How many classes have a name.

    Raises:
        BundleError: The stage has no such outputs.
        BackendError: One is missing, has another shape, holds NaN or infinity, or scores outside of 0 to 1.
    """
    first_class = detect_spec(stage).first_class
    joint = optional_spec(stage, OutputKind.BOXES_SCORES)
    if joint is not None:
        boxes, class_scores = _split(array_of(outputs, joint), joint, first_class + num_labels)
        scores_spec = joint
    else:
        boxes_spec, scores_spec = spec_of(stage, OutputKind.BOXES), spec_of(stage, OutputKind.SCORES)
        boxes, turned = _boxes(array_of(outputs, boxes_spec), boxes_spec)
        scores = array_of(outputs, scores_spec)
        class_scores = _class_scores(scores, scores_spec, len(boxes), first_class + num_labels, turned=turned)
    return Places(
        boxes=model_corners(boxes, stage),
        scores=best_scores(class_scores, scores_spec, first_class=first_class),
        class_scores=class_scores[:, first_class:],
    )


def _split(array: FloatArray, spec: OutputSpec, num_classes: int) -> tuple[FloatArray, FloatArray]:
    channels = 4 + num_classes
    if array.ndim != 2 or channels not in array.shape:
        raise misshapen(spec, array, f"(1, N, {channels}) or (1, {channels}, N) for {num_classes} classes")
    require_finite(array, spec)
    rows = array if array.shape[1] == channels else array.T
    return rows[:, :4], rows[:, 4:]


def _boxes(array: FloatArray, spec: OutputSpec) -> tuple[FloatArray, bool]:
    """Boxes (N, 4), and whether they had to be turned."""
    if array.ndim != 2 or 4 not in array.shape:
        raise misshapen(spec, array, "(1, N, 4) or (1, 4, N)")
    require_finite(array, spec)
    turned = array.shape[1] != 4
    return (array.T if turned else array), turned


def _class_scores(
    array: FloatArray, spec: OutputSpec, num_places: int, num_classes: int, *, turned: bool
) -> FloatArray:
    if num_classes == 1 and array.ndim == 1:
        array = array[:, None]
    straight, across = (num_places, num_classes), (num_classes, num_places)
    if array.shape not in (straight, across):
        wanted = f"(1, {num_places}, {num_classes}) or (1, {num_classes}, {num_places})"
        raise misshapen(spec, array, f"{wanted} for {num_places} boxes and {num_classes} classes")
    require_finite(array, spec)
    turn = turned if straight == across else array.shape == across
    return array.T if turn else array

"""SSD models that carry their own post-processing, such as those with TensorFlow Lite's TFLite_Detection_PostProcess.

That operator gives boxes (ymin, xmin, ymax, xmax in 0 to 1: box format `yxyx`, normalised), classes counted without
the background, scores, and how many rows are meant; what lies beyond those is undefined.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.manifest import Activation, OutputKind, OutputSpec, StageSpec
from edge.errors import BackendError, BundleError
from edge.postprocess.detect.boxes import Candidates, detect_spec, model_corners
from edge.postprocess.detect.chosen import label_positions
from edge.postprocess.detect.outputs import array_of, misshapen, optional_spec, require_finite, spec_of
from edge.postprocess.detect.scores import best_scores, in_unit_range
from edge.types import RawOutputs

if TYPE_CHECKING:
    from edge.types import FloatArray


def ssd(outputs: RawOutputs, stage: StageSpec) -> Candidates:
    """Reads BOXES, CLASSES, SCORES and COUNT.

    Args:
        outputs: BOXES (1, N, 4), CLASSES (1, N), SCORES (1, N), COUNT (1) or (1, 1); without a COUNT in the stage all
            rows are meant.
        stage: Its outputs and its `detect`.

    Returns:
        The rows that are meant, in model pixels.

    Raises:
        BundleError: The stage lacks an output, or asks for a softmax.
        BackendError: One is missing, has another shape, holds NaN or infinity, a count that cannot be, a score above 1,
            or half a class.
    """
    boxes_spec, classes_spec = spec_of(stage, OutputKind.BOXES), spec_of(stage, OutputKind.CLASSES)
    boxes = array_of(outputs, boxes_spec)
    if boxes.ndim != 2 or boxes.shape[1] != 4:
        raise misshapen(boxes_spec, boxes, "(1, N, 4)")
    num_rows, num_meant = len(boxes), _count(outputs, stage, len(boxes))
    boxes = boxes[:num_meant]
    require_finite(boxes, boxes_spec)
    scores_spec = spec_of(stage, OutputKind.SCORES)
    return Candidates(
        boxes=model_corners(boxes, stage),
        scores=_activated(_column(outputs, scores_spec, num_rows, num_meant), scores_spec),
        classes=label_positions(_column(outputs, classes_spec, num_rows, num_meant), classes_spec, detect_spec(stage)),
    )


def _column(outputs: RawOutputs, spec: OutputSpec, num_rows: int, num_meant: int) -> FloatArray:
    """The rows that are meant of an output with one number for each box."""
    array = array_of(outputs, spec)
    if array.shape != (num_rows,):
        raise misshapen(spec, array, f"(1, {num_rows}) for {num_rows} boxes")
    require_finite(array[:num_meant], spec)
    return array[:num_meant]


def _activated(scores: FloatArray, spec: OutputSpec) -> FloatArray:
    match spec.activation:
        case Activation.NONE:
            return in_unit_range(scores, spec, lowest=float("-inf"))
        case Activation.SIGMOID:
            return best_scores(scores[:, None], spec)
        case Activation.SOFTMAX:
            raise BundleError(f"output {spec.name!r}: one score for each box has no softmax", hint="use sigmoid")


def _count(outputs: RawOutputs, stage: StageSpec, num_rows: int) -> int:
    spec = optional_spec(stage, OutputKind.COUNT)
    if spec is None:
        return num_rows
    array = array_of(outputs, spec)
    if array.size != 1:
        raise misshapen(spec, array, "(1)")
    require_finite(array, spec)
    count = round(float(array.reshape(-1)[0]))
    if not 0 <= count <= num_rows:
        raise BackendError(f"output {spec.name!r} counts {count} boxes of {num_rows}")
    return count

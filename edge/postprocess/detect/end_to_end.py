"""End-to-end heads (YOLOv10, YOLO26, DETR with its choice in the graph): a few chosen boxes, no suppression."""

from __future__ import annotations

from edge.bundle.manifest import OutputKind, StageSpec
from edge.postprocess.detect.boxes import Candidates, detect_spec, model_corners
from edge.postprocess.detect.chosen import label_positions
from edge.postprocess.detect.outputs import array_of, misshapen, require_finite, spec_of
from edge.postprocess.detect.scores import in_unit_range
from edge.types import RawOutputs


def end_to_end(outputs: RawOutputs, stage: StageSpec) -> Candidates:
    """Reads a DETECTIONS output.

    Args:
        outputs: DETECTIONS (1, N, 6): four numbers of the box, score, class. Rows that only fill up have a score of 0
            or below.
        stage: Its output and its `detect`.

    Returns:
        All rows in model pixels.

    Raises:
        BundleError: The stage has no such output.
        BackendError: It is missing, has another shape, holds NaN or infinity, a score above 1, or half a class.
    """
    spec = spec_of(stage, OutputKind.DETECTIONS)
    rows = array_of(outputs, spec)
    if rows.ndim != 2 or rows.shape[1] != 6:
        raise misshapen(spec, rows, "(1, N, 6)")
    require_finite(rows, spec)
    return Candidates(
        boxes=model_corners(rows[:, :4], stage),
        scores=in_unit_range(rows[:, 4], spec, lowest=float("-inf")),
        classes=label_positions(rows[:, 5], spec, detect_spec(stage)),
    )

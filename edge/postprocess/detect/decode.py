"""A detector's outputs to what it found in the picture."""

from __future__ import annotations

from collections.abc import Sequence

from edge.bundle.manifest import Decoder, StageSpec
from edge.errors import BundleError
from edge.postprocess.detect.boxes import Candidates, detect_spec
from edge.postprocess.detect.chosen import keep_best
from edge.postprocess.detect.end_to_end import end_to_end
from edge.postprocess.detect.grid import grid
from edge.postprocess.detect.places import choose
from edge.postprocess.detect.ssd import ssd
from edge.postprocess.detect.yolo import yolo
from edge.types import Box, Detection, Detections, Geometry, RawOutputs


def detect(outputs: RawOutputs, stage: StageSpec, labels: Sequence[str], geometry: Geometry) -> Detections:
    """Reads the outputs of a detector.

    Scores are float32, and so is the threshold they are compared with. Boxes are clipped to the picture; one without
    area in it (no or a negative size, in the letterbox padding, outside) is dropped.

    Args:
        outputs: What the network said.
        stage: Its outputs, the size of its input, and how they become boxes.
        labels: Names of its classes.
        geometry: The way from model pixels to the upright picture.

    Returns:
        What was found, best score first, equal scores in the model's order; at most `max_detections`.

    Raises:
        BundleError: The stage does not have the outputs that its decoder reads, or there are no labels.
        BackendError: An output is missing, misshapen, holds NaN or infinity, scores outside of 0 to 1, or a class
            without a label.
    """
    spec = detect_spec(stage)
    if not labels:
        raise BundleError(f"stage {stage.name!r} has no labels", hint="a detector needs one for each class")
    match spec.decoder:
        case Decoder.YOLO:
            found, miss = choose(yolo(outputs, stage, len(labels)), spec, geometry)
        case Decoder.GRID:
            found, miss = choose(grid(outputs, stage, len(labels)), spec, geometry)
        case Decoder.END_TO_END:
            found, miss = keep_best(end_to_end(outputs, stage), spec, geometry, len(labels))
        case Decoder.SSD:
            found, miss = keep_best(ssd(outputs, stage), spec, geometry, len(labels))
    return Detections(items=_named(found, labels), nearest_miss=miss)


def _named(found: Candidates, labels: Sequence[str]) -> tuple[Detection, ...]:
    rows = zip(found.boxes.tolist(), found.scores.tolist(), found.classes.tolist(), strict=True)
    return tuple(
        Detection(
            box=Box(left=left, top=top, right=right, bottom=bottom), label=labels[index], index=index, score=score
        )
        for (left, top, right, bottom), score, index in rows
    )

"""Heads that say something of every place, and leave the choice to us: YOLO and the grid."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.postprocess.detect.boxes import Candidates, in_picture
from edge.postprocess.detect.nms import clashes, suppress

if TYPE_CHECKING:
    from edge.bundle.manifest import DetectSpec
    from edge.postprocess.detect.boxes import Corners, Indices
    from edge.types import FloatArray, Geometry

_BLOCK = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """All places of a head. Thousands, of which a few pass the threshold, so classes are looked up late.

    Attributes:
        boxes: float64 (N, 4), corners in model pixels.
        scores: float32 (N,), in [0, 1]: of the best class.
        class_scores: float32 (N, C): before or after the activation, for it keeps their order.
    """

    boxes: Corners
    scores: FloatArray
    class_scores: FloatArray

    def candidates(self, chosen: Indices) -> Candidates:
        """Some of them; of equally good classes the first."""
        classes = self.class_scores[chosen].argmax(axis=1)
        return Candidates(boxes=self.boxes[chosen], scores=self.scores[chosen], classes=classes)


def choose(places: Places, spec: DetectSpec, geometry: Geometry) -> tuple[Candidates, float]:
    """What is found, and the best score that was not good enough.

    A place counts with its best class only. Boxes are clipped to the picture before they are compared, so those that
    are reported never overlap by more than the threshold.

    Returns:
        In picture pixels, best score first; and the nearest miss, see `nearest_miss`.
    """
    import numpy as np

    above = np.flatnonzero(places.scores >= np.float32(spec.score_threshold))
    found = suppress(
        in_picture(places.candidates(above), geometry),
        iou_threshold=spec.iou_threshold,
        limit=spec.max_detections,
        class_agnostic=spec.class_agnostic,
    )
    return found, nearest_miss(places, found, spec, geometry)


def nearest_miss(places: Places, found: Candidates, spec: DetectSpec, geometry: Geometry) -> float:
    """Greatest score below the threshold, of what would have been a thing of its own.

    Around each thing that is found lie weaker boxes of it. They say nothing of something missed, so a box that one of
    `found` suppresses does not count, and neither does one without area in the picture.

    Returns:
        In [0, 1]; 0 where there is none.
    """
    for block in _misses(places, spec):
        seen = in_picture(places.candidates(block), geometry)
        clash = clashes(found, seen, iou_threshold=spec.iou_threshold, class_agnostic=spec.class_agnostic)
        free = seen.scores[~clash.any(axis=0)]
        if len(free):
            return float(free.max())
    return 0.0


def _misses(places: Places, spec: DetectSpec) -> Iterator[Indices]:
    """Places below the threshold, the best block first; nearly always it is the only one that is asked for."""
    import numpy as np

    below = np.flatnonzero((places.scores < np.float32(spec.score_threshold)) & (places.scores > 0))
    if len(below) > _BLOCK:
        below = below[np.argpartition(-places.scores[below], _BLOCK)]
    yield below[:_BLOCK]
    rest = below[_BLOCK:]
    rest = rest[np.argsort(-places.scores[rest])]
    for start in range(0, len(rest), _BLOCK):
        yield rest[start : start + _BLOCK]

"""Boxes on their way from a head to the picture.

Everything is float64 from here on, so that every machine rounds alike and huge coordinates do not overflow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edge.bundle.manifest import BoxFormat, StageSpec
from edge.errors import BundleError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.bundle.manifest import DetectSpec
    from edge.types import FloatArray, Geometry

    Corners: TypeAlias = npt.NDArray[np.float64]
    Indices: TypeAlias = npt.NDArray[np.intp]


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidates:
    """Boxes that may be reported.

    Attributes:
        boxes: float64 (N, 4): left, top, right, bottom; in model pixels first, in picture pixels after `in_picture`.
        scores: float32 (N,), in [0, 1].
        classes: intp (N,), positions in the labels.
    """

    boxes: Corners
    scores: FloatArray
    classes: Indices

    def take(self, chosen: Indices | npt.NDArray[np.bool_]) -> Candidates:
        """Some of them, by position or mask."""
        return Candidates(boxes=self.boxes[chosen], scores=self.scores[chosen], classes=self.classes[chosen])


def detect_spec(stage: StageSpec) -> DetectSpec:
    """How the stage's outputs become boxes.

    Raises:
        BundleError: The stage does not say.
    """
    if stage.detect is None:
        raise BundleError(f"stage {stage.name!r} has no field 'detect'")
    return stage.detect


def model_corners(boxes: FloatArray | Corners, stage: StageSpec) -> Corners:
    """Boxes of a head as left, top, right, bottom in model pixels.

    Args:
        boxes: (N, 4) in the stage's box format and unit.
        stage: Says which, and how large the model's input is.

    Returns:
        float64 (N, 4); a box whose right is not above its left is left as it is.
    """
    import numpy as np

    spec = detect_spec(stage)
    corners = _corners(boxes.astype(np.float64), spec.box_format)
    if spec.normalised:
        width, height = stage.preprocess.width, stage.preprocess.height
        corners = corners * np.array([width, height, width, height], dtype=np.float64)
    return corners


def in_picture(candidates: Candidates, geometry: Geometry) -> Candidates:
    """Maps model pixels to the upright picture, clips, and drops what has no area there.

    A box with no or a negative width or height goes, and so does one that lies in letterbox padding or outside.

    Args:
        candidates: Boxes in model pixels.
        geometry: picture = model * scale + offset.

    Returns:
        Boxes in picture pixels, in their order, within 0 and the picture's width and height.
    """
    import numpy as np

    scale = np.array([geometry.scale_x, geometry.scale_y] * 2, dtype=np.float64)
    offset = np.array([geometry.offset_x, geometry.offset_y] * 2, dtype=np.float64)
    limits = np.array([geometry.picture_width, geometry.picture_height] * 2, dtype=np.float64)
    clipped = np.clip(candidates.boxes * scale + offset, 0.0, limits)
    solid = (clipped[:, 2] > clipped[:, 0]) & (clipped[:, 3] > clipped[:, 1])
    return Candidates(boxes=clipped[solid], scores=candidates.scores[solid], classes=candidates.classes[solid])


def _corners(boxes: Corners, box_format: BoxFormat) -> Corners:
    import numpy as np

    match box_format:
        case BoxFormat.XYXY:
            return boxes
        case BoxFormat.YXYX:
            return boxes[:, [1, 0, 3, 2]]
        case BoxFormat.CXCYWH:
            half = boxes[:, 2:] / 2
            return np.concatenate([boxes[:, :2] - half, boxes[:, :2] + half], axis=1)

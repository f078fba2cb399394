"""Which part of a picture becomes which part of a model's rectangle, and the way back: geometry alone, no pixels."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.image.orientation import Edges
from edge.types import Box, Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """What is taken from a picture, and where it is put.

    Attributes:
        box: Left, top, right, bottom in upright picture pixels.
        size: Width and height it is resized to.
        left: Model x where it is put.
        top: Model y where it is put.
    """

    box: Edges
    size: tuple[int, int]
    left: int = 0
    top: int = 0

    @property
    def room(self) -> float:
        """Picture pixels for one model pixel, in the tighter direction: how much coarser a decoded picture may be."""
        left, top, right, bottom = self.box
        return min((right - left) / self.size[0], (bottom - top) / self.size[1])


def cut_whole(size: tuple[float, float], spec: PreprocessSpec) -> Cut:
    """The cut of a whole picture by the spec's crop policy; its box is always centred.

    Args:
        size: Width and height of the picture.
        spec: The model's rectangle and crop policy.
    """
    width, height = size
    match spec.crop:
        case CropPolicy.STRETCH:
            return Cut(box=(0, 0, width, height), size=(spec.width, spec.height))
        case CropPolicy.CENTER:
            crop_width = min(width, height * spec.width / spec.height)
            crop_height = min(height, width * spec.height / spec.width)
            left, top = (width - crop_width) / 2, (height - crop_height) / 2
            return Cut(box=(left, top, left + crop_width, top + crop_height), size=(spec.width, spec.height))
        case CropPolicy.LETTERBOX:
            shrink = max(width / spec.width, height / spec.height)
            fitted = (_fitted(width / shrink, spec.width), _fitted(height / shrink, spec.height))
            left_pad, top_pad = (spec.width - fitted[0]) // 2, (spec.height - fitted[1]) // 2
            return Cut(box=(0, 0, width, height), size=fitted, left=left_pad, top=top_pad)


def cut_box(size: tuple[int, int], box: Box, spec: PreprocessSpec, *, margin: float = 0.0) -> Cut:
    """The cut of one box of a picture: widened, limited to the picture, then as `cut_whole` treats a picture.

    Args:
        size: Width and height of the upright picture.
        box: In its pixels. One that is thinner than a pixel becomes a pixel.
        spec: The model's rectangle and crop policy.
        margin: How much it is widened on each side, as a share of its own width and height, at least 0.

    Raises:
        ValueError: The box is no rectangle, or lies outside the picture.
    """
    edges = (box.left, box.top, box.right, box.bottom)
    if not (all(map(math.isfinite, edges)) and box.left <= box.right and box.top <= box.bottom):
        raise ValueError(f"no rectangle: left, top, right, bottom are {', '.join(f'{edge:g}' for edge in edges)}")
    if box.left > size[0] or box.top > size[1] or box.right < 0 or box.bottom < 0:
        raise ValueError(f"box {', '.join(f'{edge:g}' for edge in edges)} is outside the {size[0]}x{size[1]} picture")
    left, right = _inside(box.left, box.right, size[0], margin)
    top, bottom = _inside(box.top, box.bottom, size[1], margin)
    cut = cut_whole((right - left, bottom - top), spec)
    shifted = (left + cut.box[0], top + cut.box[1], left + cut.box[2], top + cut.box[3])
    return replace(cut, box=shifted)


def geometry_of(cut: Cut, size: tuple[int, int]) -> Geometry:
    """The way from model pixels back to the upright picture of this width and height."""
    left, top, right, bottom = cut.box
    scale_x, scale_y = (right - left) / cut.size[0], (bottom - top) / cut.size[1]
    return Geometry(
        picture_width=size[0],
        picture_height=size[1],
        scale_x=scale_x,
        scale_y=scale_y,
        offset_x=left - cut.left * scale_x,
        offset_y=top - cut.top * scale_y,
    )


def _inside(low: float, high: float, length: int, margin: float) -> tuple[float, float]:
    """One axis of a box: widened, inside the picture, at least a pixel long."""
    wider = (high - low) * margin
    low, high = max(0.0, low - wider), min(float(length), high + wider)
    if high - low >= 1:
        return low, high
    low = min(max(0.0, (low + high - 1) / 2), length - 1.0)
    return low, low + 1


def _fitted(length: float, limit: int) -> int:
    """Halves round up, as in every language but Python."""
    return min(limit, max(1, math.floor(length + 0.5)))

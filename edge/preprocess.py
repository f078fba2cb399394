"""Picture to model input: decode, orient, crop, resize. The same code serves training, calibration, proof and device.

The result is the same to the bit for the same picture, spec and Pillow. A JPEG is decoded at a half, a quarter or an
eighth where that still is at least the size the model needs (the decoder's own scaling, several times faster). One
bilinear `resize` goes from the crop straight to the model's size; turning by EXIF comes after it, on few pixels.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.decode import DEFAULT_LIMITS, DecodeLimits, load_pixels, open_header, orientation, read_picture, to_rgb
from edge.errors import ImageError
from edge.types import Geometry, ModelInput

if TYPE_CHECKING:
    from PIL import Image as PilImage
    from PIL import ImageFile

    from edge.types import ByteArray, FloatArray, Image

__all__ = ["DEFAULT_LIMITS", "DecodeLimits", "preprocess", "preprocess_pixels", "read_picture", "to_input"]

_DRAFT_SCALES = (8, 4, 2)


@dataclass(frozen=True, slots=True, kw_only=True)
class _Plan:
    """Which part of the picture becomes which part of the model's rectangle.

    Attributes:
        box: Left, top, right, bottom in upright picture pixels; always centred.
        size: Width and height it is resized to.
        left: Model x where it is put.
        top: Model y where it is put.
    """

    box: tuple[float, float, float, float]
    size: tuple[int, int]
    left: int = 0
    top: int = 0


def preprocess(
    image: Image, spec: PreprocessSpec, *, limits: DecodeLimits = DEFAULT_LIMITS, name: str = ""
) -> ModelInput:
    """Makes the network's input of one picture.

    Args:
        image: Encoded JPEG, PNG or WebP bytes, a path to such a file, or uint8 (H, W, 3) RGB or (H, W) grey.
        spec: Size and crop policy of the bundle.
        limits: What the picture may cost.
        name: What errors call it; by default the path.

    Raises:
        ImageError: The picture cannot be used; one line that names the file.
    """
    pixels, geometry = preprocess_pixels(image, spec, limits=limits, name=name)
    return ModelInput(tensor=to_input(pixels), geometry=geometry)


def preprocess_pixels(
    image: Image, spec: PreprocessSpec, *, limits: DecodeLimits = DEFAULT_LIMITS, name: str = ""
) -> tuple[ByteArray, Geometry]:
    """Like `preprocess`, before the conversion to float: for training, which augments first.

    Returns:
        uint8 (height, width, 3), RGB, the caller's own; and the way back to the picture.
    """
    import numpy as np

    if isinstance(image, Path):
        turned, plan, size = _from_encoded(read_picture(image, limits=limits), spec, name or str(image), limits)
    elif isinstance(image, bytes):
        turned, plan, size = _from_encoded(image, spec, name or "picture", limits)
    else:
        turned, plan, size = _from_array(image, spec, name or "picture", limits)
    pixels = np.array(_padded(turned, plan, spec), dtype=np.uint8)
    return pixels, _geometry(plan, size)


def to_input(pixels: ByteArray) -> FloatArray:
    """uint8 (height, width, 3) to float32 (1, height, width, 3), values unchanged."""
    import numpy as np

    return pixels[np.newaxis].astype(np.float32)


def _from_encoded(
    data: bytes, spec: PreprocessSpec, name: str, limits: DecodeLimits
) -> tuple[PilImage.Image, _Plan, tuple[int, int]]:
    header = open_header(data, name=name, limits=limits)
    if header.format != "JPEG":
        load_pixels(header, name=name)  # a PNG may carry its orientation after the pixels
    turn = orientation(header)
    sideways = turn >= 5
    stored = header.size
    size = (stored[1], stored[0]) if sideways else stored
    plan = _plan(size, spec)
    # The box is centred, so turning and mirroring leave it as it is, but for swapped axes.
    box = (plan.box[1], plan.box[0], plan.box[3], plan.box[2]) if sideways else plan.box
    target = (plan.size[1], plan.size[0]) if sideways else plan.size
    scale = _draft(header, stored, box, target)
    load_pixels(header, name=name)
    return _turned(_resized(to_rgb(header, name=name), target, tuple(edge / scale for edge in box)), turn), plan, size


def _from_array(
    array: ByteArray, spec: PreprocessSpec, name: str, limits: DecodeLimits
) -> tuple[PilImage.Image, _Plan, tuple[int, int]]:
    import numpy as np
    from PIL import Image

    if not isinstance(array, np.ndarray):
        raise ImageError(f"{name}: expected bytes, a Path or a uint8 array, found {type(array).__name__}")
    if array.dtype != np.uint8 or not (array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)):
        raise ImageError(f"{name}: expected an array of uint8 (H, W, 3) or (H, W), found {array.dtype} {array.shape}")
    height, width = array.shape[:2]
    if not 0 < height * width <= limits.max_pixels:
        raise ImageError(f"{name}: an array of {width}x{height} pixels, needs 1 to {limits.max_pixels}")
    plan = _plan((width, height), spec)
    rgb = Image.fromarray(np.ascontiguousarray(array)).convert("RGB")
    return _resized(rgb, plan.size, plan.box), plan, (width, height)


def _plan(size: tuple[int, int], spec: PreprocessSpec) -> _Plan:
    width, height = size
    match spec.crop:
        case CropPolicy.STRETCH:
            return _Plan(box=(0, 0, width, height), size=(spec.width, spec.height))
        case CropPolicy.CENTER:
            crop_width = min(width, height * spec.width / spec.height)
            crop_height = min(height, width * spec.height / spec.width)
            left, top = (width - crop_width) / 2, (height - crop_height) / 2
            return _Plan(box=(left, top, left + crop_width, top + crop_height), size=(spec.width, spec.height))
        case CropPolicy.LETTERBOX:
            shrink = max(width / spec.width, height / spec.height)
            fitted = (_fitted(width / shrink, spec.width), _fitted(height / shrink, spec.height))
            left_pad, top_pad = (spec.width - fitted[0]) // 2, (spec.height - fitted[1]) // 2
            return _Plan(box=(0, 0, width, height), size=fitted, left=left_pad, top=top_pad)


def _fitted(length: float, limit: int) -> int:
    """Halves round up, as in every language but Python."""
    return min(limit, max(1, math.floor(length + 0.5)))


def _geometry(plan: _Plan, size: tuple[int, int]) -> Geometry:
    left, top, right, bottom = plan.box
    scale_x, scale_y = (right - left) / plan.size[0], (bottom - top) / plan.size[1]
    return Geometry(
        picture_width=size[0],
        picture_height=size[1],
        scale_x=scale_x,
        scale_y=scale_y,
        offset_x=left - plan.left * scale_x,
        offset_y=top - plan.top * scale_y,
    )


def _draft(
    header: ImageFile.ImageFile,
    stored: tuple[int, int],
    box: tuple[float, float, float, float],
    target: tuple[int, int],
) -> int:
    """Tells a JPEG decoder to decode at 1/8, 1/4 or 1/2, never below what the crop needs; returns the divisor."""
    if header.format != "JPEG":
        return 1
    room = min((box[2] - box[0]) / target[0], (box[3] - box[1]) / target[1])
    scale = next((scale for scale in _DRAFT_SCALES if scale <= room), 1)
    if scale > 1 and header.draft(None, (stored[0] // scale, stored[1] // scale)) is not None:
        return scale
    return 1


def _resized(rgb: PilImage.Image, target: tuple[int, int], box: tuple[float, ...]) -> PilImage.Image:
    from PIL import Image

    # Rounding may put an edge a hair outside, which Pillow refuses.
    inside = (max(0.0, box[0]), max(0.0, box[1]), min(rgb.width, box[2]), min(rgb.height, box[3]))
    return rgb.resize(target, Image.Resampling.BILINEAR, box=inside)


def _turned(image: PilImage.Image, turn: int) -> PilImage.Image:
    """Upright by EXIF orientation, 1 to 8."""
    from PIL.Image import Transpose

    moves = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(moves[turn]) if turn in moves else image


def _padded(image: PilImage.Image, plan: _Plan, spec: PreprocessSpec) -> PilImage.Image:
    """Puts a letterboxed picture onto its grey ground."""
    from PIL import Image

    if plan.size == (spec.width, spec.height):
        return image
    ground = Image.new("RGB", (spec.width, spec.height), (spec.fill, spec.fill, spec.fill))
    ground.paste(image, (plan.left, plan.top))
    return ground

"""Decoded pixels of every kind as 8-bit RGB, without a second picture's worth of memory beside source and result."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from PIL import Image as PilImage

_PALETTE_OR_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")
_BAND_PIXELS = 1 << 18


def to_rgb(image: PilImage.Image) -> PilImage.Image:
    """Grey repeated, transparency laid over white, CMYK converted, 16 bits cut to 8.

    Args:
        image: Loaded pixels; returned itself where they are RGB already.

    Raises:
        ValueError, OSError, KeyError: The pixels make no sense, for instance a palette that is too short.
    """
    if image.mode in _PALETTE_OR_ALPHA or "transparency" in image.info:
        return _by_bands(image, _over_white)
    if image.mode == "RGB":
        return image
    if image.mode.startswith("I"):
        return _by_bands(image, _sixteen_to_eight)
    return image.convert("RGB")


def _by_bands(image: PilImage.Image, convert: Callable[[PilImage.Image], PilImage.Image]) -> PilImage.Image:
    """Converts some rows at a time: the steps between take several times the picture's own memory."""
    from PIL import Image

    rows = max(1, _BAND_PIXELS // image.width)
    if rows >= image.height:
        return convert(image)
    result = Image.new("RGB", image.size)
    for top in range(0, image.height, rows):
        result.paste(convert(image.crop((0, top, image.width, min(top + rows, image.height)))), (0, top))
    return result


def _sixteen_to_eight(image: PilImage.Image) -> PilImage.Image:
    """Keeps the high byte, as Pillow itself does for 16-bit colour; its own conversion of 16-bit grey clips."""
    import numpy as np
    from PIL import Image

    levels = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
    return Image.fromarray(levels.astype(np.uint8)).convert("RGB")


def _over_white(image: PilImage.Image) -> PilImage.Image:
    from PIL import Image

    paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(paper, image.convert("RGBA")).convert("RGB")

"""Encoded bytes to RGB pixels, with limits that hold before anything is decoded.

Only JPEG, PNG and WebP are read, each by its own Pillow plugin: no other parser ever sees the bytes, and no global
state of Pillow (its bomb warning, its registry) takes part. Of an animation the first frame counts. Colour profiles
are ignored, as every training pipeline of the field does.
"""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import ImageError

if TYPE_CHECKING:
    from PIL import Image as PilImage
    from PIL import ImageFile

_ORIENTATION_TAG = 0x0112
_PALETTE_OR_ALPHA = ("LA", "La", "PA", "RGBA", "RGBa")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """What a picture may cost before it is refused unread.

    Attributes:
        max_bytes: Size of the encoded picture.
        max_pixels: Width times height, as its header says.
    """

    max_bytes: int = 64_000_000
    max_pixels: int = 64_000_000


DEFAULT_LIMITS = DecodeLimits()


def read_picture(path: Path, *, limits: DecodeLimits = DEFAULT_LIMITS) -> bytes:
    """Reads an encoded picture without reading more than the limit.

    Args:
        path: A regular file.
        limits: What it may cost.

    Raises:
        ImageError: Missing, unreadable, no regular file, empty or too large; names the file.
    """
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for its writer for ever.
        with os.fdopen(os.open(path, os.O_RDONLY | getattr(os, "O_NONBLOCK", 0)), "rb") as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ImageError(f"{path}: not a regular file")
            data = file.read(limits.max_bytes + 1)
    except OSError as cause:
        raise ImageError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause
    check_size(data, name=str(path), limits=limits)
    return data


def check_size(data: bytes, *, name: str, limits: DecodeLimits) -> None:
    """Refuses encoded pictures that are empty or above the limit.

    Raises:
        ImageError: Names the picture.
    """
    if not data:
        raise ImageError(f"{name}: the file is empty")
    if len(data) > limits.max_bytes:
        raise ImageError(f"{name}: larger than {limits.max_bytes} bytes")


def open_header(data: bytes, *, name: str, limits: DecodeLimits) -> ImageFile.ImageFile:
    """Reads the header of an encoded picture; no pixel is decoded yet.

    Raises:
        ImageError: Not a JPEG, PNG or WebP, a damaged header, or more pixels than allowed.
    """
    check_size(data, name=name, limits=limits)
    if data[:4] == b"RIFF":
        # The WebP plugin allocates the whole canvas in its constructor.
        _check_pixels(_webp_size(data), name=name, limits=limits)
    plugin = _plugin(data, name)
    try:
        image = plugin(io.BytesIO(data))
    except Exception as cause:  # Pillow's plugins raise almost anything on damaged data
        raise ImageError(f"{name}: damaged picture: {_reason(cause)}") from cause
    _check_pixels(image.size, name=name, limits=limits)
    return image


def orientation(image: ImageFile.ImageFile) -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it makes no sense."""
    try:
        value = image.getexif().get(_ORIENTATION_TAG, 1)
    except Exception:  # damaged EXIF data must not cost the picture
        return 1
    return value if isinstance(value, int) and 1 <= value <= 8 else 1


def load_pixels(image: ImageFile.ImageFile, *, name: str) -> None:
    """Decodes; does nothing the second time.

    Raises:
        ImageError: The data is truncated or damaged.
    """
    try:
        image.load()
    except Exception as cause:  # Pillow's plugins raise almost anything on damaged data
        raise ImageError(f"{name}: damaged or truncated picture: {_reason(cause)}") from cause


def to_rgb(image: PilImage.Image, *, name: str) -> PilImage.Image:
    """Decoded pixels as 8-bit RGB: grey repeated, transparency laid over white, CMYK converted, 16 bits cut to 8.

    Raises:
        ImageError: The pixels make no sense, for instance a palette that is too short.
    """
    try:
        return _to_rgb(image)
    except (ValueError, OSError, KeyError) as cause:
        raise ImageError(f"{name}: damaged picture: {_reason(cause)}") from cause


def _to_rgb(image: PilImage.Image) -> PilImage.Image:
    if image.mode == "RGB" and "transparency" not in image.info:
        return image
    if image.mode.startswith("I"):
        return _sixteen_to_eight(image).convert("RGB")
    if image.mode in _PALETTE_OR_ALPHA or "transparency" in image.info:
        return _over_white(image.convert("RGBA"))
    return image.convert("RGB")


def _sixteen_to_eight(image: PilImage.Image) -> PilImage.Image:
    """Keeps the high byte, as Pillow itself does for 16-bit colour; its own conversion of 16-bit grey clips."""
    import numpy as np
    from PIL import Image

    levels = np.asarray(image).astype(np.int64).clip(0, 65535) >> 8
    return Image.fromarray(levels.astype(np.uint8))


def _over_white(image: PilImage.Image) -> PilImage.Image:
    from PIL import Image

    paper = Image.new("RGBA", image.size, (255, 255, 255, 255))
    return Image.alpha_composite(paper, image).convert("RGB")


def _plugin(data: bytes, name: str) -> type[ImageFile.ImageFile]:
    if data[:3] == b"\xff\xd8\xff":
        from PIL.JpegImagePlugin import JpegImageFile

        return JpegImageFile
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        from PIL.PngImagePlugin import PngImageFile

        return PngImageFile
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        from PIL.WebPImagePlugin import WebPImageFile

        return WebPImageFile
    raise ImageError(f"{name}: not a JPEG, PNG or WebP picture")


def _webp_size(data: bytes) -> tuple[int, int]:
    """Canvas size from the first chunk (RFC 9649); (0, 0) where the plugin will refuse the file anyway."""
    chunk, body = data[12:16], data[20:30]
    if len(body) < 10:
        return 0, 0
    if chunk == b"VP8X":
        return int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
    if chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1
    if chunk == b"VP8 ":
        return int.from_bytes(body[6:8], "little") & 0x3FFF, int.from_bytes(body[8:10], "little") & 0x3FFF
    return 0, 0


def _check_pixels(size: tuple[int, int], *, name: str, limits: DecodeLimits) -> None:
    if size[0] * size[1] > limits.max_pixels:
        raise ImageError(f"{name}: {size[0]}x{size[1]} pixels, at most {limits.max_pixels} in all are decoded")


def _reason(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__

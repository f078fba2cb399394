"""Encoded bytes to RGB pixels, with limits that hold before anything is decoded.

Only JPEG, PNG and WebP are read, each by its own Pillow plugin: no other parser ever sees the bytes, and no global
state of Pillow (its bomb warning, its registry) takes part. The plugin sees only the parts of the file that carry
pixels (`edge.image.header`). Of an animation the first frame counts. Colour profiles are ignored, as every training
pipeline of the field does.
"""

from __future__ import annotations

import io
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, TYPE_CHECKING, cast

from edge.errors import ImageError
from edge.image.colour import to_rgb
from edge.image.header import PictureHeader, PictureKind
from edge.image.jpeg_header import read_jpeg_header
from edge.image.png_header import read_png_header
from edge.image.webp_header import read_webp_header

if TYPE_CHECKING:
    from PIL import Image as PilImage
    from PIL import ImageFile

_SCALES = (8, 4, 2, 1)


@dataclass(frozen=True, slots=True, kw_only=True)
class DecodeLimits:
    """What a picture may cost before it is refused unread.

    A JPEG with one scan, as cameras write it, is decoded at a half, a quarter or an eighth where it would take too
    much memory otherwise; a PNG, a WebP and a progressive JPEG always cost their whole size.

    Attributes:
        max_bytes: Size of the encoded picture.
        max_pixels: Width times height, as its header says. It bounds the time.
        max_side: Width or height. Resizing takes 16 bytes for each pixel of a side, whatever the other one is.
        max_decoded_bytes: Memory that decoding takes at its worst moment, by the header: enough for a PNG of 49
            megapixels, of 24 with alpha, a WebP of 12. It leaves room for two models in 512 MB. A JPEG that several
            models read at different scales takes a third more at most.
    """

    max_bytes: int = 64_000_000
    max_pixels: int = 64_000_000
    max_side: int = 65_535
    max_decoded_bytes: int = 196_000_000


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
    except (OSError, ValueError) as cause:  # ValueError: a name with a zero byte
        reason = getattr(cause, "strerror", None) or str(cause)
        raise ImageError(f"{path}: cannot be read: {reason.lower()}") from cause
    _check_size(data, name=str(path), limits=limits)
    return data


def read_header(data: bytes, *, name: str, limits: DecodeLimits) -> PictureHeader:
    """Reads what an encoded picture says about itself; nothing is decoded.

    Raises:
        ImageError: Not a JPEG, PNG or WebP, a damaged header, or more pixels than allowed.
    """
    _check_size(data, name=name, limits=limits)
    try:
        header = _walked(data)
    except ValueError as cause:
        raise ImageError(f"{name}: damaged picture: {cause}") from cause
    if header is None:
        raise ImageError(f"{name}: not a JPEG, PNG or WebP picture")
    check_pixels(header.size, name=name, limits=limits)
    return header


def check_pixels(size: tuple[int, int], *, name: str, limits: DecodeLimits) -> None:
    """Refuses pictures of no pixels or of too many.

    Raises:
        ImageError: Names the picture and its size.
    """
    width, height = size
    if not width * height:
        raise ImageError(f"{name}: {width}x{height} pixels: there is nothing to see")
    if width * height > limits.max_pixels:
        raise ImageError(f"{name}: {width}x{height} pixels, at most {limits.max_pixels} in all are decoded")
    if max(size) > limits.max_side:
        raise ImageError(f"{name}: {width}x{height} pixels, no side may be longer than {limits.max_side}")


def allowed_scales(header: PictureHeader, *, name: str, limits: DecodeLimits) -> tuple[int, ...]:
    """The divisors at which a picture may be decoded, largest first.

    Raises:
        ImageError: It takes too much memory at every one.
    """
    scales = _SCALES if header.kind is PictureKind.JPEG else (1,)
    allowed = tuple(scale for scale in scales if header.decoded_bytes(scale) <= limits.max_decoded_bytes)
    if not allowed:
        needed, most = (-(-size // 1_000_000) for size in (header.decoded_bytes(scales[0]), limits.max_decoded_bytes))
        raise ImageError(
            f"{name}: a {header.kind.value} of {header.width}x{header.height} pixels takes {needed} MB to decode, "
            f"at most {most} MB are used",
            hint="make it smaller, or store it as a baseline JPEG",
        )
    return allowed


def decode(data: bytes, header: PictureHeader, scale: int, *, name: str) -> PilImage.Image:
    """Decodes to RGB, not turned.

    Args:
        data: The encoded picture.
        header: What `read_header` says of it.
        scale: One of `allowed_scales`; the result is 1/scale as wide and high, rounded up.
        name: What errors call it.

    Raises:
        ImageError: The data is truncated or damaged.
    """
    image = _opened(data, header, name)
    if scale > 1:
        image.draft(None, (header.width // scale, header.height // scale))
    if image.size != (-(-header.width // scale), -(-header.height // scale)):
        raise ImageError(f"{name}: damaged picture: its header contradicts itself")
    try:
        image.load()
    except Exception as cause:  # Pillow's plugins raise almost anything on damaged data
        raise ImageError(f"{name}: damaged or truncated picture: {_reason(cause)}") from cause
    try:
        return to_rgb(image)
    except (ValueError, OSError, KeyError) as cause:
        raise ImageError(f"{name}: damaged picture: {_reason(cause)}") from cause


def _check_size(data: bytes, *, name: str, limits: DecodeLimits) -> None:
    if not data:
        raise ImageError(f"{name}: the file is empty")
    if len(data) > limits.max_bytes:
        raise ImageError(f"{name}: larger than {limits.max_bytes} bytes")


def _walked(data: bytes) -> PictureHeader | None:
    if data[:3] == b"\xff\xd8\xff":
        return read_jpeg_header(data)
    if data[:8] == b"\x89PNG\r\n\x1a\n":
        return read_png_header(data)
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        return read_webp_header(data)
    return None


def _opened(data: bytes, header: PictureHeader, name: str) -> ImageFile.ImageFile:
    plugin = _plugin(header.kind)
    source = io.BytesIO(data) if header.parts == ((0, len(data)),) else _Spliced(data, header.parts)
    try:
        return plugin(cast("IO[bytes]", source))
    except Exception as cause:  # Pillow's plugins raise almost anything on damaged data
        raise ImageError(f"{name}: damaged picture: {_reason(cause)}") from cause


def _plugin(kind: PictureKind) -> type[ImageFile.ImageFile]:
    match kind:
        case PictureKind.JPEG:
            from PIL.JpegImagePlugin import JpegImageFile

            return JpegImageFile
        case PictureKind.PNG:
            from PIL.PngImagePlugin import PngImageFile

            return PngImageFile
        case PictureKind.WEBP:
            from PIL.WebPImagePlugin import WebPImageFile

            return WebPImageFile


class _Spliced:
    """Some ranges of a file, read as one; the last and longest of them is never copied as a whole."""

    def __init__(self, data: bytes, parts: tuple[tuple[int, int], ...]) -> None:
        self._head = b"".join(data[start:end] for start, end in parts[:-1])
        self._gap = parts[-1][0] - len(self._head)
        self._end = parts[-1][1]
        self._data = data
        self._position = 0

    def read(self, size: int) -> bytes:
        start = self._position
        chunk = self._head[start : start + size]
        if len(chunk) < size:
            at = start + len(chunk) + self._gap
            chunk += self._data[at : min(at + size - len(chunk), self._end)]
        self._position = start + len(chunk)
        return chunk

    def seek(self, position: int) -> int:
        self._position = position
        return position

    def tell(self) -> int:
        return self._position


def _reason(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__

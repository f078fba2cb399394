"""Makes parts of an encoded picture unrecognisable, for good.

A region is averaged down to at most 4 x 4 cells of at least 8 pixels a side, and only those averages are drawn back:
what was between them is gone, not hidden. Nothing else of the file survives but its pixels: no EXIF with its thumbnail
and place, no colour profile, no comment, no further frame.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import ImageError
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits, allowed_scales, decode, read_header
from edge.image.header import PictureHeader, PictureKind
from edge.image.orientation import turned
from edge.types import Box

if TYPE_CHECKING:
    from PIL import Image as PilImage

MAX_CELLS = 4
MIN_CELL_PIXELS = 8

_FALLBACK_QUALITY = 95
_LOSSLESS_CHUNK = b"VP8L"  # RFC 9649, section 2.6
_CHUNKS_BYTES = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class _Region:
    """Whole pixels of the upright picture; right and bottom are exclusive."""

    left: int
    top: int
    right: int
    bottom: int


def blur_regions(
    data: bytes, boxes: Sequence[Box], *, limits: DecodeLimits = DEFAULT_LIMITS, name: str = "picture"
) -> bytes:
    """The picture with some regions blurred beyond recovery, in the format it came in, upright, without metadata.

    A PNG or a lossless WebP keeps every pixel outside the boxes. A JPEG is encoded with its own quantization tables
    again, which changes pixels away from a box by a grey level or so; any other WebP at quality 95. The same bytes and
    boxes give the same bytes with the same Pillow.

    Args:
        data: Encoded JPEG, PNG or WebP.
        boxes: What to blur, in pixels of the upright picture; what lies outside of it is cut off, and every pixel that
            a box touches belongs to it.
        limits: What the picture may cost.
        name: What errors call it.

    Raises:
        ImageError: The picture cannot be used, is too large to be decoded at full size, or a box is not in it.
    """
    header = read_header(data, name=name, limits=limits)
    if 1 not in allowed_scales(header, name=name, limits=limits):
        raise ImageError(f"{name}: {header.width}x{header.height} pixels are too many to blur parts of it")
    picture = turned(decode(data, header, 1, name=name), header.turn)
    for box in boxes:
        _blur(picture, _region(box, picture.size, name))
    return _encoded(picture, data, header)


def _region(box: Box, size: tuple[int, int], name: str) -> _Region:
    edges = (box.left, box.top, box.right, box.bottom)
    inside = all(map(math.isfinite, edges)) and 0 <= box.right >= box.left <= size[0]
    if not (inside and 0 <= box.bottom >= box.top <= size[1]):
        raise ImageError(f"{name}: the box {edges} is not in a picture of {size[0]}x{size[1]} pixels")
    left, right = _whole(box.left, box.right, size[0])
    top, bottom = _whole(box.top, box.bottom, size[1])
    return _Region(left=left, top=top, right=right, bottom=bottom)


def _whole(low: float, high: float, length: int) -> tuple[int, int]:
    """Every pixel that an edge touches, at least one."""
    first = min(max(0, math.floor(low)), length - 1)
    return first, max(first + 1, min(length, math.ceil(high)))


def _blur(picture: PilImage.Image, region: _Region) -> None:
    from PIL.Image import Resampling

    place = (region.left, region.top, region.right, region.bottom)
    part = picture.crop(place)
    cells = part.resize((_cells(part.width), _cells(part.height)), Resampling.BOX)
    picture.paste(cells.resize(part.size, Resampling.BILINEAR), place)


def _cells(length: int) -> int:
    return min(MAX_CELLS, max(1, length // MIN_CELL_PIXELS))


def _encoded(picture: PilImage.Image, data: bytes, header: PictureHeader) -> bytes:
    picture.info = {}  # Pillow writes a profile or a comment that it finds here
    file = io.BytesIO()
    match header.kind:
        case PictureKind.JPEG:
            _save_jpeg(picture, _pixel_parts(data, header), file)
        case PictureKind.PNG:
            picture.save(file, "PNG")
        case PictureKind.WEBP:
            lossless = _LOSSLESS_CHUNK in _pixel_parts(data, header)[:_CHUNKS_BYTES]
            picture.save(file, "WEBP", lossless=lossless, quality=_FALLBACK_QUALITY)
    return file.getvalue()


def _pixel_parts(data: bytes, header: PictureHeader) -> bytes:
    """The file without comments, profiles and thumbnails."""
    return b"".join(data[start:end] for start, end in header.parts)


def _save_jpeg(picture: PilImage.Image, original: bytes, file: io.BytesIO) -> None:
    """With the tables and the subsampling of the original where it is an ordinary colour JPEG."""
    from PIL import JpegImagePlugin

    with JpegImagePlugin.JpegImageFile(io.BytesIO(original)) as source:
        tables, sampling = source.quantization, JpegImagePlugin.get_sampling(source)
        is_colour = len(source.getbands()) == 3
    if tables and is_colour:
        picture.save(file, "JPEG", qtables=tables, subsampling=sampling if sampling >= 0 else 0)
    else:
        picture.save(file, "JPEG", quality=_FALLBACK_QUALITY)

"""The chunks of a WebP file (RFC 9649)."""

from __future__ import annotations

from edge.image.header import PictureHeader, PictureKind
from edge.image.orientation import orientation_of

# Every frame of an animation is one.
MAX_CHUNKS = 10_000
_OPAQUE_BYTES = 16
_ALPHA_BYTES = 18


def read_webp_header(data: bytes) -> PictureHeader:
    """Walks the chunks of a WebP file.

    Raises:
        ValueError: One line: what is damaged.
    """
    width, height, has_alpha = _canvas(data)
    exif, xmp = _metadata(data)
    return PictureHeader(
        kind=PictureKind.WEBP,
        width=width,
        height=height,
        turn=orientation_of(exif, xmp) if exif or xmp else 1,
        parts=((0, len(data)),),
        fixed_bytes=0,
        pixel_bytes=_ALPHA_BYTES if has_alpha else _OPAQUE_BYTES,
    )


def _canvas(data: bytes) -> tuple[int, int, bool]:
    """Width, height and whether it may be transparent, from the first chunk."""
    chunk, body = data[12:16], data[20:30]
    if len(body) == 10 and chunk == b"VP8X":
        width, height = int.from_bytes(body[4:7], "little") + 1, int.from_bytes(body[7:10], "little") + 1
        return width, height, bool(body[0] & 0x10)
    if len(body) == 10 and chunk == b"VP8L":
        bits = int.from_bytes(body[1:5], "little")
        return (bits & 0x3FFF) + 1, (bits >> 14 & 0x3FFF) + 1, bool(bits >> 28 & 1)
    if len(body) == 10 and chunk == b"VP8 ":
        width, height = int.from_bytes(body[6:8], "little"), int.from_bytes(body[8:10], "little")
        return width & 0x3FFF, height & 0x3FFF, False
    raise ValueError("it does not begin with its header")


def _metadata(data: bytes) -> tuple[bytes, bytes]:
    """EXIF data and XMP packet."""
    found: dict[bytes, bytes] = {}
    position = 12
    for _ in range(MAX_CHUNKS):
        if position >= len(data):
            return found.get(b"EXIF", b""), found.get(b"XMP ", b"")
        kind, length = data[position : position + 4], int.from_bytes(data[position + 4 : position + 8], "little")
        if kind in (b"EXIF", b"XMP ") and kind not in found:
            found[kind] = data[position + 8 : position + 8 + length]
        position += 8 + length + length % 2
    raise ValueError(f"more than {MAX_CHUNKS} chunks")

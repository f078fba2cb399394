"""The chunks of a PNG file (W3C PNG, third edition), wherever its metadata lies."""

from __future__ import annotations

import zlib
from collections.abc import Iterator

from edge.image.header import PictureHeader, PictureKind, joined_ranges
from edge.image.orientation import UPRIGHT, orientation_of

# Encoders write image data in pieces of 8 kB or more.
MAX_CHUNKS = 100_000
_MAX_TEXT_BYTES = 1_000_000
_NEEDED = frozenset({b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND"})
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt"})
_RAW_EXIF = b"Raw profile type exif"
_XMP = b"XML:com.adobe.xmp"
_RGB = 2


def read_png_header(data: bytes) -> PictureHeader:
    """Walks the chunks of a PNG file.

    Raises:
        ValueError: One line: what is damaged.
    """
    if data[12:16] != b"IHDR" or len(data) < 33:
        raise ValueError("it does not begin with its header")
    chunks = list(_chunks(data))
    has_alpha = data[25] & 4 or any(kind == b"tRNS" for kind, _, _ in chunks)
    kept = ((start, end) for kind, start, end in chunks if kind in _NEEDED)
    return PictureHeader(
        kind=PictureKind.PNG,
        width=int.from_bytes(data[16:20], "big"),
        height=int.from_bytes(data[20:24], "big"),
        turn=_orientation(data, chunks),
        parts=joined_ranges([(0, 8), *kept]),
        fixed_bytes=0,
        pixel_bytes=4 if data[25] == _RGB and not has_alpha else 8,
    )


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Kind, start and end of each; the last may be cut off, which its decoder notices."""
    position = 8
    for _ in range(MAX_CHUNKS):
        kind = data[position + 4 : position + 8]
        end = position + 12 + int.from_bytes(data[position : position + 4], "big")
        yield kind, position, min(end, len(data))
        if end >= len(data) or kind == b"IEND":
            return
        position = end
    raise ValueError(f"more than {MAX_CHUNKS} chunks")


def _orientation(data: bytes, chunks: list[tuple[bytes, int, int]]) -> int:
    exif, raw, xmp = b"", b"", b""
    for kind, start, end in chunks:
        body = data[start + 8 : end - 4] if kind == b"eXIf" or kind in _TEXTS else b""
        if kind == b"eXIf":
            exif = body
        elif body.startswith(_RAW_EXIF + b"\0"):
            raw = kind + body
        elif body.startswith(_XMP + b"\0"):
            xmp = kind + body
    # Inflated only now: of a thousand such chunks the last one counts.
    return orientation_of(exif or _unhexed(_text(raw)), _text(xmp)) if exif or raw or xmp else UPRIGHT


def _text(chunk: bytes) -> bytes:
    """What a text chunk, its kind first, says after its keyword; empty where it is damaged or inflates to too much."""
    kind, (_, _, rest) = chunk[:4], chunk[4:].partition(b"\0")
    if kind == b"zTXt":
        return _inflated(rest[1:])
    if kind == b"iTXt":
        is_compressed = rest[:1] == b"\1"
        text = rest[2:].split(b"\0", 2)[-1]
        return _inflated(text) if is_compressed else text
    return rest


def _inflated(data: bytes) -> bytes:
    try:
        return zlib.decompressobj().decompress(data, _MAX_TEXT_BYTES)
    except zlib.error:
        return b""


def _unhexed(text: bytes) -> bytes:
    """EXIF data as ImageMagick writes it: three lines of heading, then hexadecimal digits."""
    try:
        return bytes.fromhex(text[:_MAX_TEXT_BYTES].split(b"\n", 3)[3].decode("ascii"))
    except (IndexError, ValueError):
        return b""

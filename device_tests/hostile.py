"""Pictures that must end in one clear error, and odd ones that must be answered all the same; made in memory."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from device_tests.plan import VECTORS

if TYPE_CHECKING:
    from PIL import Image


@dataclass(frozen=True, slots=True, kw_only=True)
class OddPicture:
    """One picture that is not as it should be.

    Attributes:
        name: File name with a suffix; the suffix may lie.
        make: Its bytes.
        answered: Whether it can be used all the same.
    """

    name: str
    make: Callable[[], bytes]
    answered: bool = False


def _vector(name: str) -> bytes:
    return (VECTORS / name).read_bytes()


def _png_chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def _png(width: int, height: int, pixels: bytes = b"") -> bytes:
    header = _png_chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = _png_chunk(b"IDAT", zlib.compress(pixels))
    return b"\x89PNG\r\n\x1a\n" + header + data + _png_chunk(b"IEND", b"")


def _huge_webp() -> bytes:
    canvas = bytes(4) + (16383).to_bytes(3, "little") * 2
    body = b"WEBPVP8X" + struct.pack("<I", len(canvas)) + canvas
    return b"RIFF" + struct.pack("<I", len(body)) + body


def _flipped(data: bytes, position: int) -> bytes:
    return data[:position] + bytes([data[position] ^ 0xFF]) + data[position + 1 :]


def _drawn(mode: str = "RGB") -> Image.Image:
    from PIL import Image

    return Image.radial_gradient("L").resize((64, 48)).convert(mode)


def _saved(kind: str, mode: str = "RGB", *, frames: int = 1) -> bytes:
    buffer, first = io.BytesIO(), _drawn(mode)
    more = {"save_all": True, "append_images": [first.rotate(90 * n) for n in range(1, frames)]} if frames > 1 else {}
    first.save(buffer, kind, **more)
    return buffer.getvalue()


ODD_PICTURES = (
    OddPicture(name="empty.jpg", make=lambda: b""),
    OddPicture(name="text.png", make=lambda: b"this is no picture\n" * 20),
    OddPicture(name="gif-called.jpg", make=lambda: _saved("GIF")),
    OddPicture(name="zeros.jpg", make=lambda: bytes(4096)),
    OddPicture(name="only-magic.jpg", make=lambda: b"\xff\xd8\xff\xe0"),
    OddPicture(name="truncated.jpg", make=lambda: _vector("large-eighth.jpg")[:-2000]),
    OddPicture(name="truncated.png", make=lambda: _vector("rgb.png")[:-200]),
    OddPicture(name="truncated.webp", make=lambda: _vector("lossy.webp")[:-200]),
    OddPicture(name="damaged-header.png", make=lambda: _flipped(_vector("rgb.png"), 18)),
    OddPicture(name="zero-sized.png", make=lambda: _png(0, 0)),
    OddPicture(name="no-pixels.png", make=lambda: _png(64, 48)),
    OddPicture(name="bomb.png", make=lambda: _png(60_000, 60_000)),
    OddPicture(name="bomb-thin.png", make=lambda: _png(2_000_000_000, 1)),
    OddPicture(name="bomb.webp", make=_huge_webp),
    OddPicture(name="png-called.jpg", make=lambda: _saved("PNG"), answered=True),
    OddPicture(name="cmyk.jpg", make=lambda: _saved("JPEG", "CMYK"), answered=True),
    OddPicture(name="sixteen-bit.png", make=lambda: _vector("grey-16.png"), answered=True),
    OddPicture(name="animated.webp", make=lambda: _saved("WEBP", frames=3), answered=True),
    OddPicture(name="animated.png", make=lambda: _saved("PNG", frames=3), answered=True),
    OddPicture(name="one-pixel.png", make=lambda: _vector("one-pixel.png"), answered=True),
)

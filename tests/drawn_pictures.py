"""Small pictures drawn for tests, and the pieces of JPEG, PNG and WebP files to build hostile ones from."""

from __future__ import annotations

import io
import struct
import zlib

import numpy as np
from PIL import Image

PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"


def encoded(image: Image.Image, kind: str = "PNG", **options: object) -> bytes:
    """A picture as a file's bytes."""
    buffer = io.BytesIO()
    image.save(buffer, format=kind, **options)
    return buffer.getvalue()


def smooth(width: int, height: int) -> Image.Image:
    """A gradient with structure, without hard edges."""
    y, x = np.mgrid[0:height, 0:width]
    planes = [x * 255 // max(1, width - 1), y * 255 // max(1, height - 1), (x + y) * 255 // (width + height)]
    return Image.fromarray(np.stack(planes, axis=-1).astype(np.uint8))


def noise(width: int, height: int, *, seed: int = 0) -> Image.Image:
    """Every pixel differs."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


def quadrants(width: int, height: int) -> Image.Image:
    """Four colours, so that every turn and flip shows."""
    image = Image.new("RGB", (width, height), (255, 0, 0))
    image.paste((0, 255, 0), (width // 2, 0, width, height // 2))
    image.paste((0, 0, 255), (0, height // 2, width // 2, height))
    image.paste((255, 255, 0), (width // 2, height // 2, width, height))
    return image


def exif_bytes(turn: int, *, order: str = "<", kind: int = 3) -> bytes:
    """The smallest EXIF data with an orientation, without its `Exif` prefix."""
    head = {"<": b"II*\0", ">": b"MM\0*"}[order] + struct.pack(f"{order}I", 8)
    value = {
        1: struct.pack(f"{order}B3x", turn),
        3: struct.pack(f"{order}H2x", turn),
        4: struct.pack(f"{order}I", turn),
    }
    return head + struct.pack(f"{order}HHHI", 1, 0x0112, kind, 1) + value[kind] + bytes(4)


def segment(marker: int, body: bytes) -> bytes:
    """A JPEG segment."""
    return bytes([0xFF, marker]) + struct.pack(">H", len(body) + 2) + body


def with_segments(jpeg: bytes, *segments: bytes) -> bytes:
    """A JPEG with segments put in after its first two bytes."""
    return jpeg[:2] + b"".join(segments) + jpeg[2:]


def chunk(kind: bytes, body: bytes) -> bytes:
    """A PNG chunk."""
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width: int, height: int, *, depth: int = 8, colour: int = 2, extra: bytes = b"", data: bytes = b"") -> bytes:
    """A PNG file put together by hand.

    Args:
        width: As its header says.
        height: As its header says.
        depth: Bits of a sample.
        colour: 0 grey, 2 RGB, 3 palette, 4 grey and alpha, 6 RGB and alpha.
        extra: Chunks between header and image data.
        data: Unfiltered rows, each with its filter byte; by default all zero.
    """
    samples = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}[colour]
    data = data or bytes((1 + -(-width * depth * samples // 8)) * height if width * height < 10_000_000 else 1)
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    chunks = (chunk(b"IHDR", header), extra, chunk(b"IDAT", zlib.compress(data)), chunk(b"IEND", b""))
    return PNG_SIGNATURE + b"".join(chunks)


def riff(*chunks: tuple[bytes, bytes]) -> bytes:
    """A WebP file of these chunks."""
    body = b"".join(kind + struct.pack("<I", len(data)) + data + b"\0" * (len(data) % 2) for kind, data in chunks)
    return b"RIFF" + struct.pack("<I", len(body) + 4) + b"WEBP" + body


def extended(width: int, height: int, flags: int = 0) -> tuple[bytes, bytes]:
    """The first chunk of an extended WebP file."""
    return b"VP8X", bytes([flags, 0, 0, 0]) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")

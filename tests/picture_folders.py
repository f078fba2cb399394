"""Small ImageFolders for tests: every picture has a pattern of its own, so that none looks like another."""

from __future__ import annotations

import hashlib
import io
import random
import struct
import zlib
from pathlib import Path

from PIL import Image


def patterned(
    name: str, *, kind: str = "PNG", size: tuple[int, int] = (64, 64), tint: int = 0, **options: object
) -> bytes:
    """A picture of random blots, the same for the same name.

    Args:
        name: Seeds the blots.
        kind: File format.
        size: In pixels.
        tint: Added to every channel before encoding, 0 to 40: the same picture, a little brighter.
        options: Of the encoder.
    """
    rng = random.Random(name)
    cells = bytes(20 + rng.randrange(190) + tint for _ in range(12 * 12 * 3))
    picture = Image.frombytes("RGB", (12, 12), cells).resize(size, Image.Resampling.BICUBIC)
    target = io.BytesIO()
    picture.save(target, kind, **options)
    return target.getvalue()


def write_folder(root: Path, counts: dict[str, int], *, prefix: str = "") -> Path:
    """An ImageFolder with so many pictures a class."""
    for label, count in counts.items():
        (root / label).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            (root / label / f"{prefix}{number:03d}.png").write_bytes(patterned(f"{label} {prefix}{number}"))
    return root


def sha256(data: bytes) -> str:
    """Digest, hex."""
    return hashlib.sha256(data).hexdigest()


def bomb_png() -> bytes:
    """A valid header that asks for 40,000 x 40,000 pixels, in a few bytes."""
    header = struct.pack(">IIBBBBB", 40_000, 40_000, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(b"\0" * 1000)), (b"IEND", b"")]
    body = b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )
    return b"\x89PNG\r\n\x1a\n" + body


BAD_FILES = {
    "zero.jpg": (b"", "empty"),
    "truncated.jpg": (patterned("truncated", kind="JPEG", size=(200, 200))[:-1500], "truncated"),
    "truncated.png": (patterned("truncated", size=(200, 200))[:-500], "truncated"),
    "truncated.webp": (patterned("truncated", kind="WEBP", size=(200, 200))[:-300], "damaged"),
    "bomb.png": (bomb_png(), "40000x40000 pixels"),
    "words.jpg": (b"this is not a picture\n" * 20, "not a JPEG, PNG or WebP"),
    "other.png": (patterned("gif", kind="GIF"), "not a JPEG, PNG or WebP"),
    "header.jpg": (patterned("header", kind="JPEG")[:12], "damaged"),
}

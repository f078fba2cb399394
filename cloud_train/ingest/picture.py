"""Is what arrived what was offered, and a picture? Looks at the bytes and the header; decodes nothing."""

from __future__ import annotations

import hashlib
import warnings
from pathlib import Path

from edge.sync.types import SampleOffer

_BLOCK_BYTES = 1 << 20
_FORMATS = ("JPEG", "PNG", "WEBP")


def digest_of_file(path: Path) -> str:
    """SHA-256 of a file, hex."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def picture_fault(path: Path, *, max_pixels: int) -> str:
    """Why a file is not an acceptable picture, from its magic bytes and header; empty when it is one.

    Args:
        path: The file.
        max_pixels: Largest width times height.
    """
    from PIL import Image

    if not _has_magic(path):
        return "not a JPEG, PNG or WebP picture"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(path, formats=_FORMATS) as picture:
                width, height = picture.size
    except Image.DecompressionBombError:
        return f"more than {max_pixels} pixels"
    except (OSError, ValueError, SyntaxError):
        return "the picture's header is damaged"
    return f"more than {max_pixels} pixels" if width * height > max_pixels else ""


def size_fault(offer: SampleOffer, *, max_bytes: int) -> str:
    """Why a payload of the offered size is not taken; empty when it is."""
    if offer.size_bytes > max_bytes:
        return f"{offer.size_bytes} bytes, at most {max_bytes} are taken"
    return ""


def _has_magic(path: Path) -> bool:
    with path.open("rb") as file:
        head = file.read(16)
    jpeg, png = head.startswith(b"\xff\xd8\xff"), head.startswith(b"\x89PNG\r\n\x1a\n")
    return jpeg or png or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")

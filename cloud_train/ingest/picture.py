"""Is what arrived what was offered, and a picture? Looks at the bytes and the header; decodes nothing."""

from __future__ import annotations

import hashlib
import io
import warnings
from pathlib import Path
from typing import IO

from cloud_train.ingest.jpeg_header import plain_jpeg_size
from edge.sync.types import SampleOffer

_FORMATS = ("JPEG", "PNG", "WEBP")
_MAX_PLAIN_PIXELS = 80_000_000
"""Above that the general reader has a word of its own to say."""


def picture_fault(path: Path, *, max_pixels: int) -> str:
    """Why a file is not an acceptable picture, from its magic bytes and header; empty when it is one.

    Args:
        path: The file.
        max_pixels: Largest width times height.
    """
    with path.open("rb") as file:
        return _fault(file, max_pixels)


def payload_fault(data: bytes, offer: SampleOffer, *, max_pixels: int) -> str:
    """Why a payload in memory is not the picture that was offered; empty when it is.

    Args:
        data: The whole payload.
        offer: What the device said of it.
        max_pixels: Largest width times height.
    """
    if hashlib.sha256(data).hexdigest() != offer.digest:
        return "the payload does not match its digest"
    if (size := plain_jpeg_size(data)) is not None and size[0] * size[1] <= min(max_pixels, _MAX_PLAIN_PIXELS):
        return ""
    return _fault(io.BytesIO(data), max_pixels)


def size_fault(offer: SampleOffer, *, max_bytes: int) -> str:
    """Why a payload of the offered size is not taken; empty when it is."""
    if offer.size_bytes > max_bytes:
        return f"{offer.size_bytes} bytes, at most {max_bytes} are taken"
    return ""


def length_fault(num_bytes: int, offer: SampleOffer) -> str:
    """Why so many bytes are not the whole of what was offered; empty when they are."""
    if num_bytes > offer.size_bytes:
        return f"more than the {offer.size_bytes} bytes that were offered"
    if num_bytes < offer.size_bytes:
        return f"ends after {num_bytes} of {offer.size_bytes} bytes"
    return ""


def _fault(file: IO[bytes], max_pixels: int) -> str:
    from PIL import Image

    if not _has_magic(file.read(16)):
        return "not a JPEG, PNG or WebP picture"
    file.seek(0)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)
            with Image.open(file, formats=_FORMATS) as picture:
                width, height = picture.size
    except Image.DecompressionBombError:
        return f"more than {max_pixels} pixels"
    except (OSError, ValueError, SyntaxError):
        return "the picture's header is damaged"
    return f"more than {max_pixels} pixels" if width * height > max_pixels else ""


def _has_magic(head: bytes) -> bool:
    jpeg, png = head.startswith(b"\xff\xd8\xff"), head.startswith(b"\x89PNG\r\n\x1a\n")
    return jpeg or png or (head[:4] == b"RIFF" and head[8:12] == b"WEBP")

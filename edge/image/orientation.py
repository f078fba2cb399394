"""Which way up a picture is: the EXIF orientation from its metadata, and the turning itself.

The numbers 1 to 8 are those of EXIF 2.32, tag 0x0112. Only the first directory of the EXIF data is walked, by our own
few lines: a full parser costs more than decoding a small picture does, and is one more thing that hostile data meets.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from PIL import Image as PilImage

Edges = tuple[float, float, float, float]

UPRIGHT = 1
_PREFIX = b"Exif\0\0"
_TAG = 0x0112
_NUMBER_BYTES = {1: 1, 3: 2, 4: 4}
_XMP = re.compile(rb'tiff:Orientation(?:="|>)([0-9])')


def orientation_of(exif: bytes, xmp: bytes = b"") -> int:
    """EXIF orientation, 1 to 8; 1 where there is none or it makes no sense.

    Args:
        exif: EXIF data (a TIFF header and its directories), with or without the `Exif` prefix; may be damaged.
        xmp: An XMP packet, which counts where the EXIF data has no orientation.
    """
    value = _from_exif(exif)
    if value is None and (match := _XMP.search(xmp)):
        value = int(match[1])
    return value if value is not None and 1 <= value <= 8 else UPRIGHT


def is_sideways(turn: int) -> bool:
    """Whether width and height change places."""
    return turn >= 5


def turned(image: PilImage.Image, turn: int) -> PilImage.Image:
    """The stored picture made upright."""
    from PIL.Image import Transpose

    moves = {
        2: Transpose.FLIP_LEFT_RIGHT,
        3: Transpose.ROTATE_180,
        4: Transpose.FLIP_TOP_BOTTOM,
        5: Transpose.TRANSPOSE,
        6: Transpose.ROTATE_270,
        7: Transpose.TRANSVERSE,
        8: Transpose.ROTATE_90,
    }
    return image.transpose(moves[turn]) if turn in moves else image


def stored_box(box: Edges, turn: int, stored: tuple[int, int]) -> Edges:
    """Where a rectangle of the upright picture lies in the stored one.

    Args:
        box: Left, top, right, bottom in upright pixels.
        turn: EXIF orientation.
        stored: Width and height of the stored picture.
    """
    left, top, right, bottom = box
    width, height = stored
    return {
        2: (width - right, top, width - left, bottom),
        3: (width - right, height - bottom, width - left, height - top),
        4: (left, height - bottom, right, height - top),
        5: (top, left, bottom, right),
        6: (top, height - right, bottom, height - left),
        7: (width - bottom, height - right, width - top, height - left),
        8: (width - bottom, left, width - top, right),
    }.get(turn, box)


def _from_exif(exif: bytes) -> int | None:
    """The tag's number; 0 where the tag holds something else, None where it is missing."""
    exif = exif.removeprefix(_PREFIX).removeprefix(_PREFIX)
    order: Literal["little", "big"]
    if exif[:4] == b"II*\0":
        order = "little"
    elif exif[:4] == b"MM\0*":
        order = "big"
    else:
        return None
    first = int.from_bytes(exif[4:8], order) + 2
    num_entries = int.from_bytes(exif[first - 2 : first], order)
    for at in range(first, min(first + 12 * num_entries, len(exif) - 11), 12):
        if int.from_bytes(exif[at : at + 2], order) == _TAG:
            size = _NUMBER_BYTES.get(int.from_bytes(exif[at + 2 : at + 4], order), 0)
            is_one = int.from_bytes(exif[at + 4 : at + 8], order) == 1
            return int.from_bytes(exif[at + 8 : at + 8 + size], order) if is_one else 0
    return None

"""What an encoded picture says about itself, read before any decoder sees it: kind, size, which way up, what it costs.

The three readers below it (`jpeg_header`, `png_header`, `webp_header`) walk the parts of a file by their lengths alone.
They also say which parts a decoder needs: comments, profiles, thumbnails, text and animation are left out, so that no
amount of them costs time or memory.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from dataclasses import dataclass


class PictureKind(enum.Enum):
    """The formats that are read."""

    JPEG = "JPEG"
    PNG = "PNG"
    WEBP = "WebP"


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureHeader:
    """What is known of a picture before it is decoded.

    Attributes:
        kind: Its format.
        width: Stored width in pixels, at least 1.
        height: Stored height in pixels, at least 1.
        turn: EXIF orientation, 1 to 8.
        parts: Byte ranges (start, end) of the file that the decoder needs, in order; at least one.
        fixed_bytes: Memory that decoding takes at any scale: the coefficients of a JPEG with several scans.
        pixel_bytes: Memory of one decoded pixel at the worst moment of its way to RGB.
    """

    kind: PictureKind
    width: int
    height: int
    turn: int
    parts: tuple[tuple[int, int], ...]
    fixed_bytes: int
    pixel_bytes: int

    @property
    def size(self) -> tuple[int, int]:
        """Stored width and height."""
        return self.width, self.height

    def decoded_bytes(self, scale: int) -> int:
        """Memory that decoding at 1/scale takes."""
        return self.fixed_bytes + self.pixel_bytes * -(-self.width // scale) * -(-self.height // scale)


def joined_ranges(ranges: Iterable[tuple[int, int]]) -> tuple[tuple[int, int], ...]:
    """Neighbouring ranges as one."""
    joined: list[tuple[int, int]] = []
    for start, end in ranges:
        if joined and joined[-1][1] == start:
            joined[-1] = (joined[-1][0], end)
        else:
            joined.append((start, end))
    return tuple(joined)

"""The segments of a JPEG file up to its first scan (ITU-T T.81, annex B)."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from edge.image.header import PictureHeader, PictureKind, joined_ranges
from edge.image.orientation import UPRIGHT, orientation_of

# A camera writes 10 to 30; depth maps and panoramas in metadata come in pieces of 64 kB, a few hundred at most.
MAX_SEGMENTS = 4000
# An encoder writes about 10, a very thorough one 20. Each costs a pass over all coefficients: thousands of empty ones
# would take hours.
MAX_SCANS = 40
_MARKER = re.compile(rb"\xff[^\x00\xff]")
_START_OF_SCAN = 0xDA
_APP1 = 0xE1
_WITHOUT_LENGTH = frozenset({0x01, *range(0xD0, 0xDA)})
_ALL_FRAMES = frozenset(range(0xC0, 0xD0)) - {0xC4, 0xC8, 0xCC}
# Sequential, extended, progressive, and the latter two with arithmetic coding.
_KNOWN_FRAMES = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_PROGRESSIVE = frozenset({0xC2, 0xCA})
# Metadata, but for JFIF (APP0) and Adobe (APP14), which tell the colour space; and comments.
_LEFT_OUT = frozenset({*range(0xE1, 0xEE), 0xEF, 0xFE})
# The orientation lies at the beginning; what follows are maker notes and thumbnails.
_MAX_EXIF_SEGMENTS = 8
_EXIF = b"Exif\0\0"
_XMP = b"http://ns.adobe.com/xap/1.0/\0"


# Plain tuples: each class of values costs a millisecond when a device starts.
_Segment: TypeAlias = tuple[int, int, int, int]
"""Marker, where its 0xFF lies, where its content begins (after marker and length), one past its content."""
_Factors: TypeAlias = list[tuple[int, int]]
"""Horizontal and vertical sampling factor of each component."""


def read_jpeg_header(data: bytes) -> PictureHeader:
    """Walks the segments of a JPEG file.

    Raises:
        ValueError: One line: what is damaged.
    """
    segments = list(_segments(data))
    coding, size, factors = _frame(data, segments)
    _, scan_start, scan_body, scan_end = segments[-1]
    has_several = coding in _PROGRESSIVE or data[scan_body : scan_body + 1] < bytes([len(factors)])
    if has_several:
        _check_scans(data, scan_end)
    kept = [(0, 2), *((start, end) for marker, start, _, end in segments[:-1] if marker not in _LEFT_OUT)]
    return PictureHeader(
        kind=PictureKind.JPEG,
        width=size[0],
        height=size[1],
        turn=_orientation(data, segments),
        parts=joined_ranges([*kept, (scan_start, len(data))]),
        fixed_bytes=_coefficient_bytes(size, factors) if has_several else 0,
        pixel_bytes=4 if len(factors) == 3 else 8,
    )


def _segments(data: bytes) -> Iterator[_Segment]:
    """Everything up to the first scan's header, which comes last; junk between segments is passed over."""
    position = 2
    for _ in range(MAX_SEGMENTS):
        found = _MARKER.search(data, position)
        if found is None:
            raise ValueError("it ends before its first scan")
        after = found.end()
        marker = data[after - 1]
        if marker in _WITHOUT_LENGTH:
            position = after
            continue
        length = int.from_bytes(data[after : after + 2], "big")
        if length < 2 or after + length > len(data):
            raise ValueError("a segment is longer than the file")
        position = after + length
        yield marker, after - 2, after + 2, position
        if marker == _START_OF_SCAN:
            return
    raise ValueError(f"more than {MAX_SEGMENTS} segments before the first scan")


def _frame(data: bytes, segments: list[_Segment]) -> tuple[int, tuple[int, int], _Factors]:
    """Kind of coding, width and height, sampling factors: all that the one frame header says."""
    found = [(marker, data[body:end]) for marker, _, body, end in segments if marker in _ALL_FRAMES]
    if len(found) != 1:
        raise ValueError(f"{len(found)} frame headers instead of one")
    marker, body = found[0]
    num_components = body[5] if len(body) > 5 else 0
    if marker not in _KNOWN_FRAMES or num_components not in (1, 3, 4) or len(body) < 6 + 3 * num_components:
        raise ValueError("a frame header of an unknown kind")
    factors = [(body[7 + 3 * i] >> 4, body[7 + 3 * i] & 15) for i in range(num_components)]
    if not all(1 <= factor <= 4 for pair in factors for factor in pair):
        raise ValueError("a frame header with impossible sampling factors")
    return marker, (int.from_bytes(body[3:5], "big"), int.from_bytes(body[1:3], "big")), factors


def _check_scans(data: bytes, first_end: int) -> None:
    # Inside a scan 0xFF is always followed by 0 or a restart marker, so every such pair is a scan's header.
    if data.count(b"\xff\xda", first_end) + 1 > MAX_SCANS:
        raise ValueError(f"more than {MAX_SCANS} scans")


def _coefficient_bytes(size: tuple[int, int], factors: _Factors) -> int:
    """A decoder of several scans holds every coefficient, 2 bytes each, in whole units of the largest sampling."""
    widest, tallest = max(h for h, _ in factors), max(v for _, v in factors)
    num_units = -(-size[0] // (8 * widest)) * -(-size[1] // (8 * tallest))
    return num_units * sum(h * v for h, v in factors) * 64 * 2


def _orientation(data: bytes, segments: list[_Segment]) -> int:
    exif: list[bytes] = []
    xmp = b""
    for marker, _, body, end in segments:
        if marker != _APP1:
            continue
        if data.startswith(_EXIF, body) and len(exif) < _MAX_EXIF_SEGMENTS:
            exif.append(data[body + len(_EXIF) : end])
        elif data.startswith(_XMP, body):
            xmp = data[body + len(_XMP) : end]
    return orientation_of(b"".join(exif), xmp) if exif or xmp else UPRIGHT

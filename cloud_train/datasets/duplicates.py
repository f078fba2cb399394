"""Near duplicates: the same picture re-encoded, resized or re-exposed, and shots of one burst.

A picture is reduced to a 17 by 16 thumbnail. Two pictures are near duplicates when their difference hashes (is each
cell brighter than its left neighbour) differ in few of 256 bits *and* the thumbnails correlate, in grey and in colour.
The hash alone merges pictures that share a layout (chest films, packs on white); the correlation alone merges pictures
that share a background. Both limits were chosen on real data sets; the figures are in docs/formats/snapshot.md.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edge.bundle.manifest import PreprocessSpec

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.preprocess import DecodeLimits
    from edge.types import Image

    Array: TypeAlias = npt.NDArray[np.float32]
    Indices: TypeAlias = npt.NDArray[np.intp]

COLUMNS, ROWS = 17, 16
NUM_BITS = (COLUMNS - 1) * ROWS
MAX_BITS_APART = 32
MIN_CORRELATION = 0.95
FLAT_GREY_LEVELS = 2.0
_CELL = 4
_BLOCK = 1024
_PAIRS_AT_ONCE = 1 << 16
_SPEC = PreprocessSpec(width=COLUMNS * _CELL, height=ROWS * _CELL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a picture looks like, small enough to compare with thousands of others.

    Attributes:
        width: Width of the upright picture in pixels.
        height: Height of the upright picture in pixels.
        pixels: SHA-256 of size and reduced pixels, hex: equal for the same picture in another file format.
        dhash: 256 bits, one a cell and row by row: brighter than its left neighbour.
        thumbnail: RGB, uint8, 16 rows of 17 cells.
    """

    width: int
    height: int
    pixels: str
    dhash: bytes
    thumbnail: bytes


def fingerprint(image: Image, *, limits: DecodeLimits | None = None) -> Fingerprint:
    """Decodes a picture and reduces it.

    Args:
        image: Encoded bytes, a path or an array.
        limits: What may be decoded; the device's limits by default.

    Raises:
        ImageError: Not a picture that can be used.
    """
    import numpy as np

    from edge.preprocess import DEFAULT_LIMITS, preprocess_pixels

    pixels, geometry = preprocess_pixels(image, _SPEC, limits=limits or DEFAULT_LIMITS)
    cells = pixels.reshape(ROWS, _CELL, COLUMNS, _CELL, 3).sum(axis=(1, 3), dtype=np.int32)
    grey = cells @ np.array((299, 587, 114), dtype=np.int32)
    size = f"{geometry.picture_width}x{geometry.picture_height} ".encode()
    return Fingerprint(
        width=geometry.picture_width,
        height=geometry.picture_height,
        pixels=hashlib.sha256(size + pixels.tobytes()).hexdigest(),
        dhash=np.packbits(grey[:, 1:] > grey[:, :-1]).tobytes(),
        thumbnail=(cells // (_CELL * _CELL)).astype(np.uint8).tobytes(),
    )


def group_near_duplicates(prints: Sequence[Fingerprint]) -> tuple[int, ...]:
    """Puts near duplicates into groups, transitively.

    Args:
        prints: Fingerprints in any order.

    Returns:
        For each fingerprint the position of the first member of its group.
    """
    parent = list(range(len(prints)))

    def root(node: int) -> int:
        while parent[node] != node:
            parent[node] = parent[parent[node]]
            node = parent[node]
        return node

    for left, right in near_duplicate_pairs(prints):
        first, second = sorted((root(left), root(right)))
        parent[second] = first
    return tuple(root(node) for node in range(len(prints)))


def group_digests(digests: Sequence[str], groups: Sequence[int]) -> dict[str, str]:
    """Digest to the smallest digest of its group.

    Args:
        digests: Pictures.
        groups: For each of them a number that its group shares.
    """
    pairs = list(zip(digests, groups, strict=True))
    smallest: dict[int, str] = {}
    for digest, group in pairs:
        smallest[group] = min(digest, smallest.get(group, digest))
    return {digest: smallest[group] for digest, group in pairs}


def near_duplicate_pairs(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Yields every pair of positions (smaller first) whose pictures are near duplicates."""
    import numpy as np

    yield from _equal_pixels(prints)
    if len(prints) < 2:
        return
    bits = np.unpackbits(np.frombuffer(b"".join(one.dhash for one in prints), np.uint8)).reshape(-1, NUM_BITS)
    signs = bits.astype(np.float32) * 2 - 1
    colour, grey = _normalised_thumbnails(prints)
    patterned = np.abs(grey).max(axis=1) > 0
    for start in range(0, len(prints), _BLOCK):
        # Of vectors of +1 and -1 the product is the number of equal bits minus that of the others.
        alike = signs[start : start + _BLOCK] @ signs[start:].T >= NUM_BITS - 2 * MAX_BITS_APART
        both = np.outer(patterned[start : start + _BLOCK], patterned[start:])
        left, right = np.nonzero(np.triu(alike & both, 1))
        yield from _correlated(left + start, right + start, colour, grey)


def _equal_pixels(prints: Sequence[Fingerprint]) -> Iterator[tuple[int, int]]:
    """Pairs each picture with the first of equal pixels; flat pictures are only ever matched here."""
    first: dict[str, int] = {}
    for position, one in enumerate(prints):
        earlier = first.setdefault(one.pixels, position)
        if earlier != position:
            yield earlier, position


def _normalised_thumbnails(prints: Sequence[Fingerprint]) -> tuple[Array, Array]:
    """Thumbnails as unit vectors without their mean, in colour and in grey; zero for a flat picture."""
    import numpy as np

    raw = np.frombuffer(b"".join(one.thumbnail for one in prints), np.uint8).reshape(len(prints), -1, 3)
    colour = raw.astype(np.float32)
    grey = colour.mean(axis=2)
    flat = grey.std(axis=1) < FLAT_GREY_LEVELS
    vectors = []
    for values in (colour.reshape(len(prints), -1), grey):
        centred = values - values.mean(axis=1, keepdims=True)
        norms = np.linalg.norm(centred, axis=1, keepdims=True)
        unit = centred / np.maximum(norms, 1e-6)
        unit[flat] = 0
        vectors.append(unit)
    return vectors[0], vectors[1]


def _correlated(left: Indices, right: Indices, colour: Array, grey: Array) -> Iterator[tuple[int, int]]:
    """Keeps the candidate pairs whose thumbnails correlate."""
    import numpy as np

    for start in range(0, len(left), _PAIRS_AT_ONCE):
        some_left, some_right = left[start : start + _PAIRS_AT_ONCE], right[start : start + _PAIRS_AT_ONCE]
        alike = np.ones(len(some_left), dtype=bool)
        for vectors in (grey, colour):
            correlation = np.einsum("ij,ij->i", vectors[some_left], vectors[some_right])
            alike &= correlation >= MIN_CORRELATION
        yield from zip(some_left[alike].tolist(), some_right[alike].tolist(), strict=True)

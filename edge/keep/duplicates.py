"""Near-duplicates by a perceptual hash of 64 bits.

It is the DCT hash of Zauner, Implementation and Benchmarking of Perceptual Image Hash Functions, 2010.
The picture becomes 32 x 32 grey levels with the same decoder and resize as a model's input; the hash says of each of
the 8 x 8 lowest frequencies whether it is above their median. All arithmetic is on integers, so that every machine
gets the same bits. The ImageHash library does the same on scipy and PyWavelets, which together outweigh the rest of
a device's installation; this is a matrix product.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterable
from typing import TYPE_CHECKING

from edge.bundle.manifest import PreprocessSpec
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits
from edge.preprocess import preprocess_pixels

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import ByteArray, Image

SIDE = 32
NUM_BITS = 64

_KEPT_SIDE = 8
_FIXED_POINT = 1 << 14
_LUMA = (299, 587, 114)


def picture_hash(image: Image, *, limits: DecodeLimits = DEFAULT_LIMITS) -> int:
    """The perceptual hash of a picture, upright.

    A JPEG is decoded at an eighth where it is large enough. That still costs about as much as preparing it for a
    classifier, so it is best asked for after every other rule.

    Args:
        image: Encoded JPEG, PNG or WebP bytes, a path to such a file, or uint8 (H, W, 3) RGB or (H, W) grey.
        limits: What the picture may cost.

    Returns:
        0 to 2**64 - 1.

    Raises:
        ImageError: The picture cannot be used.
    """
    pixels, _ = preprocess_pixels(image, PreprocessSpec(width=SIDE, height=SIDE), limits=limits)
    return hash_of(pixels)


def hash_of(pixels: ByteArray) -> int:
    """The perceptual hash of a picture that has been reduced already.

    Args:
        pixels: uint8 (32, 32, 3), RGB.

    Returns:
        0 to 2**64 - 1; the first bit is that of the lowest frequency.
    """
    import numpy as np

    grey = pixels.astype(np.int64) @ np.array(_LUMA, dtype=np.int64)
    waves = np.array(_waves(), dtype=np.int64)
    low = (waves @ grey @ waves.T).reshape(-1)
    bits = low > _middle(low[1:])
    return int("".join("1" if bit else "0" for bit in bits), 2)


def distance(one: int, other: int) -> int:
    """In how many of the 64 bits two hashes differ."""
    return (one ^ other).bit_count()


def is_near(picture: int, kept: Iterable[int], *, max_bits: int) -> bool:
    """Whether a hash differs by at most `max_bits` from one of those kept; never where `max_bits` is negative."""
    return any(distance(picture, other) <= max_bits for other in kept)


@functools.cache
def _waves() -> tuple[tuple[int, ...], ...]:
    """The eight lowest waves of a DCT-II over 32 points, in fixed point."""
    angles = [[(2 * place + 1) * wave * math.pi / (2 * SIDE) for place in range(SIDE)] for wave in range(_KEPT_SIDE)]
    return tuple(tuple(round(math.cos(angle) * _FIXED_POINT) for angle in row) for row in angles)


def _middle(values: npt.NDArray[np.int64]) -> int:
    """The median of an odd number of integers, exactly; the mean grey is left out, for it says nothing of shapes."""
    import numpy as np

    return int(np.sort(values)[len(values) // 2])

"""Pictures to measure with: what a network computes takes as long whatever it sees, but boxes must have been cut."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.types import Box

if TYPE_CHECKING:
    from edge.types import ByteArray

WIDTH, HEIGHT = 1280, 720
NUM_CROPS = 16


def sample_picture(seed: int) -> ByteArray:
    """Soft blobs of colour, uint8 (720, 1280, 3), the same for the same seed on every machine."""
    import numpy as np

    coarse = np.random.default_rng(seed).integers(0, 256, (HEIGHT // 80, WIDTH // 80, 3), dtype=np.uint8)
    return np.repeat(np.repeat(coarse, 80, axis=0), 80, axis=1)


def sample_boxes() -> tuple[Box, ...]:
    """As many crops as a small shelf has, 220 x 280 pixels each."""
    columns = 8
    return tuple(
        Box(left=left, top=top, right=left + 220.0, bottom=top + 280.0)
        for top in (20.0, 400.0)
        for left in (float(130 * column) for column in range(columns))
    )[:NUM_CROPS]

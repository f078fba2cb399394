"""Whether a frame shows anything new, so that a still scene costs next to nothing.

Both frames are reduced to 160 x 90 samples in grey, whatever their size; the score is the greatest mean absolute
difference of any of 16 x 9 blocks of 10 x 10 samples. One block is small enough for a hand that reaches in, and large
enough for the noise of single pixels to average out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from edge.bundle.policy import CapturePolicy
from edge.errors import ImageError
from edge.preprocess import DEFAULT_LIMITS, DecodeLimits, open_picture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import ByteArray

    GreySamples: TypeAlias = npt.NDArray[np.int16]

BLOCKS = (9, 16)
_SAMPLES_A_SIDE = 10
_ROWS, _COLUMNS = (_SAMPLES_A_SIDE * blocks for blocks in BLOCKS)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sketch:
    """What is remembered of a frame.

    Attributes:
        size: Width and height of the frame in pixels.
        samples: int16 (90, 160), grey levels, 0 to 255.
    """

    size: tuple[int, int]
    samples: GreySamples


def sketch_of(data: bytes | ByteArray, *, limits: DecodeLimits = DEFAULT_LIMITS) -> Sketch:
    """Reduces a frame.

    Args:
        data: Encoded JPEG, PNG or WebP, or an array, uint8 (height, width, 3) RGB or (height, width) grey.
        limits: What an encoded one may cost.

    Raises:
        ImageError: It is no picture.
    """
    import numpy as np

    picture = open_picture(data, limits=limits)
    if isinstance(data, bytes):
        room = min(picture.width / _COLUMNS, picture.height / _ROWS)
        return Sketch(size=picture.size, samples=_samples(np.asarray(picture.pixels(room)[0])))
    return Sketch(size=picture.size, samples=_samples(data))


def change_score(one: Sketch, other: Sketch) -> float:
    """How much two frames differ, in grey levels, 0 to 255; 255 where they are not of one size."""
    import numpy as np

    if one.size != other.size:
        return 255.0
    difference = np.abs(one.samples - other.samples)
    blocks = difference.reshape(BLOCKS[0], _SAMPLES_A_SIDE, BLOCKS[1], _SAMPLES_A_SIDE)
    return float(blocks.mean(axis=(1, 3)).max())


class ChangeGate:
    """Says which frames may be skipped because nothing has changed since the last answer. Not for several threads.

    Args:
        policy: How much is a change, and how long nothing may be answered.
        limits: What an encoded frame may cost.
    """

    def __init__(self, policy: CapturePolicy, *, limits: DecodeLimits = DEFAULT_LIMITS) -> None:
        self._policy = policy
        self._limits = limits
        self._asked: Sketch | None = None
        self._answered: Sketch | None = None
        self._answered_at = 0.0

    def is_unchanged(self, data: bytes | ByteArray, now: float) -> bool:
        """Whether a frame shows what the one answered last shows, and that answer is not too old.

        Args:
            data: The frame. One that is no picture counts as changed: the engine says what is wrong with it.
            now: Monotonic time in seconds.
        """
        if self._policy.change_threshold == 0:
            return False
        try:
            self._asked = sketch_of(data, limits=self._limits)
        except ImageError:
            self._asked = None
        if self._asked is None or self._answered is None or now - self._answered_at >= self._policy.max_still_s:
            return False
        return change_score(self._asked, self._answered) < self._policy.change_threshold

    def answered(self, now: float) -> None:
        """Takes note that the frame asked about last was answered; what comes is compared with it.

        Args:
            now: Monotonic time in seconds.
        """
        self._answered, self._asked = self._asked, None
        self._answered_at = now


def _samples(pixels: ByteArray) -> GreySamples:
    """One pixel of each cell of a grid of 90 x 160, as grey (ITU-R BT.601)."""
    import numpy as np

    height, width = pixels.shape[:2]
    rows = (2 * np.arange(_ROWS) + 1) * height // (2 * _ROWS)
    columns = (2 * np.arange(_COLUMNS) + 1) * width // (2 * _COLUMNS)
    chosen: GreySamples = pixels[rows[:, np.newaxis], columns].astype(np.int16)
    if chosen.ndim == 2:
        return chosen
    grey: GreySamples = (chosen[..., 0] * 19 + chosen[..., 1] * 38 + chosen[..., 2] * 7) >> 6
    return grey

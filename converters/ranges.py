"""The range of one tensor over many pictures, without keeping them. Pure: arrays in, ranges out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converters.types import CalibrationRange
from edge.errors import EdgeloopError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

# Share of a tensor's values that is cut off at either end.
CUT_SHARE = {CalibrationRange.EXACT: 0.0, CalibrationRange.P99_999: 1e-5, CalibrationRange.P99_99: 1e-4}
_BINS = 2048
# Of a large tensor every so many-th value goes into the histogram: its ends come from elsewhere.
_MOST_SAMPLES = 65536
_LEVELS = 255
_STEPS = 41


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that an int8 tensor has to hold.

    Attributes:
        low: Smallest value.
        high: Greatest value; not below `low`.
    """

    low: float
    high: float


Ranges = Mapping[str, Range]


class TailTracker:
    """Finds the range of one tensor, for every share of values that may be cut off.

    Args:
        share: Greatest share of the values that will be cut off at either end, in [0, 0.5).
        total: Values that will be seen in all.
    """

    def __init__(self, *, share: float, total: int) -> None:
        self._share, self._total = share, total
        self._keep = int(share * total) + 1
        self._lowest: FloatArray | None = None
        self._highest: FloatArray | None = None

    def see(self, values: npt.NDArray[np.float32]) -> None:
        """Takes in the values of one picture."""
        import numpy as np

        flat, keep = values.ravel(), self._keep
        if self._lowest is None or self._highest is None:
            low, high = flat, flat
        else:  # only values beyond the ends known so far can still matter
            full = self._lowest.size >= keep
            low = np.concatenate((self._lowest, flat[flat < self._lowest.max()] if full else flat))
            high = np.concatenate((self._highest, flat[flat > self._highest.min()] if full else flat))
        self._lowest = np.partition(low, keep - 1)[:keep] if low.size > keep else low
        self._highest = np.partition(high, -keep)[-keep:] if high.size > keep else high

    def range(self, share: float | None = None) -> Range:
        """The range of what was seen.

        Args:
            share: Share of the values that is cut off at either end, at most that of the tracker; None for that.

        Raises:
            EdgeloopError: Nothing was seen.
        """
        import numpy as np

        if self._lowest is None or self._highest is None:
            raise EdgeloopError("activation ranges need at least one calibration picture")
        cut = min(int((self._share if share is None else share) * self._total), self._lowest.size - 1)
        low, high = np.partition(self._lowest, cut)[cut], np.partition(self._highest, -1 - cut)[-1 - cut]
        return Range(low=float(low), high=float(high))


class GrowingHistogram:
    """Counts values in bins of one width, which doubles when a value lies beyond them: one pass is enough."""

    def __init__(self) -> None:
        self._width = 0.0
        self._counts: npt.NDArray[np.int64] | None = None

    def see(self, values: npt.NDArray[np.float32]) -> None:
        """Takes in the values of one picture; zeros are left out, since every int8 tensor holds them exactly."""
        import numpy as np

        flat = values.ravel()
        flat = flat[:: max(1, flat.size // _MOST_SAMPLES)]
        flat = flat[flat != 0]
        if not flat.size:
            return
        self._make_room(float(np.abs(flat).max()))
        assert self._counts is not None  # noqa: S101
        places = np.floor(flat.astype(np.float64) / self._width).astype(np.int64) + _BINS // 2
        self._counts += np.bincount(np.clip(places, 0, _BINS - 1), minlength=_BINS)

    def _make_room(self, greatest: float) -> None:
        import numpy as np

        if self._counts is None:
            self._width = 2.0 ** math.ceil(math.log2(max(greatest, 1e-30) / (_BINS / 4)))
            self._counts = np.zeros(_BINS, dtype=np.int64)
        while greatest >= self._width * (_BINS // 2):
            pairs = self._counts.reshape(-1, 2).sum(axis=1)
            self._counts = np.zeros(_BINS, dtype=np.int64)
            self._counts[_BINS // 4 : _BINS // 4 + _BINS // 2] = pairs
            self._width *= 2

    def clipped(self, whole: Range) -> Range:
        """The part of a range that holds these values with the least mean squared error in 256 steps.

        Both ends are drawn in, step by step, down to a quarter; a value inside costs a twelfth of a squared step, one
        outside its squared distance (Sung, Shin and Hwang, Resiliency of Deep Neural Networks under Quantization,
        2015, choose ranges in this way).
        """
        import numpy as np

        if self._counts is None or whole.high <= whole.low:
            return whole
        used = np.flatnonzero(self._counts)
        values = (used + 0.5 - _BINS // 2) * self._width
        counts = self._counts[used].astype(np.float64)
        shares = np.linspace(1.0, 0.25, _STEPS)
        lows, highs = min(whole.low, 0.0) * shares, max(whole.high, 0.0) * shares
        below = [float(counts @ np.maximum(low - values, 0) ** 2) for low in lows]
        above = [float(counts @ np.maximum(values - high, 0) ** 2) for high in highs]
        steps = (highs[None, :] - lows[:, None]) / _LEVELS
        errors = counts.sum() * steps**2 / 12 + np.array(below)[:, None] + np.array(above)[None, :]
        row, column = np.unravel_index(int(errors.argmin()), errors.shape)
        return Range(low=float(lows[row]), high=float(highs[column]))

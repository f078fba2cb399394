"""How far two models are apart: pure functions of their outputs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from converters.types import OutputError
from edge.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

EQUAL_DB = 200.0
_CONFIDENCE = 0.95


def paired_interval(
    differences: Sequence[float] | npt.ArrayLike, *, seed: int = 0, resamples: int = 2000
) -> tuple[float, float, float]:
    """Mean of paired differences with its 95 % bootstrap interval.

    The pictures are drawn with replacement. Only how often each distinct difference is drawn matters, and those counts
    are drawn directly, from a multinomial: the same bootstrap for a fraction of the work.

    Args:
        differences: One for each picture, for instance right (1) or wrong (0) of one model minus that of another.
        seed: Of the draws; the same seed gives the same interval.
        resamples: How many samples are drawn.

    Returns:
        Mean, lower and upper bound, in the unit of the differences.

    Raises:
        UsageError: There are no differences.
    """
    import numpy as np

    values, counts = np.unique(np.asarray(differences, dtype=np.float64), return_counts=True)
    num = int(counts.sum())
    if num == 0:
        raise UsageError("a paired interval needs at least one picture")
    drawn = np.random.default_rng(seed).multinomial(num, counts / num, size=resamples)
    tail = (1 - _CONFIDENCE) / 2
    lower, upper = np.quantile(drawn @ values / num, [tail, 1 - tail])
    return float(values @ counts / num), float(lower), float(upper)


def unseen_bound(num: int) -> float:
    """Upper 95 % bound of the share of an event that never came in `num` pictures (Clopper and Pearson, 1934).

    The bootstrap knows nothing but what it has seen: without one changed answer its interval has no width.
    """
    return float(1 - ((1 - _CONFIDENCE) / 2) ** (1 / num))


def output_error(name: str, reference: FloatArray, found: FloatArray) -> OutputError:
    """How far an output is from its reference.

    Args:
        name: Name of the output.
        reference: (pictures, …), finite.
        found: The same shape, finite.

    Returns:
        Figures rounded to four digits, so that the last bits of a float do not change a bundle's digest.
    """
    import numpy as np

    wanted = reference.reshape(len(reference), -1).astype(np.float64)
    got = found.reshape(len(found), -1).astype(np.float64)
    noise = got - wanted
    return OutputError(
        output=name,
        max_abs=_rounded(np.abs(noise).max()),
        mean_abs=_rounded(np.abs(noise).mean()),
        sqnr_db=_rounded(decibels(float((wanted**2).sum()), float((noise**2).sum()))),
        cosine=_rounded(_cosines(wanted, got).mean()),
    )


def _cosines(wanted: npt.NDArray[np.float64], got: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    import numpy as np

    lengths = np.linalg.norm(wanted, axis=1) * np.linalg.norm(got, axis=1)
    products = (wanted * got).sum(axis=1)
    cosines: npt.NDArray[np.float64] = np.where(lengths > 0, products / np.maximum(lengths, 1e-300), 1.0)
    return cosines


def decibels(signal: float, noise: float) -> float:
    """Signal to noise of two sums of squares; 200 where there is no noise, and never beyond."""
    if noise == 0:
        return EQUAL_DB
    if signal == 0:
        return -EQUAL_DB
    return max(-EQUAL_DB, min(EQUAL_DB, 10 * math.log10(signal / noise)))


def _rounded(value: float) -> float:
    return float(f"{float(value):.4g}")

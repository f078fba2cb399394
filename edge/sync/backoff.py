"""How long to wait before trying again. Pure: the caller brings the randomness."""

from __future__ import annotations

import math


def delay(attempt: int, *, base_s: float, cap_s: float, jitter: float) -> float:
    """Doubles with every attempt up to a cap; jitter spreads it, so that devices do not march in step.

    Args:
        attempt: Failures so far minus one: 0 after the first.
        base_s: Longest wait after the first failure.
        cap_s: Longest wait ever.
        jitter: A random number in [0, 1].

    Returns:
        Seconds to wait, in [half, whole] of min(cap_s, base_s * 2 ** attempt).

    Raises:
        ValueError: An argument is outside its range.
    """
    if attempt < 0 or not 0 < base_s <= cap_s < math.inf or not 0.0 <= jitter <= 1.0:
        raise ValueError(f"no backoff for attempt={attempt}, base_s={base_s}, cap_s={cap_s}, jitter={jitter}")
    doublings = min(attempt, math.ceil(math.log2(cap_s / base_s)) if cap_s > base_s else 0)
    return float(min(cap_s, base_s * 2.0**doublings) * (1.0 + jitter) / 2.0)

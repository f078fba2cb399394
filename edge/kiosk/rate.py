"""How often one caller may ask: a token bucket each, with the clock as an argument."""

from __future__ import annotations

import threading
from collections import OrderedDict
from dataclasses import dataclass

MOST_CALLERS = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Allowance:
    """What one caller may do.

    Attributes:
        per_second: Requests that come back each second.
        burst: Requests that may be made at once after a pause, at least 1.
    """

    per_second: float
    burst: float

    def __post_init__(self) -> None:
        """Refuses an allowance that never allows anything."""
        if not (self.per_second > 0 and self.burst >= 1):
            raise ValueError(f"an allowance needs per_second above 0 and burst of at least 1, found {self}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What is left of a caller's allowance.

    Attributes:
        left: Requests, from 0 to the burst.
        at: When that was so, in seconds of a clock that never goes back.
    """

    left: float
    at: float


def take(bucket: Bucket | None, allowance: Allowance, *, now: float) -> tuple[Bucket, float]:
    """Makes one request out of a bucket.

    Args:
        bucket: Of the caller; None for one who was never seen.
        allowance: What it may do.
        now: Seconds of a clock that never goes back.

    Returns:
        The bucket after, and the seconds until the request may be made: 0 where it is made now.
    """
    left, at = (bucket.left, bucket.at) if bucket is not None else (allowance.burst, now)
    left = min(allowance.burst, left + max(0.0, now - at) * allowance.per_second)
    if left >= 1:
        return Bucket(left=left - 1, at=now), 0.0
    return Bucket(left=left, at=now), (1 - left) / allowance.per_second


class Rates:
    """The buckets of all callers. Thread-safe; bounded: who was away longest is forgotten first.

    Args:
        allowance: What each may do.
        max_callers: How many are remembered.
    """

    def __init__(self, allowance: Allowance, *, max_callers: int = MOST_CALLERS) -> None:
        self._allowance = allowance
        self._max_callers = max_callers
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()
        self._lock = threading.Lock()

    def wait_s(self, caller: str, *, now: float) -> float:
        """Makes one request; the seconds until it may be made, 0 where it is made now."""
        with self._lock:
            self._buckets[caller], wait_s = take(self._buckets.get(caller), self._allowance, now=now)
            self._buckets.move_to_end(caller)
            while len(self._buckets) > self._max_callers:
                self._buckets.popitem(last=False)
            return wait_s

"""How much may be kept in a minute, an hour and a day: sliding windows of a fixed, small size.

A window counts in twelfths of its span (buckets), not in a list of times, so that it stays small however much is kept.
It counts every bucket that its span still touches, hence up to a twelfth of a span too long, and never too little: no
span of 60 seconds, wherever it begins, ever holds more than the limit. The price is that room comes back up to a
twelfth of the span late.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

from edge.bundle.manifest import KeepBudget

MINUTE_S = 60.0
HOUR_S = 3_600.0
DAY_S = 86_400.0

_BUCKETS = 12
_RESERVED_PARTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What was kept in one twelfth of a span.

    Attributes:
        index: Which twelfth, counted from the epoch.
        count: Samples.
        size_bytes: Their bytes.
    """

    index: int
    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Used:
    """What a window holds now.

    Attributes:
        count: Samples.
        size_bytes: Their bytes.
    """

    count: int
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """What was kept in the last span of time, and up to a twelfth longer.

    A clock that is set back keeps what lies less than a span ahead of it, which then counts for up to two spans;
    what lies further ahead came from a wrong clock and is forgotten.

    Attributes:
        span_s: Length in seconds.
        buckets: At most 25, each index once.
    """

    span_s: float
    buckets: tuple[Bucket, ...] = ()

    def used(self, now: float) -> Used:
        """What counts at a moment, in seconds since the epoch."""
        near = self._near(now)
        return Used(count=sum(item.count for item in near), size_bytes=sum(item.size_bytes for item in near))

    def added(self, now: float, size_bytes: int) -> Window:
        """The window after one more sample; buckets that no longer count are dropped."""
        index = self._index(now)
        near = self._near(now)
        here = next((item for item in near if item.index == index), Bucket(index=index, count=0, size_bytes=0))
        more = Bucket(index=index, count=here.count + 1, size_bytes=here.size_bytes + size_bytes)
        return Window(span_s=self.span_s, buckets=(*(item for item in near if item.index != index), more))

    def _index(self, now: float) -> int:
        return math.floor(now / (self.span_s / _BUCKETS))

    def _near(self, now: float) -> tuple[Bucket, ...]:
        index = self._index(now)
        return tuple(item for item in self.buckets if abs(item.index - index) <= _BUCKETS)


@dataclass(frozen=True, slots=True, kw_only=True)
class Spending:
    """What was kept in the three spans that a budget limits.

    Attributes:
        minute: The last 60 seconds.
        hour: The last 3,600 seconds.
        day: The last 86,400 seconds.
    """

    minute: Window
    hour: Window
    day: Window

    def added(self, now: float, size_bytes: int) -> Spending:
        """After one more sample."""
        return Spending(
            minute=self.minute.added(now, size_bytes),
            hour=self.hour.added(now, size_bytes),
            day=self.day.added(now, size_bytes),
        )


NOTHING_SPENT = Spending(minute=Window(span_s=MINUTE_S), hour=Window(span_s=HOUR_S), day=Window(span_s=DAY_S))


def has_room(spending: Spending, budget: KeepBudget, *, now: float, size_bytes: int, reserve: bool) -> bool:
    """Whether one more sample stays within every limit.

    Args:
        spending: What was kept lately.
        budget: The limits; 0 for none.
        now: Seconds since the epoch.
        size_bytes: Size of the sample.
        reserve: Leave a tenth of every limit (rounded up, never all of it) to others.
    """
    limits = (
        (spending.minute, budget.per_minute, budget.bytes_per_minute),
        (spending.hour, budget.per_hour, budget.bytes_per_hour),
        (spending.day, budget.per_day, budget.bytes_per_day),
    )
    for window, most, most_bytes in limits:
        used = window.used(now)
        if not _fits(used.count + 1, most, reserve=reserve):
            return False
        if not _fits(used.size_bytes + size_bytes, most_bytes, reserve=reserve):
            return False
    return True


def _fits(wanted: int, limit: int, *, reserve: bool) -> bool:
    if limit == 0:
        return True
    reserved = min(limit - 1, -(-limit // _RESERVED_PARTS)) if reserve else 0
    return wanted <= limit - reserved

"""Keeps bytes under a rate, so that the shop's own traffic is not pushed aside."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable

_SLICE_S = 0.25
_SMALLEST_PIECE_BYTES = 4096
_SAVED_S = 1.0
"""Seconds of the rate that an idle time may save up: more would be a burst."""


class Throttle:
    """A token bucket over bytes, for one or several threads.

    Args:
        bytes_per_s: The rate; 0 for no limit.
        clock: Seconds that never go back.
        sleep: Waits.
    """

    def __init__(
        self,
        bytes_per_s: float,
        *,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        self.bytes_per_s = bytes_per_s
        self._clock = clock
        self._sleep = sleep
        self._lock = threading.Lock()
        self._free_at = clock()
        self._ended = False

    def spend(self, num_bytes: int, *, waiting: Callable[[], None] = lambda: None) -> None:
        """Waits until so many bytes may go.

        Args:
            num_bytes: How many are about to go, or have just come.
            waiting: Called several times a second while it waits, so that nobody takes the wait for a dead road.
        """
        if self.bytes_per_s <= 0:
            return
        with self._lock:
            self._free_at = max(self._free_at, self._clock() - _SAVED_S) + num_bytes / self.bytes_per_s
            due = self._free_at
        while not self._ended and (left := due - self._clock()) > 0:
            waiting()
            self._sleep(min(left, _SLICE_S))

    def piece_bytes(self, largest: int) -> int:
        """How large pieces should be: no more than go in about a second, so that something always moves."""
        if self.bytes_per_s <= 0:
            return largest
        return max(_SMALLEST_PIECE_BYTES, min(largest, int(self.bytes_per_s)))

    def end(self) -> None:
        """Nobody waits any longer: the road is being closed."""
        self._ended = True

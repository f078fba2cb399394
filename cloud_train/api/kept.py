"""Answers that are dear to gather, kept for a moment and shown with their age."""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

BUSY_SHARE = 0.025
"""Of a processor, at most, for gathering one answer again and again while somebody looks at it."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True, slots=True, kw_only=True)
class Aged(Generic[V]):
    """An answer and when it was gathered.

    Attributes:
        at: Seconds since the epoch, UTC.
        value: The answer.
    """

    at: float
    value: V


class Kept(Generic[K, V]):
    """Keeps the newest answers of a process. Thread-safe.

    One that is fresh is given as it is; one that is not, but not stale either, is given and gathered again behind the
    page; a stale one is gathered while its caller waits, once for all who wait for it. What is gathered behind a page
    slows the pages that are made meanwhile: an answer that took long is fresh for longer, up to half of what is stale.

    Args:
        gather: Gathers the answer to a question, at a moment.
        fresh_s: Seconds for which nobody gathers again.
        stale_s: Seconds after which nobody is given it.
        most: Answers that are kept.
        in_background: Runs a function some time soon, on another thread.
        monotonic: Seconds that never go back.
    """

    def __init__(
        self,
        gather: Callable[[K, float], V],
        *,
        fresh_s: float,
        stale_s: float,
        most: int,
        in_background: Callable[[Callable[[], None]], object],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._gather = gather
        self._monotonic = monotonic
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._most = most
        self._in_background = in_background
        self._lock = threading.Lock()
        self._answers: OrderedDict[K, Aged[V]] = OrderedDict()
        self._fresh_for: dict[K, float] = {}
        self._under_way: dict[K, threading.Lock] = {}
        self._behind: set[K] = set()

    def get(self, key: K, *, now: float) -> Aged[V]:
        """An answer that is not stale; waits for it where there is none."""
        found = self._good(key, now)
        if found is None:
            return self._fetch(key, now)
        if self._is_due(key, found, now):
            self._fetch_behind(key, now)
        return found

    def peek(self, key: K, *, now: float) -> Aged[V] | None:
        """An answer that is not stale, without a wait; where there is none, it is gathered behind the page."""
        found = self._good(key, now)
        if found is None or self._is_due(key, found, now):
            self._fetch_behind(key, now)
        return found

    def _is_due(self, key: K, found: Aged[V], now: float) -> bool:
        with self._lock:
            return now - found.at > self._fresh_for.get(key, self._fresh_s)

    def _good(self, key: K, now: float) -> Aged[V] | None:
        with self._lock:
            found = self._answers.get(key)
        return found if found is not None and 0 <= now - found.at <= self._stale_s else None

    def _fetch(self, key: K, now: float) -> Aged[V]:
        with self._lock:
            turn = self._under_way.setdefault(key, threading.Lock())
        try:
            with turn:
                return self._good(key, now) or self._gathered(key, now)
        finally:
            with self._lock:
                self._under_way.pop(key, None)

    def _gathered(self, key: K, now: float) -> Aged[V]:
        begun = self._monotonic()
        answer = Aged(at=now, value=self._gather(key, now))
        needed = (self._monotonic() - begun) / BUSY_SHARE
        with self._lock:
            self._answers[key] = answer
            self._fresh_for[key] = max(self._fresh_s, min(needed, self._stale_s / 2))
            self._answers.move_to_end(key)
            while len(self._answers) > self._most:
                del self._fresh_for[self._answers.popitem(last=False)[0]]
        return answer

    def _fetch_behind(self, key: K, now: float) -> None:
        with self._lock:
            if key in self._behind:
                return
            self._behind.add(key)

        def fetch() -> None:
            try:
                self._gathered(key, now)
            finally:
                with self._lock:
                    self._behind.discard(key)

        self._in_background(fetch)

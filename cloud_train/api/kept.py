"""Answers that are dear to gather, kept for a moment and shown with their age."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import Generic, TypeVar

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
    page; a stale one is gathered while its caller waits, once for all who wait for it.

    Args:
        gather: Gathers the answer to a question, at a moment.
        fresh_s: Seconds for which nobody gathers again.
        stale_s: Seconds after which nobody is given it.
        most: Answers that are kept.
        in_background: Runs a function some time soon, on another thread.
    """

    def __init__(
        self,
        gather: Callable[[K, float], V],
        *,
        fresh_s: float,
        stale_s: float,
        most: int,
        in_background: Callable[[Callable[[], None]], object],
    ) -> None:
        self._gather = gather
        self._fresh_s = fresh_s
        self._stale_s = stale_s
        self._most = most
        self._in_background = in_background
        self._lock = threading.Lock()
        self._answers: OrderedDict[K, Aged[V]] = OrderedDict()
        self._under_way: dict[K, threading.Lock] = {}
        self._behind: set[K] = set()

    def get(self, key: K, *, now: float) -> Aged[V]:
        """An answer that is not stale; waits for it where there is none."""
        found = self._good(key, now)
        if found is None:
            return self._fetch(key, now)
        if now - found.at > self._fresh_s:
            self._fetch_behind(key, now)
        return found

    def peek(self, key: K, *, now: float) -> Aged[V] | None:
        """An answer that is not stale, without a wait; where there is none, it is gathered behind the page."""
        found = self._good(key, now)
        if found is None or now - found.at > self._fresh_s:
            self._fetch_behind(key, now)
        return found

    def _good(self, key: K, now: float) -> Aged[V] | None:
        with self._lock:
            found = self._answers.get(key)
        return found if found is not None and 0 <= now - found.at <= self._stale_s else None

    def _fetch(self, key: K, now: float) -> Aged[V]:
        with self._lock:
            turn = self._under_way.setdefault(key, threading.Lock())
        try:
            with turn:
                return self._good(key, now) or self._put(key, Aged(at=now, value=self._gather(key, now)))
        finally:
            with self._lock:
                self._under_way.pop(key, None)

    def _put(self, key: K, answer: Aged[V]) -> Aged[V]:
        with self._lock:
            self._answers[key] = answer
            self._answers.move_to_end(key)
            while len(self._answers) > self._most:
                self._answers.popitem(last=False)
        return answer

    def _fetch_behind(self, key: K, now: float) -> None:
        with self._lock:
            if key in self._behind:
                return
            self._behind.add(key)

        def fetch() -> None:
            try:
                self._put(key, Aged(at=now, value=self._gather(key, now)))
            finally:
                with self._lock:
                    self._behind.discard(key)

        self._in_background(fetch)

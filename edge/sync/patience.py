"""When to give up on a stream: not after a fixed time, which a slow road would never keep, but when nothing moves."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

T = TypeVar("T")
_CHECKS = 4


class Patience:
    """Hangs up a stream on which nothing has moved for a while.

    Args:
        timeout_s: How long nothing may move while somebody waits.

    Attributes:
        expired: True once it has hung up.
    """

    def __init__(self, timeout_s: float) -> None:
        self.expired = False
        self._timeout_s = timeout_s
        self._waiting_since: float | None = None
        self._done = threading.Event()

    def each(self, messages: Iterator[T], hang_up: Callable[[], object]) -> Iterator[T]:
        """Yields the messages; calls `hang_up` when one lets itself be waited for too long.

        Args:
            messages: A blocking iterator, which `hang_up` ends.
            hang_up: Called from another thread, at most once.
        """
        threading.Thread(target=self._watch, args=(hang_up,), name="edgeloop-patience", daemon=True).start()
        try:
            while True:
                self._waiting_since = time.monotonic()
                try:
                    message = next(messages)
                except StopIteration:
                    return
                self._waiting_since = None
                yield message
        finally:
            self._done.set()

    def moved(self) -> None:
        """Something moved in the other direction: the wait begins anew."""
        if self._waiting_since is not None:
            self._waiting_since = time.monotonic()

    def _watch(self, hang_up: Callable[[], object]) -> None:
        while not self._done.wait(self._timeout_s / _CHECKS):
            since = self._waiting_since
            if since is not None and time.monotonic() - since > self._timeout_s:
                self.expired = True
                hang_up()
                return

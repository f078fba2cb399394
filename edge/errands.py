"""Small things to be written down that nobody waits for: in order, in the background, and not more than fit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edge.background import lower_priority

MOST_WAITING = 1_000


class Errands:
    """Runs tasks one after the other; a task must handle its own errors.

    Args:
        in_background: In a thread of its own, where a disk that stands still holds up nobody; else `do` runs the task.
        dropped: Told how many tasks were given up because too many wait: the oldest go first.
    """

    def __init__(self, *, in_background: bool, dropped: Callable[[int], None] = lambda number: None) -> None:
        self._in_background = in_background
        self._dropped = dropped
        self._waiting: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name="edgeloop-errands", daemon=True)
        if in_background:
            self._thread.start()

    def do(self, task: Callable[[], None]) -> None:
        """Runs a task, now or soon."""
        if not self._in_background:
            task()
            return
        with self._changed:
            is_full = len(self._waiting) >= MOST_WAITING
            if is_full:
                self._waiting.popleft()
            self._waiting.append(task)
            self._changed.notify()
        if is_full:
            self._dropped(1)

    def stop(self, *, timeout_s: float) -> None:
        """Does what waits, and ends; gives up after a time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._in_background:
            self._thread.join(timeout_s)

    def _run(self) -> None:
        lower_priority()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                task = self._waiting.popleft()
            task()

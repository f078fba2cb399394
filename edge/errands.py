"""Small things that nobody waits for: in order, in the background, and not more than fit."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable

from edge.background import lower_priority


class Errands:
    """Runs tasks one after the other; a task must handle its own errors.

    Args:
        name: Of the thread.
        in_background: In a thread of its own, where whatever holds a task up holds up nobody else; else `do` runs it.
        most_waiting: Tasks that may wait.
        failed: Told in one line of a task that did not handle its error.
        in_turn: What becomes of a task too many: True has `do` run it, for tasks that wait for no disk; False gives up
            the oldest.
    """

    def __init__(
        self,
        name: str,
        *,
        in_background: bool,
        most_waiting: int = 1_000,
        in_turn: bool = False,
        failed: Callable[[str], None] = lambda line: None,
    ) -> None:
        self._failed = failed
        self._in_background = in_background
        self._most_waiting = most_waiting
        self._in_turn = in_turn
        self._waiting: deque[Callable[[], None]] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._thread = threading.Thread(target=self._run, name=f"edgeloop-{name}", daemon=True)
        if in_background:
            self._thread.start()

    def do(self, task: Callable[[], None]) -> None:
        """Runs a task, now or soon."""
        if not (self._in_background and self._takes(task)):
            task()

    def stop(self, *, timeout_s: float) -> None:
        """Does what waits, and ends; gives up after a time."""
        with self._changed:
            self._stopping = True
            self._changed.notify()
        if self._in_background:
            self._thread.join(timeout_s)

    def _takes(self, task: Callable[[], None]) -> bool:
        with self._changed:
            if len(self._waiting) >= self._most_waiting:
                if self._in_turn:
                    return False
                self._waiting.popleft()
            self._waiting.append(task)
            self._changed.notify()
        return True

    def _run(self) -> None:
        lower_priority()
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                if not self._waiting:
                    return
                task = self._waiting.popleft()
            try:
                task()
            except Exception as error:  # one task must not end those that come
                self._failed(f"{self._thread.name}: {type(error).__name__}: {' '.join(str(error).split())}")

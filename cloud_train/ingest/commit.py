"""Group commit: samples that arrive close together share the flushes of a folder and one transaction.

While one group is being written, what arrives gathers: the busier the disk, the larger the groups.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from concurrent.futures import Executor
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

T = TypeVar("T")
Outcomes: TypeAlias = Sequence[Exception | None]
"""One for each item of a group, in its order: what went wrong with it, or None."""


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupLimits:
    """When a group goes.

    Attributes:
        size: So many go at once, when nothing is being written.
        max_size: Most that go together.
        wait_s: Fewer than `size` go so long after the first of them.
    """

    size: int
    max_size: int
    wait_s: float


class GroupCommit(Generic[T]):
    """Collects items and commits them together, one group at a time. Belongs to one event loop.

    Args:
        commit: Makes a group durable, and says what became of each; blocking.
        executor: Where it runs.
        limits: When a group goes.
    """

    def __init__(self, commit: Callable[[tuple[T, ...]], Outcomes], executor: Executor, *, limits: GroupLimits) -> None:
        self._commit = commit
        self._executor = executor
        self._limits = limits
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._is_due = False
        self._running: asyncio.Task[None] | None = None

    @property
    def num_waiting(self) -> int:
        """Items that no group has yet."""
        return len(self._waiting)

    def submit(self, item: T, *, is_alone: bool = False) -> asyncio.Future[None]:
        """Takes an item; its future is done when it is durable, or carries what went wrong with it.

        Args:
            item: What to commit.
            is_alone: Whether its sender waits for it before it sends more: it then waits for no company.
        """
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, done))
        self._is_due |= is_alone
        self._go()
        return done

    async def close(self) -> None:
        """Commits what waits, and returns when all is durable."""
        while self._waiting or self._running:
            self._is_due = True
            self._go()
            if self._running is not None:
                await asyncio.wait((self._running,))

    def _go(self) -> None:
        """Sends a group on its way when it is time; else sees to it that it will be."""
        if not self._waiting or self._running is not None:
            return
        if len(self._waiting) < self._limits.size and not self._is_due:
            if self._timer is None:
                self._timer = asyncio.get_running_loop().call_later(self._limits.wait_s, self._time_is_up)
            return
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        group, self._waiting = self._waiting[: self._limits.max_size], self._waiting[self._limits.max_size :]
        self._is_due = False
        self._running = asyncio.get_running_loop().create_task(self._run(group))

    def _time_is_up(self) -> None:
        self._timer = None
        self._is_due = True
        self._go()

    async def _run(self, group: list[tuple[T, asyncio.Future[None]]]) -> None:
        items = tuple(item for item, _ in group)
        outcomes: Outcomes
        try:
            outcomes = await asyncio.get_running_loop().run_in_executor(self._executor, self._commit, items)
        except Exception as cause:  # handed to everyone who waits
            outcomes = (cause,) * len(items)
        self._running = None
        self._go()
        for (_, done), error in zip(group, outcomes, strict=True):
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

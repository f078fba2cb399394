"""Group commit: samples that arrive close together share one fsync of each folder and one transaction."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Executor
from typing import Generic, TypeVar

T = TypeVar("T")


class GroupCommit(Generic[T]):
    """Collects items and commits them together on one worker thread. Belongs to one event loop.

    Args:
        commit: Makes a group durable, all or none; blocking.
        executor: Where `commit` runs; one thread, so that groups follow each other.
        size: A group this large goes at once.
        wait_s: A smaller one goes this long after its first item.
    """

    def __init__(
        self, commit: Callable[[tuple[T, ...]], None], executor: Executor, *, size: int, wait_s: float
    ) -> None:
        self._commit = commit
        self._executor = executor
        self._size = size
        self._wait_s = wait_s
        self._waiting: list[tuple[T, asyncio.Future[None]]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._running: set[asyncio.Task[None]] = set()

    async def add(self, item: T) -> None:
        """Returns when the item is durable.

        Raises:
            Exception: What `commit` raised for the group of this item.
        """
        loop = asyncio.get_running_loop()
        done: asyncio.Future[None] = loop.create_future()
        self._waiting.append((item, done))
        if len(self._waiting) >= self._size:
            self._flush()
        elif self._timer is None:
            self._timer = loop.call_later(self._wait_s, self._flush)
        await done

    async def close(self) -> None:
        """Commits what waits, and returns when all is durable."""
        self._flush()
        await asyncio.gather(*self._running)

    def _flush(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._waiting:
            group, self._waiting = self._waiting, []
            task = asyncio.get_running_loop().create_task(self._run(group))
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _run(self, group: list[tuple[T, asyncio.Future[None]]]) -> None:
        items = tuple(item for item, _ in group)
        error: Exception | None = None
        try:
            await asyncio.get_running_loop().run_in_executor(self._executor, self._commit, items)
        except Exception as cause:  # handed to everyone who waits
            error = cause
        for _, done in group:
            if done.done():
                continue
            if error is None:
                done.set_result(None)
            else:
                done.set_exception(error)

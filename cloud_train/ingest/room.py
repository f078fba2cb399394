"""How many bytes of payloads may be in memory at a time, over all connections."""

from __future__ import annotations

import asyncio
from collections import deque

from edge.errors import RoadError


class Room:
    """Bytes to take and give back, first come first served. Belongs to one event loop.

    Args:
        size_bytes: Most at a time; one payload alone may be larger.
        patience_s: Longest wait for room.
    """

    def __init__(self, size_bytes: int, *, patience_s: float = 10.0) -> None:
        self._size_bytes = size_bytes
        self._patience_s = patience_s
        self._taken = 0
        self._queue: deque[tuple[int, asyncio.Future[None]]] = deque()

    @property
    def taken_bytes(self) -> int:
        """Bytes that are taken now."""
        return self._taken

    @property
    def is_full(self) -> bool:
        """Whether somebody waits."""
        return bool(self._queue)

    async def take(self, size_bytes: int) -> None:
        """Waits for room, then holds it.

        Raises:
            RoadError: It took too long.
        """
        if not self._queue and self._fits(size_bytes):
            self._taken += size_bytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._queue.append((size_bytes, turn))
        try:
            async with asyncio.timeout(self._patience_s):
                await turn
        except BaseException as cause:
            if turn.done() and not turn.cancelled():
                self.give(size_bytes)
            turn.cancel()
            self._let_in()
            if isinstance(cause, TimeoutError):
                message = "the server has no room for payloads"
                raise RoadError(message, hint="try again later", retry_after_s=self._patience_s) from cause
            raise

    def give(self, size_bytes: int) -> None:
        """Gives back what was taken."""
        self._taken -= size_bytes
        self._let_in()

    def _fits(self, size_bytes: int) -> bool:
        return not self._taken or self._taken + size_bytes <= self._size_bytes

    def _let_in(self) -> None:
        while self._queue and (self._queue[0][1].cancelled() or self._fits(self._queue[0][0])):
            size_bytes, turn = self._queue.popleft()
            if not turn.cancelled():
                self._taken += size_bytes
                turn.set_result(None)

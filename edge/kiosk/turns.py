"""Who is answered for next: few pictures at once, a short queue, and a plain no to everyone after it."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from edge.kiosk.refusals import RequestError, later


class Turns:
    """Lets so many work and so many wait, with so much in their hands. Of one event loop.

    Args:
        workers: How many work side by side.
        queue: How many may wait.
        timeout_s: Seconds that one may wait.
        max_bytes: What all of them may bring together; one alone may bring anything.
    """

    def __init__(self, *, workers: int, queue: int, timeout_s: float, max_bytes: int) -> None:
        self._free = asyncio.Semaphore(workers)
        self._places = workers + queue
        self._timeout_s = timeout_s
        self._max_bytes = max_bytes
        self._taken = 0
        self._bytes = 0

    @contextlib.asynccontextmanager
    async def place(self) -> AsyncIterator[Place]:
        """A place in the queue, while the picture arrives and until it is answered for.

        Raises:
            RequestError: 503, all places are taken.
        """
        if self._taken >= self._places:
            raise _busy()
        self._taken += 1
        place = Place(self)
        try:
            yield place
        finally:
            self._taken -= 1
            self._bytes -= place.num_bytes

    @contextlib.asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One's turn to work, for whoever has a place.

        Raises:
            RequestError: 503, it did not come in time.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                await self._free.acquire()
        except TimeoutError:
            raise _busy() from None
        try:
            yield
        finally:
            self._free.release()

    def bring(self, num_bytes: int) -> None:
        """Counts what came in; `Place.bring` is for callers."""
        self._bytes += num_bytes
        if self._bytes > self._max_bytes and self._taken > 1:
            raise _busy()


class Place:
    """One's place in the queue.

    Attributes:
        num_bytes: What was brought so far.
    """

    def __init__(self, turns: Turns) -> None:
        self._turns = turns
        self.num_bytes = 0

    def bring(self, num_bytes: int) -> None:
        """Brings a piece of a picture.

        Raises:
            RequestError: 503, all together have brought too much.
        """
        self.num_bytes += num_bytes
        self._turns.bring(num_bytes)


def _busy() -> RequestError:
    return later(503, "too many pictures are being answered for", wait_s=1)

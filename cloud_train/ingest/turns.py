"""One upload of a payload at a time, over all connections of this process."""

from __future__ import annotations

import asyncio

from edge.errors import RoadError

_TURN_S = 10.0


class Turns:
    """Who may send which digest. Belongs to one event loop."""

    def __init__(self) -> None:
        self._busy: dict[str, asyncio.Future[None]] = {}

    async def take(self, digest: str, *, timeout_s: float = _TURN_S) -> None:
        """Waits until nobody sends `digest`, then holds it.

        Raises:
            RoadError: It took too long.
        """
        try:
            async with asyncio.timeout(timeout_s):
                while digest in self._busy:
                    await asyncio.shield(self._busy[digest])
        except TimeoutError as cause:
            raise RoadError(
                f"{digest} is being sent by another connection", hint="try again later", retry_after_s=1.0
            ) from cause
        self._busy[digest] = asyncio.get_running_loop().create_future()

    def give(self, digest: str) -> None:
        """Lets the next one in."""
        self._busy.pop(digest).set_result(None)

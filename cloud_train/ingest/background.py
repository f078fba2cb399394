"""What runs in a server beside its calls, each for the duration of a block."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edge.errors import EdgeloopError

if TYPE_CHECKING:
    from cloud_train.ingest.desk import Desk

_logger = logging.getLogger(__name__)

_JOURNAL_S = 1.0


@asynccontextmanager
async def writing_journal(desk: Desk) -> AsyncIterator[None]:
    """Writes what the journal took, again and again, and the last of it at the end."""
    desk.journal.note("server", "server.started", "server")
    async with repeating(lambda: desk.in_thread(desk.journal.flush), every_s=_JOURNAL_S):
        yield
    desk.journal.note("server", "server.stopped", "server")
    try:
        await desk.in_thread(desk.journal.close)
    except EdgeloopError as error:
        _logger.error("the last of the audit is lost: %s", error)


@asynccontextmanager
async def committing(desk: Desk) -> AsyncIterator[None]:
    """Commits what still waits at the end."""
    try:
        yield
    finally:
        await desk.pushes.commits.close()


@asynccontextmanager
async def repeating(work: Callable[[], Awaitable[object]], *, every_s: float) -> AsyncIterator[None]:
    """Runs `work` again and again for the duration of the block; its `EdgeloopError`s are logged, and it goes on.

    Args:
        work: Started anew `every_s` after it has ended.
        every_s: Seconds.
    """

    async def run() -> None:
        while True:
            await asyncio.sleep(every_s)
            try:
                await work()
            except EdgeloopError as error:
                _logger.error("%s", error)

    task = asyncio.create_task(run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

"""Runs a decode worker as the child of a server, starts it anew when it dies, and counts what it tells."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from cloud_train.ingest.background import repeating
from cloud_train.ingest.decoding.worker import WorkerCounts
from cloud_train.store.checks import SqlCheckStore
from edge import jsonvalue
from edge.errors import FormatError

if TYPE_CHECKING:
    from pathlib import Path

    from cloud_train.ingest.desk import Desk
    from cloud_train.ingest.metrics import IngestMetrics
    from cloud_train.store.database import Database

_logger = logging.getLogger(__name__)

_COUNT_S = 15.0
_FIRST_WAIT_S, _LONGEST_WAIT_S = 1.0, 60.0
_END_S = 1.0


@asynccontextmanager
async def decoding(desk: Desk, database: Database) -> AsyncIterator[None]:
    """Counts what waits to be decoded, and runs the worker when the settings want one, for the duration of the block.

    Args:
        desk: Of the server.
        database: Of its store.
    """
    checks, metrics = SqlCheckStore(database), desk.metrics

    async def count() -> None:
        counts = await desk.in_thread(checks.counts)
        metrics.unchecked.set(counts.unchecked)
        metrics.quarantined.set(counts.quarantined)

    async with repeating(count, every_s=_COUNT_S):
        if not desk.settings.worker or desk.settings.only == "http":
            yield
            return
        task = asyncio.create_task(_keep_running(desk.settings.store, metrics))
        try:
            yield
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)


async def _keep_running(store: Path, metrics: IngestMetrics) -> None:
    wait_s, cpu_s = _FIRST_WAIT_S, 0.0
    while True:
        last = await _run_once(store, metrics, cpu_s)
        cpu_s += last.cpu_s
        wait_s = _FIRST_WAIT_S if last.passed else min(_LONGEST_WAIT_S, 2 * wait_s)
        _logger.warning("the decode worker has ended; it starts again in %g s", wait_s)
        await asyncio.sleep(wait_s)


async def _run_once(store: Path, metrics: IngestMetrics, cpu_before_s: float) -> WorkerCounts:
    """One life of the child; its last word."""
    line = (sys.executable, "-m", "cloud_train.ingest.decoding", str(store))
    pipe, last = asyncio.subprocess.PIPE, WorkerCounts()
    child = await asyncio.create_subprocess_exec(*line, stdin=pipe, stdout=pipe)
    assert child.stdout is not None  # noqa: S101 - it is a pipe
    try:
        async for said in child.stdout:
            with contextlib.suppress(FormatError):
                last = jsonvalue.load(WorkerCounts, said, where="the decode worker")
                metrics.decode_s.set(cpu_before_s + last.cpu_s)
        return last
    finally:
        await asyncio.shield(_end(child))


async def _end(child: asyncio.subprocess.Process) -> None:
    """Closes the child's input, which tells it to stop; kills it when it does not."""
    if child.stdin is not None:
        child.stdin.close()
    try:
        async with asyncio.timeout(_END_S):
            await child.wait()
    except TimeoutError:
        child.kill()
        await child.wait()

"""Can this server take samples now? Asked every few seconds; health, the door and `/readyz` go by the answer."""

from __future__ import annotations

import asyncio
import logging
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from edge.errors import EdgeloopError

if TYPE_CHECKING:
    from grpc_health.v1.health import aio as health

    from cloud_train.ingest.desk import Desk

_logger = logging.getLogger(__name__)

SERVICES = ("edgeloop.wire.v1.Samples", "edgeloop.wire.v1.Fleet", "edgeloop.wire.v1.Updates")
_EVERY_S = 2.0
_PATIENCE_S = 5.0
_NOBODY = "0" * 64


def readiness_fault(desk: Desk) -> str:
    """Why samples cannot be taken now, empty when they can; blocking."""
    try:
        desk.meta.known((_NOBODY,))
        desk.blobs.has(_NOBODY)
        free = shutil.disk_usage(desk.settings.store).free
    except EdgeloopError as error:
        return error.message
    except OSError as error:
        return f"the store cannot be reached: {error.strerror}"
    if free < desk.settings.min_free_bytes:
        return f"the disk is full: {free // 1_000_000} MB are free"
    return ""


@asynccontextmanager
async def watching_readiness(desk: Desk, servicer: health.HealthServicer) -> AsyncIterator[None]:
    """Asks again and again for the duration of the block.

    Args:
        desk: Whose store; its door learns the answer.
        servicer: Tells it to whoever asks.
    """
    await _ask(desk, servicer)
    task = asyncio.create_task(_ask_for_ever(desk, servicer))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _ask_for_ever(desk: Desk, servicer: health.HealthServicer) -> None:
    while True:
        await asyncio.sleep(_EVERY_S)
        await _ask(desk, servicer)


async def _ask(desk: Desk, servicer: health.HealthServicer) -> None:
    from grpc_health.v1.health_pb2 import HealthCheckResponse

    try:
        async with asyncio.timeout(_PATIENCE_S):
            fault = await desk.in_thread(readiness_fault, desk)
    except TimeoutError:
        fault = f"the store does not answer within {_PATIENCE_S:g} s"
    if fault != desk.door.fault:
        (_logger.error if fault else _logger.info)("readiness: %s", fault or "ready")
        desk.journal.note("server", "server.ready" if not fault else "server.not_ready", "server", reason=fault)
    desk.door.fault = fault
    is_ready = not fault and not desk.door.draining
    status = HealthCheckResponse.SERVING if is_ready else HealthCheckResponse.NOT_SERVING
    for service in ("", *SERVICES):
        await servicer.set(service, status)

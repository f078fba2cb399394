"""What the gRPC services share: what they work with, and what errors are called on the wire."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from cloud_train.errors import ForbiddenError, UnknownCallerError, UnknownSampleError
from cloud_train.ingest.callers import Context, Gate
from cloud_train.ingest.push import PushParts
from cloud_train.settings import ServeSettings
from cloud_train.store.audit import AuditLog
from cloud_train.store.blobs import BlobStore
from cloud_train.store.meta import MetaStore
from edge.errors import EdgeloopError, FormatError, RefusedError, RoadError, StorageError, UsageError

_logger = logging.getLogger(__name__)

RETRY_AFTER_KEY = "retry-after-ms"
"""Trailing metadata of a failed call: milliseconds that the server asks to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the services work with.

    Attributes:
        settings: Limits, channel, interval.
        gate: Who may call.
        meta: Records.
        audit: What was done.
        blobs: Pictures.
        repository: The folder that is published.
        pushes: What a push needs.
        in_thread: Runs a blocking function on a worker thread.
        clock: Seconds since the epoch, UTC.
    """

    settings: ServeSettings
    gate: Gate
    meta: MetaStore
    audit: AuditLog
    blobs: BlobStore
    repository: Path
    pushes: PushParts
    in_thread: Callable[..., asyncio.Future[Any]]
    clock: Callable[[], float]


@asynccontextmanager
async def mapped(context: Context) -> AsyncIterator[None]:
    """Turns our errors into status codes that the device reads as road or refusal; gRPC logs all others."""
    try:
        yield
    except FileNotFoundError as cause:
        await context.abort(grpc.StatusCode.NOT_FOUND, f"no such file: {cause}")
    except EdgeloopError as error:
        code = _code(error)
        if code is grpc.StatusCode.UNAVAILABLE:
            _logger.error("%s", error)
        retry_s = getattr(error, "retry_after_s", None)
        await context.abort(code, str(error), ((RETRY_AFTER_KEY, str(int(retry_s * 1000))),) if retry_s else ())


def _code(error: EdgeloopError) -> grpc.StatusCode:
    match error:
        case UnknownCallerError():
            return grpc.StatusCode.UNAUTHENTICATED
        case ForbiddenError():
            return grpc.StatusCode.PERMISSION_DENIED
        case FormatError() | UsageError():
            return grpc.StatusCode.INVALID_ARGUMENT
        case UnknownSampleError() | RefusedError():
            return grpc.StatusCode.FAILED_PRECONDITION
        case RoadError(retry_after_s=None):
            return grpc.StatusCode.ABORTED
        case RoadError():
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case StorageError():
            return grpc.StatusCode.UNAVAILABLE
    return grpc.StatusCode.INTERNAL

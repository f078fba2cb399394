"""What the gRPC services share: what they work with, and what errors are called on the wire."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import grpc

from cloud_train.errors import ForbiddenError, UnknownCallerError, UnknownSampleError
from cloud_train.fleet.check_in import CheckInParts
from cloud_train.fleet.enrolment import Enrolments
from cloud_train.ingest.callers import Context, Gate, who_calls
from cloud_train.ingest.door import RETRY_AFTER_KEY, Door, StoppingError
from cloud_train.ingest.journal import Journal
from cloud_train.ingest.metrics import IngestMetrics
from cloud_train.ingest.ports import Ports
from cloud_train.ingest.push_stream import PushParts
from cloud_train.settings import ServeSettings
from cloud_train.store.audit import AuditLog
from cloud_train.store.blobs import BlobStore
from cloud_train.store.meta import MetaStore
from cloud_train.store.published import PublishedFiles
from edge.errors import EdgeloopError, FormatError, RefusedError, RoadError, StorageError, UsageError

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the services work with.

    Attributes:
        settings: Limits, channel, interval.
        ports: Where callers come in.
        gate: Who may call.
        enrolments: Who lets devices in; None where any name is believed.
        meta: Records.
        audit: What was done.
        blobs: Pictures.
        published: What devices fetch.
        check_ins: What check-ins are answered with.
        pushes: What a push needs.
        door: Who comes in.
        journal: What happens at the door, for the audit.
        metrics: What is counted.
        in_thread: Runs a blocking function on a worker thread.
        clock: Seconds since the epoch, UTC.
    """

    settings: ServeSettings
    ports: Ports
    gate: Gate
    enrolments: Enrolments | None
    meta: MetaStore
    audit: AuditLog
    blobs: BlobStore
    published: PublishedFiles
    check_ins: CheckInParts
    pushes: PushParts
    door: Door
    journal: Journal
    metrics: IngestMetrics
    in_thread: Callable[..., asyncio.Future[Any]]
    clock: Callable[[], float]


@asynccontextmanager
async def mapped(context: Context, journal: Journal) -> AsyncIterator[None]:
    """Turns our errors into status codes that the device reads as road or refusal; gRPC logs all others.

    What a caller did wrong is noted, under the name that the connection's certificate carries.
    """
    try:
        yield
    except FileNotFoundError as cause:
        await context.abort(grpc.StatusCode.NOT_FOUND, f"no such file: {cause}")
    except EdgeloopError as error:
        code = _code(error)
        if isinstance(error, StorageError):
            _logger.error("%s", error)
        elif not isinstance(error, StoppingError):
            journal.note(who_calls(context), "call.refused", "call", reason=str(error))
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
        case StoppingError():
            return grpc.StatusCode.UNAVAILABLE
        case RoadError(retry_after_s=None):
            return grpc.StatusCode.ABORTED
        case RoadError():
            return grpc.StatusCode.RESOURCE_EXHAUSTED
        case StorageError():
            return grpc.StatusCode.UNAVAILABLE
    return grpc.StatusCode.INTERNAL

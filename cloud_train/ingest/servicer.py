"""The gRPC services: messages to values, to the handlers, and back. Nothing is decided here."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import grpc

from cloud_train.errors import UnknownSampleError
from cloud_train.ingest import handlers
from cloud_train.ingest.push import PushParts, push
from cloud_train.review.labels import record_feedback
from cloud_train.settings import ServeSettings
from cloud_train.store.blobs import BlobStore
from cloud_train.store.meta import MetaStore
from edge.errors import EdgeloopError, FormatError, RefusedError, RoadError, StorageError, UsageError
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

if TYPE_CHECKING:
    from edge.sync.types import Chunk

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"

_logger = logging.getLogger(__name__)

RETRY_AFTER_KEY = "retry-after-ms"
"""Trailing metadata of a failed call: milliseconds that the server asks to wait."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Desk:
    """What the services work with.

    Attributes:
        settings: Limits, channel, interval.
        meta: Records.
        blobs: Pictures.
        repository: The folder that is published.
        pushes: What a push needs.
        in_thread: Runs a blocking function on a worker thread.
        clock: Seconds since the epoch, UTC.
    """

    settings: ServeSettings
    meta: MetaStore
    blobs: BlobStore
    repository: Path
    pushes: PushParts
    in_thread: Callable[..., asyncio.Future[Any]]
    clock: Callable[[], float]


class SamplesServicer(stubs.SamplesServicer):
    """Offers, payloads, answers."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Offer(self, request: wire.OfferRequest, context: Context) -> wire.OfferResponse:  # noqa: N802
        """Asks before it sends."""
        desk = self._desk
        async with _mapped(context):
            offers = convert.offer_request_from_message(request)
            reply = await desk.in_thread(
                lambda: handlers.answer_offer(
                    offers, meta=desk.meta, blobs=desk.blobs, intake=desk.pushes.intake, settings=desk.settings
                )
            )
            return convert.offer_response_to_message(reply)

    async def Push(  # noqa: N802
        self, request_iterator: AsyncIterator[wire.Chunk], context: Context
    ) -> AsyncIterator[wire.PushReceipt]:
        """Payloads up, receipts down."""
        async with _mapped(context), aclosing(push(_pieces(request_iterator), self._desk.pushes)) as receipts:
            async for receipt in receipts:
                yield convert.push_receipt_to_message(receipt)

    async def Annotate(self, request: wire.AnnotateRequest, context: Context) -> wire.AnnotateResponse:  # noqa: N802
        """A person's answer."""
        async with _mapped(context):
            digest, feedback = convert.annotate_request_from_message(request)
            await self._desk.in_thread(record_feedback, self._desk.meta, digest, feedback)
            return convert.annotate_response_to_message()


class FleetServicer(stubs.FleetServicer):
    """Health up, what to run down."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def CheckIn(self, request: wire.CheckInRequest, context: Context) -> wire.CheckInResponse:  # noqa: N802
        """One device, now."""
        desk = self._desk
        async with _mapped(context):
            status = convert.check_in_request_from_message(request)
            directive = await desk.in_thread(
                lambda: handlers.check_in(
                    status, meta=desk.meta, repository=desk.repository, settings=desk.settings, now=desk.clock()
                )
            )
            return convert.check_in_response_to_message(directive)


class UpdatesServicer(stubs.UpdatesServicer):
    """Published files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Fetch(  # noqa: N802
        self, request: wire.FetchRequest, context: Context
    ) -> AsyncIterator[wire.FetchChunk]:
        """A file from an offset to its end."""
        desk = self._desk
        async with _mapped(context):
            path, offset = convert.fetch_request_from_message(request)
            file = await desk.in_thread(lambda: handlers.published_file(desk.repository, path).open("rb"))
            try:
                await desk.in_thread(file.seek, offset)
                while data := await desk.in_thread(file.read, limits.CHUNK_BYTES):
                    yield convert.fetch_chunk_to_message(data)
            finally:
                file.close()


async def _pieces(messages: AsyncIterator[wire.Chunk]) -> AsyncIterator[Chunk]:
    async for message in messages:
        yield convert.chunk_from_message(message)


@asynccontextmanager
async def _mapped(context: Context) -> AsyncIterator[None]:
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

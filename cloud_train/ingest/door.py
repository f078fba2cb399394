"""The door: turns calls away before anything of them is read, and counts those that come in."""

from __future__ import annotations

import inspect
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeAlias

import grpc

from cloud_train.ingest.callers import Caller, Context
from cloud_train.ingest.journal import Journal
from cloud_train.ingest.metrics import IngestMetrics
from edge.errors import FormatError, RoadError

RETRY_AFTER_KEY = "retry-after-ms"
"""Trailing metadata of a failed call: milliseconds that the server asks to wait."""

Handler: TypeAlias = "grpc.RpcMethodHandler[Any, Any]"

_OWN = "/edgeloop."
_NOT_READY_S = 5.0
_SPREAD_S = 10.0


class StoppingError(RoadError):
    """The server is stopping; another one, or the same after its restart, goes on."""


class Door:
    """Decides who comes in. Belongs to one event loop.

    Args:
        max_calls: Most calls at a time.
        max_uploads: Most pushes at a time.
        device_uploads: Of these, of one device.
        metrics: Where it counts.
        jitter: A number in [0, 1): a thousand devices that are turned away together come back one by one.
    """

    def __init__(
        self,
        *,
        max_calls: int,
        max_uploads: int,
        device_uploads: int,
        metrics: IngestMetrics,
        jitter: Callable[[], float],
    ) -> None:
        self.draining = False
        self.fault = ""
        self.metrics = metrics
        self._calls = 0
        self._max_calls = max_calls
        self._max_uploads = max_uploads
        self._device_uploads = device_uploads
        self._uploads: Counter[str] = Counter()
        self._jitter = jitter

    def wait_s(self) -> float:
        """How long somebody who is turned away shall wait: spread over some seconds."""
        return 1.0 + _SPREAD_S * self._jitter()

    def refusal(self) -> tuple[grpc.StatusCode, str, str] | None:
        """Why a call may not come in now: status, text, reason for the counters; None when it may."""
        if self.draining:
            return grpc.StatusCode.UNAVAILABLE, "the server is stopping (try again)", "draining"
        if self._calls >= self._max_calls:
            return grpc.StatusCode.RESOURCE_EXHAUSTED, "the server is busy (try again later)", "busy"
        return None

    @contextmanager
    def inside(self) -> Iterator[None]:
        """Counts a call while it runs."""
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1

    @contextmanager
    def upload(self, caller: Caller) -> Iterator[None]:
        """Counts a push while it runs.

        Raises:
            RoadError: There are too many, of all or of this device; or the store cannot take any now.
        """
        if self.draining:  # it was let in before, and asked who it is meanwhile
            raise StoppingError("the server is stopping", hint="offer again", retry_after_s=self.wait_s())
        if self.fault:
            raise StoppingError(self.fault, hint="try again later", retry_after_s=_NOT_READY_S + self.wait_s())
        who = caller.device_id or caller.peer
        if self._uploads.total() >= self._max_uploads or self._uploads[who] >= self._device_uploads:
            self.metrics.shed.labels("uploads").inc()
            raise RoadError("too many uploads at a time", hint="try again later", retry_after_s=self.wait_s())
        self._uploads[who] += 1
        try:
            yield
        finally:
            self._uploads[who] -= 1
            if not self._uploads[who]:
                del self._uploads[who]


_UNREADABLE = "this is no message of that call"


class DoorInterceptor(grpc.aio.ServerInterceptor):  # type: ignore[misc]
    """Puts the door in front of every call but those that ask after the server's health.

    Args:
        door: Who comes in.
        journal: Where it is noted that a message could not be read.
    """

    def __init__(self, door: Door, journal: Journal) -> None:
        self._door = door
        self._journal = journal

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Called when the headers of a call are here, and nothing else of it."""
        method = str(handler_call_details.method)
        if not method.startswith(_OWN):
            return await continuation(handler_call_details)
        if (refusal := self._door.refusal()) is not None:
            return self._turned_away(*refusal)
        handler = await continuation(handler_call_details)
        return None if handler is None else _counted(handler, method.rpartition("/")[2], self._door, self._journal)

    def _turned_away(self, code: grpc.StatusCode, text: str, reason: str) -> Handler:
        self._door.metrics.shed.labels(reason).inc()
        wait = ((RETRY_AFTER_KEY, str(int(self._door.wait_s() * 1000))),)

        async def turn_away(_requests: AsyncIterator[Any], context: Context) -> None:
            await context.abort(code, text, wait)

        return grpc.stream_stream_rpc_method_handler(turn_away)


class _Unreadable:
    """In the place of a message that is none."""


def _counted(handler: Handler, name: str, door: Door, journal: Journal) -> Handler:
    """The same handler, counted while it runs and when it has ended; messages that are none never reach it."""
    run = handler.unary_unary or handler.unary_stream or handler.stream_unary or handler.stream_stream
    running, metrics = door.metrics.open_calls.labels(name), door.metrics

    @contextmanager
    def counted(context: Context) -> Iterator[None]:
        with door.inside(), running.track_inprogress():
            try:
                yield
            finally:
                code = context.code()
                metrics.calls.labels(name, getattr(code, "name", None) or "OK").inc()

    async def refuse(context: Context) -> None:
        journal.note(f"peer:{context.peer()}", "call.refused", "call", reason=_UNREADABLE)
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, _UNREADABLE)

    if inspect.isasyncgenfunction(run):

        async def generate(request: Any, context: Context) -> AsyncIterator[Any]:  # noqa: ANN401
            with counted(context):
                if isinstance(request, _Unreadable):
                    await refuse(context)
                async for answer in run(request, context):
                    yield answer

        return _like(handler, generate)

    async def answer(request: Any, context: Context) -> Any:  # noqa: ANN401
        with counted(context):
            if isinstance(request, _Unreadable):
                await refuse(context)
            return await run(_readable(request) if handler.request_streaming else request, context)

    return _like(handler, answer)


def _like(handler: Handler, run: Callable[..., Any]) -> Handler:
    make = {
        (False, False): grpc.unary_unary_rpc_method_handler,
        (False, True): grpc.unary_stream_rpc_method_handler,
        (True, False): grpc.stream_unary_rpc_method_handler,
        (True, True): grpc.stream_stream_rpc_method_handler,
    }[bool(handler.request_streaming), bool(handler.response_streaming)]
    read = _careful(handler.request_deserializer)
    return make(run, request_deserializer=read, response_serializer=handler.response_serializer)


def _careful(read: Callable[[bytes], Any]) -> Callable[[bytes], Any]:
    """GRPC answers UNKNOWN to what it cannot read, and tells the name of a class of ours."""
    from google.protobuf.message import DecodeError

    def careful(data: bytes) -> Any:  # noqa: ANN401
        try:
            return read(data)
        except DecodeError:
            return _Unreadable()

    return careful


async def _readable(messages: AsyncIterator[Any]) -> AsyncIterator[Any]:
    async for message in messages:
        if isinstance(message, _Unreadable):
            raise FormatError(_UNREADABLE)
        yield message

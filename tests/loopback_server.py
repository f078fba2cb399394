# ruff: noqa: N802
"""A small real gRPC server for tests of the road: keeps everything in memory and can be told to misbehave."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent import futures
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from edge.outbox.base import SampleMetadata
from edge.sync.types import Chunk, DeviceStatus, Directive, OfferReply, Receipt, ReceiptStatus
from edge.types import Feedback
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


@dataclass
class Trouble:
    """What one call shall do instead of its work."""

    code: grpc.StatusCode
    details: str = "told to fail"
    retry_after_ms: int | None = None


@dataclass
class ServerState:
    """What the server has, and what it shall do wrong.

    `troubles` maps a call's name to what its next calls do. `cut_after_chunks` breaks the next push after so many
    pieces. `messages` counts the pieces of each message that came, `together` says that several may come in one.
    `silent` makes pushes and fetches hang. `gone` fails every call. `stored_times` counts how often each digest was
    stored.
    """

    stored: dict[str, bytes] = field(default_factory=dict)
    metadata: dict[str, SampleMetadata] = field(default_factory=dict)
    stored_times: Counter[str] = field(default_factory=Counter)
    partial: dict[str, bytearray] = field(default_factory=dict)
    received_bytes: int = 0
    refused: dict[str, str] = field(default_factory=dict)
    refused_later: dict[str, str] = field(default_factory=dict)
    feedback: list[tuple[str, Feedback]] = field(default_factory=list)
    statuses: list[DeviceStatus] = field(default_factory=list)
    directive: Directive = field(default_factory=lambda: Directive(channel="stable", bundle_digest="", check_in_s=5.0))
    files: dict[str, bytes] = field(default_factory=dict)
    troubles: dict[str, list[Trouble]] = field(default_factory=dict)
    cut_after_chunks: int | None = None
    silent: bool = False
    gone: bool = False
    retry_after_s: float = 0.0
    together: bool = True
    messages: list[int] = field(default_factory=list)
    receipts_group: int = limits.WINDOW
    released: threading.Event = field(default_factory=threading.Event)

    def stumble(self, call: str, context: grpc.ServicerContext) -> None:
        if self.gone:
            context.abort(grpc.StatusCode.UNAVAILABLE, "gone")
        queue = self.troubles.get(call, [])
        if not queue:
            return
        trouble = queue.pop(0)
        if trouble.retry_after_ms is not None:
            context.set_trailing_metadata((("retry-after-ms", str(trouble.retry_after_ms)),))
        context.abort(trouble.code, trouble.details)


class Samples(stubs.SamplesServicer):
    def __init__(self, state: ServerState) -> None:
        self.state = state

    def Offer(self, request: wire.OfferRequest, context: grpc.ServicerContext) -> wire.OfferResponse:
        self.state.stumble("Offer", context)
        offers = convert.offer_request_from_message(request)
        digests = [offer.digest for offer in offers]
        refused = {digest: reason for digest, reason in self.state.refused.items() if digest in digests}
        known = tuple(offer.digest for offer in offers if offer.digest in self.state.stored)
        missing = tuple(offer.digest for offer in offers if offer.digest not in {*known, *refused})
        partial = {digest: len(self.state.partial[digest]) for digest in missing if self.state.partial.get(digest)}
        return convert.offer_response_to_message(
            OfferReply(
                missing=missing,
                known=known,
                refused=refused,
                partial=partial,
                retry_after_s=self.state.retry_after_s,
                together=self.state.together,
            )
        )

    def Push(self, request_iterator: Iterator[wire.Chunk], context: grpc.ServicerContext) -> Iterator[wire.PushReceipt]:
        self.state.stumble("Push", context)
        if self.state.silent:
            self.state.released.wait(30)
        finished: list[str] = []
        for number, chunk in enumerate(chunk for each in request_iterator for chunk in self._chunks(each)):
            if self.state.cut_after_chunks == number:
                self.state.cut_after_chunks = None
                context.abort(grpc.StatusCode.UNAVAILABLE, "cut")
            if self._take(chunk):
                finished.append(chunk.digest)
            if len(finished) >= self.state.receipts_group:
                yield from (self._receipt(digest) for digest in finished)
                finished.clear()
        yield from (self._receipt(digest) for digest in finished)

    def Annotate(self, request: wire.AnnotateRequest, context: grpc.ServicerContext) -> wire.AnnotateResponse:
        self.state.stumble("Annotate", context)
        self.state.feedback.append(convert.annotate_request_from_message(request))
        return convert.annotate_response_to_message()

    def _chunks(self, message: wire.Chunk) -> Iterator[Chunk]:
        self.state.messages.append(1 + len(message.more))
        return convert.chunks_from_message(message)

    def _take(self, chunk: Chunk) -> bool:
        if chunk.offer is not None:
            self.state.metadata[chunk.digest] = chunk.offer.metadata
        part = self.state.partial.setdefault(chunk.digest, bytearray())
        assert chunk.offset <= len(part), "the device left a gap"
        part[chunk.offset :] = chunk.data
        self.state.received_bytes += len(chunk.data)
        return chunk.last

    def _receipt(self, digest: str) -> wire.PushReceipt:
        payload = bytes(self.state.partial.pop(digest))
        reason = self.state.refused_later.get(digest, "")
        if hashlib.sha256(payload).hexdigest() != digest:
            reason = "the payload does not match its digest"
        if reason:
            return convert.push_receipt_to_message(Receipt(digest=digest, status=ReceiptStatus.REFUSED, reason=reason))
        self.state.stored[digest] = payload
        self.state.stored_times[digest] += 1
        return convert.push_receipt_to_message(Receipt(digest=digest, status=ReceiptStatus.STORED))


class Fleet(stubs.FleetServicer):
    def __init__(self, state: ServerState) -> None:
        self.state = state

    def CheckIn(self, request: wire.CheckInRequest, context: grpc.ServicerContext) -> wire.CheckInResponse:
        self.state.stumble("CheckIn", context)
        self.state.statuses.append(convert.check_in_request_from_message(request))
        return convert.check_in_response_to_message(self.state.directive)


class Updates(stubs.UpdatesServicer):
    def __init__(self, state: ServerState) -> None:
        self.state = state

    def Fetch(self, request: wire.FetchRequest, context: grpc.ServicerContext) -> Iterator[wire.FetchChunk]:
        self.state.stumble("Fetch", context)
        path, offset = convert.fetch_request_from_message(request)
        data = self.state.files.get(path)
        if data is None:
            context.abort(grpc.StatusCode.NOT_FOUND, f"{path} is not published")
        for begin in range(offset, len(data), limits.CHUNK_BYTES):
            yield convert.fetch_chunk_to_message(data[begin : begin + limits.CHUNK_BYTES])
            if self.state.silent:
                self.state.released.wait(30)


@dataclass
class RunningServer:
    """A server that listens at `target`."""

    target: str
    state: ServerState
    server: grpc.Server

    def stop(self) -> None:
        self.state.released.set()
        self.server.stop(0).wait(10)


def start_server(
    state: ServerState, *, key_and_certificate: tuple[Path, Path] | None = None, host: str = "127.0.0.1"
) -> RunningServer:
    server = grpc.server(futures.ThreadPoolExecutor(8))
    stubs.add_SamplesServicer_to_server(Samples(state), server)
    stubs.add_FleetServicer_to_server(Fleet(state), server)
    stubs.add_UpdatesServicer_to_server(Updates(state), server)
    address = f"{host}:0"
    if key_and_certificate is None:
        bound = server.add_insecure_port(address)
    else:
        pair = tuple(path.read_bytes() for path in key_and_certificate)
        bound = server.add_secure_port(address, grpc.ssl_server_credentials([pair]))
    server.start()
    return RunningServer(target=f"{host}:{bound}", state=state, server=server)


@contextlib.contextmanager
def loopback_server() -> Iterator[RunningServer]:
    running = start_server(ServerState())
    try:
        yield running
    finally:
        running.stop()

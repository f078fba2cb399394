"""The service `Updates`: published files. Nothing is decided here."""

from __future__ import annotations

from collections.abc import AsyncIterator
from functools import partial

import grpc

from cloud_train.ingest import handlers
from cloud_train.ingest.callers import Context
from cloud_train.ingest.desk import Desk, mapped
from cloud_train.ingest.door import StoppingError
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

_TEXT = ".json"
"""Metadata and manifests shrink to a quarter; models and pictures would only cost CPU."""


class UpdatesServicer(stubs.UpdatesServicer):
    """Published files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Fetch(  # noqa: N802
        self, request: wire.FetchRequest, context: Context
    ) -> AsyncIterator[wire.FetchChunk]:
        """A file from an offset to its end."""
        desk = self._desk
        async with mapped(context, self._desk.journal):
            caller = await desk.gate.admit(context)
            path, offset = convert.fetch_request_from_message(request)
            blocks = await desk.in_thread(
                partial(handlers.open_published, desk.published, path, offset, settled=self._settled)
            )
            if path.endswith(_TEXT):
                context.set_compression(grpc.Compression.Gzip)
            async with desk.gate.watched(caller):
                while block := await desk.in_thread(next, blocks, b""):
                    if desk.door.draining:
                        raise StoppingError("the server is stopping", hint="go on later", retry_after_s=1.0)
                    for start in range(0, len(block), limits.CHUNK_BYTES):
                        yield convert.fetch_chunk_to_message(block[start : start + limits.CHUNK_BYTES])

    def _settled(self, channel: str) -> str:
        return self._desk.check_ins.read_channel(channel).settled

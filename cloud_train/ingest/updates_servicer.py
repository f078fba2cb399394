"""The service `Updates`: published files. Nothing is decided here."""

from __future__ import annotations

from collections.abc import AsyncIterator

from cloud_train.ingest import handlers
from cloud_train.ingest.callers import Context
from cloud_train.ingest.desk import Desk, mapped
from edge.wire import convert, limits
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


class UpdatesServicer(stubs.UpdatesServicer):
    """Published files."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk

    async def Fetch(  # noqa: N802
        self, request: wire.FetchRequest, context: Context
    ) -> AsyncIterator[wire.FetchChunk]:
        """A file from an offset to its end."""
        desk = self._desk
        async with mapped(context):
            await desk.gate.admit(context)
            path, offset = convert.fetch_request_from_message(request)
            file = await desk.in_thread(lambda: handlers.published_file(desk.repository, path).open("rb"))
            try:
                await desk.in_thread(file.seek, offset)
                while data := await desk.in_thread(file.read, limits.CHUNK_BYTES):
                    yield convert.fetch_chunk_to_message(data)
            finally:
                file.close()

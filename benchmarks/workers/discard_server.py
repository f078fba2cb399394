"""gRPC that streams the same bytes from memory again and again: the floor of a download."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from edge.wire import limits
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs


class Floor(stubs.UpdatesServicer):
    """Sends so many bytes."""

    def __init__(self, size_bytes: int) -> None:
        self._size_bytes = size_bytes

    async def Fetch(self, request: wire.FetchRequest, context: object) -> AsyncIterator[wire.FetchChunk]:  # noqa: N802
        """The same pieces, whatever is asked for."""
        data = bytes(limits.CHUNK_BYTES)
        for _ in range(-(-self._size_bytes // limits.CHUNK_BYTES)):
            yield wire.FetchChunk(data=data)


async def run(key: Path, certificate: Path, size_bytes: int) -> None:
    """Serves until killed; prints its port."""
    server = grpc.aio.server()
    stubs.add_UpdatesServicer_to_server(Floor(size_bytes), server)
    pair = (key.read_bytes(), certificate.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(run(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3])))

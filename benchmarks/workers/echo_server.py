"""gRPC that answers every message with a short one and does nothing else: the floor of a push."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import grpc

from edge.wire import limits

SERVICE, METHOD = "benchmarks.Echo", "Push"
_ANSWER = bytes(70)
"""As long as a receipt."""


async def push(messages: AsyncIterator[bytes], context: grpc.aio.ServicerContext) -> None:
    """An answer a message."""
    async for _ in messages:
        await context.write(_ANSWER)


async def run(key: Path, certificate: Path) -> None:
    """Serves until killed; prints its port."""
    server = grpc.aio.server(options=(("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),))
    handler = grpc.stream_stream_rpc_method_handler(push)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),))
    pair = (key.read_bytes(), certificate.read_bytes())
    port = server.add_secure_port("127.0.0.1:0", grpc.ssl_server_credentials([pair]))
    await server.start()
    print(port, flush=True)
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(run(*map(Path, sys.argv[1:])))

"""The HTTP side of a server: is it alive, is it ready, what has it counted. Pages and API are put on top by others."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

from cloud_train.errors import ServerError
from cloud_train.ingest.readiness import readiness_fault

if TYPE_CHECKING:
    import uvicorn
    from fastapi import FastAPI

    from cloud_train.ingest.desk import Desk

_GRACE_S = 2


def build_http_app(desk: Desk) -> FastAPI:
    """Health and metrics of one server.

    Args:
        desk: What the server works with.
    """
    from fastapi import FastAPI, Response
    from fastapi.responses import PlainTextResponse
    from prometheus_client import CONTENT_TYPE_LATEST, generate_latest

    app = FastAPI(title="edgeloop", openapi_url=None, docs_url=None, redoc_url=None)

    @app.get("/healthz", response_class=PlainTextResponse)
    async def healthz() -> str:
        """Alive: the event loop answers."""
        return "ok\n"

    @app.get("/readyz", response_class=PlainTextResponse)
    async def readyz() -> Response:
        """Ready to take samples; 503 and the reason when not."""
        fault = "the server is stopping" if desk.door.draining else await desk.in_thread(readiness_fault, desk)
        return PlainTextResponse(f"{fault or 'ready'}\n", status_code=503 if fault else 200)

    @app.get("/metrics")
    async def metrics() -> Response:
        """Counters, for Prometheus."""
        text = await desk.in_thread(generate_latest, desk.metrics.registry)
        return Response(text, media_type=CONTENT_TYPE_LATEST)

    return app


@asynccontextmanager
async def serving_http(
    app: Any,  # noqa: ANN401 - any ASGI app
    listener: socket.socket,
    *,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[None]:
    """Serves an app in this event loop for the duration of the block; signals are left to the caller.

    Args:
        app: An ASGI app.
        listener: A bound socket.
        tls: What to speak TLS with; None for plaintext.
    """
    import uvicorn

    config = uvicorn.Config(
        app,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_keep_alive=15,
        timeout_graceful_shutdown=_GRACE_S,
        limit_concurrency=512,
        h11_max_incomplete_event_size=32_768,
        ws="none",
    )
    config.load()
    config.ssl = tls
    server = uvicorn.Server(config)
    task = asyncio.create_task(server._serve([listener]))
    try:
        await _started(server, task)
        yield
    finally:
        server.should_exit = True
        await task


def bound(host: str, port: int) -> socket.socket:
    """A listening socket.

    Raises:
        ServerError: The port is in use.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=512)
    except OSError as cause:
        raise ServerError(
            f"cannot listen on {host}:{port}: {(cause.strerror or 'it failed').lower()}",
            hint="choose another with --http-listen HOST:PORT, or --no-http",
        ) from cause
    # asyncio does this for sockets that it makes itself; without it small answers wait 40 ms for an acknowledgement.
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    return listener


async def _started(server: uvicorn.Server, task: asyncio.Task[None]) -> None:
    while not server.started:
        if task.done():
            await task
            raise ServerError("the HTTP side did not start", hint="see the log")
        await asyncio.sleep(0.01)

"""The server process: one store, one port, the three services, a clean stop."""

from __future__ import annotations

import asyncio
import dataclasses
import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import AsyncExitStack, ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_train.errors import ServerError
from cloud_train.ingest.drain import drain
from cloud_train.ingest.opening import open_desk
from cloud_train.ingest.ports import open_ports, require_safe
from cloud_train.server_info import SERVER_FILE, ServerInfo
from cloud_train.settings import ServeSettings, serve_settings
from cloud_train.store.lock import exclusive
from cloud_train.store.opened import open_store
from edge import durable, jsonvalue
from edge.errors import UsageError

if TYPE_CHECKING:
    import grpc
    from grpc_health.v1.health import aio as health

    from cloud_train.fleet.watch import WatchParts
    from cloud_train.ingest.desk import Desk
    from cloud_train.store.opened import Store

_NUM_WORKERS = 8
_KIB, _MS = 1024, 1000


def serve(settings: ServeSettings, *, ready: Callable[[ServerInfo], None] | None = None) -> None:
    """Runs a server until SIGTERM or SIGINT, then lets running calls end.

    Args:
        settings: How to run.
        ready: Called once it listens.

    Raises:
        UsageError: The address is none, or would be open to others without TLS.
        ServerError: The port is in use, or another server has the store.
        StorageError: The store cannot be opened.
    """
    asyncio.run(_serve_until_signal(settings, ready))


@contextmanager
def running_server(folder: Path, **changes: object) -> Iterator[ServerInfo]:
    """A server on a free loopback port, in a thread of this process with an event loop of its own; plaintext.

    Args:
        folder: The store.
        changes: Fields of `ServeSettings`.
    """
    own = {"store": folder, "listen": "127.0.0.1:0", "grace_s": 1.0, "worker": False, "plaintext": True}
    settings = serve_settings(**{**own, **changes})
    started: Future[ServerInfo] = Future()
    loop, stop = asyncio.new_event_loop(), asyncio.Event()

    async def body() -> None:
        async with _running(settings) as info:
            started.set_result(info)
            await stop.wait()

    thread = threading.Thread(target=_run, args=(loop, body(), started), name="edgeloop-server", daemon=True)
    thread.start()
    info = started.result()
    try:
        yield info
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()


def _run(loop: asyncio.AbstractEventLoop, body: Coroutine[Any, Any, None], started: Future[ServerInfo]) -> None:
    try:
        loop.run_until_complete(body)
    except BaseException as error:
        if started.done():
            raise
        started.set_exception(error)  # raised again by the thread that waits for the start
    finally:
        loop.close()


async def _serve_until_signal(settings: ServeSettings, ready: Callable[[ServerInfo], None] | None) -> None:
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with _running(settings) as info:
        if ready is not None:
            ready(info)
        await stop.wait()


@asynccontextmanager
async def _running(settings: ServeSettings) -> AsyncIterator[ServerInfo]:
    host, port = _address(settings)
    require_safe(settings, host)
    _require_free(host, port)
    durable.make_folder(settings.store)
    busy = ServerError(f"another server is using the store {settings.store}", hint="stop it, or choose another --store")
    with ExitStack() as stack:
        stack.enter_context(exclusive(settings.store / "serve.lock", busy=busy))
        store = stack.enter_context(open_store(settings.store))
        store.check()
        workers = stack.enter_context(ThreadPoolExecutor(_NUM_WORKERS, thread_name_prefix="edgeloop-worker"))
        writer = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="edgeloop-writer"))
        ports = open_ports(settings, host, port, time.time)
        desk = open_desk(settings, store, workers=workers, writer=writer, ports=ports)
        async with _serving(desk, store, host, port) as info:
            durable.write_bytes(settings.store / SERVER_FILE, jsonvalue.pretty_bytes(info), point="server.json")
            try:
                yield info
            finally:
                await drain(desk)
                (settings.store / SERVER_FILE).unlink(missing_ok=True)


@asynccontextmanager
async def _serving(desk: Desk, store: Store, host: str, port: int) -> AsyncIterator[ServerInfo]:
    """Everything that runs beside each other, begun in this order and ended in the opposite one."""
    from grpc_health.v1.health import aio as health

    from cloud_train.fleet.desk import open_watch
    from cloud_train.fleet.watch import watching
    from cloud_train.ingest.background import committing, writing_journal
    from cloud_train.ingest.decoding.supervise import decoding
    from cloud_train.ingest.readiness import watching_readiness

    servicer = health.HealthServicer()
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(writing_journal(desk))
        await stack.enter_async_context(committing(desk))
        await stack.enter_async_context(watching_readiness(desk, servicer))
        await stack.enter_async_context(decoding(desk, store.database))
        parts = open_watch(store, desk.settings)
        await stack.enter_async_context(watching(parts, clock=desk.clock, in_thread=desk.in_thread))
        http_port = await stack.enter_async_context(_http(desk, store, parts))
        yield await stack.enter_async_context(_grpc(desk, servicer, host, port, http_port))


@asynccontextmanager
async def _http(desk: Desk, store: Store, watch: WatchParts) -> AsyncIterator[int]:
    """Health, metrics and pages, when there is an address for them; gives the port, 0 for none."""
    from cloud_train.api.app import add_console
    from cloud_train.api.console import console_parts
    from cloud_train.api.session_key import session_key
    from cloud_train.fleet.expected import expected_of
    from cloud_train.ingest.http import bound, build_http_app, serving_http

    settings = desk.settings
    if not settings.http_listen or settings.only == "grpc":
        yield 0
        return
    host, port = _host_and_port(settings.http_listen)
    listener = bound(host, port)
    tls, app = desk.ports.https(host), build_http_app(desk)
    console = console_parts(
        store.database,
        session_key=session_key(settings.store, settings.console_key),
        channel=settings.channel,
        check_in_s=settings.check_in_s,
        hosts=desk.ports.hosts,
        is_tls=tls is not None,
        watch=watch,
        note=desk.journal.note,
        find_expected=lambda channel, bundle_digest: expected_of(store.published, channel, bundle_digest),
    )
    add_console(app, console)
    async with serving_http(app, listener, tls=tls):
        yield listener.getsockname()[1]


@asynccontextmanager
async def _grpc(
    desk: Desk,
    servicer: health.HealthServicer,
    host: str,
    port: int,
    http_port: int,
) -> AsyncIterator[ServerInfo]:
    """The services that devices call, unless only HTTP is wanted."""
    if desk.settings.only == "http":
        yield ServerInfo(host=host, port=0, pid=os.getpid(), http_port=http_port)
        return
    server, info = _listen(desk, servicer, host, port)
    await server.start()
    try:
        yield dataclasses.replace(info, http_port=http_port)
    finally:
        await servicer.enter_graceful_shutdown()
        await server.stop(desk.settings.grace_s)


def _listen(desk: Desk, servicer: health.HealthServicer, host: str, port: int) -> tuple[grpc.aio.Server, ServerInfo]:
    import grpc
    from grpc_health.v1.health_pb2_grpc import add_HealthServicer_to_server
    from grpc_reflection.v1alpha import reflection

    from cloud_train.ingest.door import DoorInterceptor
    from cloud_train.ingest.fleet_servicer import FleetServicer
    from cloud_train.ingest.readiness import SERVICES
    from cloud_train.ingest.samples_servicer import SamplesServicer
    from cloud_train.ingest.updates_servicer import UpdatesServicer
    from edge.wire.v1 import edgeloop_pb2_grpc as stubs

    server = grpc.aio.server(
        options=_channel_options(desk.settings), interceptors=(DoorInterceptor(desk.door, desk.journal),)
    )
    stubs.add_SamplesServicer_to_server(SamplesServicer(desk), server)
    stubs.add_FleetServicer_to_server(FleetServicer(desk), server)
    stubs.add_UpdatesServicer_to_server(UpdatesServicer(desk), server)
    add_HealthServicer_to_server(servicer, server)
    reflection.enable_server_reflection((*SERVICES, "grpc.health.v1.Health", reflection.SERVICE_NAME), server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        port, enroll_port = desk.ports.add_to(server, address)
    except RuntimeError as cause:
        raise _port_in_use(host, port) from cause
    tls = desk.ports.main is not None
    return server, ServerInfo(host=host, port=port, pid=os.getpid(), enroll_port=enroll_port, tls=tls)


def _channel_options(settings: ServeSettings) -> tuple[tuple[str, int], ...]:
    """What gRPC is told. Reference: grpc/impl/channel_arg_names.h."""
    from edge.wire import limits

    return (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", limits.MAX_MESSAGE_BYTES),
        ("grpc.http2.min_ping_interval_without_data_ms", int(limits.KEEPALIVE_S * _MS / 2)),
        ("grpc.http2.max_ping_strikes", 2),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", int(limits.KEEPALIVE_S * _MS)),
        ("grpc.keepalive_timeout_ms", 10_000),
        ("grpc.max_concurrent_streams", settings.connection_calls),
        ("grpc.max_connection_idle_ms", int(settings.connection_idle_s * _MS)),
        ("grpc.max_connection_age_ms", int(settings.connection_age_s * _MS)),
        ("grpc.max_connection_age_grace_ms", int(settings.push_age_s * _MS)),
        ("grpc.server_handshake_timeout_ms", int(settings.handshake_s * _MS)),
        ("grpc.max_metadata_size", 16 * _KIB),
    )


def _host_and_port(listen: str) -> tuple[str, int]:
    host, colon, port = listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{listen!r} is not HOST:PORT", hint="for instance --listen 127.0.0.1:7443")
    return host, int(port)


def _address(settings: ServeSettings) -> tuple[str, int]:
    return _host_and_port(settings.listen)


def _require_free(host: str, port: int) -> None:
    """Tries the port before gRPC does, which would say it in a log of its own."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as cause:
            raise _port_in_use(host, port) from cause


def _port_in_use(host: str, port: int) -> ServerError:
    return ServerError(
        f"cannot listen on {host}:{port}: the port is in use",
        hint="choose another with --listen HOST:PORT, or stop the other server",
    )

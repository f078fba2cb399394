"""The server process: one store, one port, the three services, a clean stop."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import ssl
import threading
import time
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_train.errors import ServerError
from cloud_train.ingest.callers import Gate
from cloud_train.ingest.commit import GroupCommit
from cloud_train.ingest.handlers import known_samples
from cloud_train.ingest.intake import Intake, Upload
from cloud_train.ingest.push import PushParts, Turns
from cloud_train.settings import ServeSettings, serve_settings
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.layout import StoreLayout
from cloud_train.store.lock import exclusive
from cloud_train.store.sql import open_meta_store
from cloud_train.types import SampleRecord
from edge import durable, jsonvalue
from edge.errors import UsageError
from edge.sync.grpc_transport import is_loopback

if TYPE_CHECKING:
    import grpc

    from cloud_train.ingest.desk import Desk
    from cloud_train.store.sql import SqlMetaStore

SERVER_FILE = "server.json"
_NUM_WORKERS = 8
_MAX_CALLS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerInfo:
    """Where a running server listens, as written to `server.json`.

    Attributes:
        host: Address.
        port: Port.
        pid: Process.
    """

    host: str
    port: int
    pid: int

    @property
    def target(self) -> str:
        """`host:port`, as a transport wants it."""
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


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
    """A server on a free loopback port, in a thread of this process with an event loop of its own.

    Args:
        folder: The store.
        changes: Fields of `ServeSettings`.
    """
    settings = serve_settings(**{"store": folder, "listen": "127.0.0.1:0", "grace_s": 1.0, **changes})
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
    tls = _credentials(settings)
    _require_free(host, port)
    durable.make_folder(settings.store)
    busy = ServerError(f"another server is using the store {settings.store}", hint="stop it, or choose another --store")
    with ExitStack() as stack:
        stack.enter_context(exclusive(settings.store / "serve.lock", busy=busy))
        meta = open_meta_store(StoreLayout(root=settings.store).meta)
        stack.callback(meta.close)
        workers = stack.enter_context(ThreadPoolExecutor(_NUM_WORKERS, thread_name_prefix="edgeloop-worker"))
        writer = stack.enter_context(ThreadPoolExecutor(1, thread_name_prefix="edgeloop-writer"))
        desk = _open_desk(settings, meta, workers, writer)
        server, info = _listen(desk, host, port, tls)
        await server.start()
        durable.write_bytes(settings.store / SERVER_FILE, jsonvalue.pretty_bytes(info), point="server.json")
        try:
            yield info
        finally:
            await server.stop(settings.grace_s)
            await desk.pushes.commits.close()
            (settings.store / SERVER_FILE).unlink(missing_ok=True)


def _open_desk(
    settings: ServeSettings, meta: SqlMetaStore, workers: ThreadPoolExecutor, writer: ThreadPoolExecutor
) -> Desk:
    from cloud_train.ingest.desk import Desk

    store, clock = settings.store, time.time
    blobs = FolderBlobStore(StoreLayout(root=store).blobs)
    intake = Intake(store / "partial", max_bytes=settings.max_partial_bytes, max_pixels=settings.max_pixels)
    commits = GroupCommit(
        partial(_commit, meta, blobs, clock), writer, size=settings.group_size, wait_s=settings.group_wait_s
    )
    in_thread = partial(asyncio.get_running_loop().run_in_executor, workers)
    pushes = PushParts(
        intake=intake,
        turns=Turns(),
        commits=commits,
        is_stored=lambda digest: bool(known_samples((digest,), meta=meta, blobs=blobs)),
        in_thread=in_thread,
        max_payload_bytes=settings.max_payload_bytes,
    )
    return Desk(
        settings=settings,
        gate=Gate(),
        meta=meta,
        audit=SqlAuditLog(meta.database),
        blobs=blobs,
        repository=store / "repository",
        pushes=pushes,
        in_thread=in_thread,
        clock=clock,
    )


def _commit(
    meta: SqlMetaStore, blobs: FolderBlobStore, clock: Callable[[], float], uploads: tuple[Upload, ...]
) -> None:
    """Makes checked uploads durable: pictures first, then their records, so that a record always has its picture."""
    blobs.adopt({upload.offer.digest: upload.path for upload in uploads})
    now = clock()
    meta.add_samples(
        tuple(
            SampleRecord(
                digest=upload.offer.digest,
                size_bytes=upload.offer.size_bytes,
                received_at=now,
                metadata=upload.offer.metadata,
            )
            for upload in uploads
        )
    )


def _listen(desk: Desk, host: str, port: int, tls: grpc.ServerCredentials | None) -> tuple[grpc.aio.Server, ServerInfo]:
    import grpc

    from cloud_train.ingest.fleet_servicer import FleetServicer
    from cloud_train.ingest.samples_servicer import SamplesServicer
    from cloud_train.ingest.updates_servicer import UpdatesServicer
    from edge.wire import limits
    from edge.wire.v1 import edgeloop_pb2_grpc as stubs

    options = (
        ("grpc.so_reuseport", 0),
        ("grpc.max_receive_message_length", limits.MAX_MESSAGE_BYTES),
        ("grpc.max_send_message_length", limits.MAX_MESSAGE_BYTES),
        ("grpc.http2.min_ping_interval_without_data_ms", int(limits.KEEPALIVE_S * 500)),
        ("grpc.keepalive_permit_without_calls", 1),
        ("grpc.keepalive_time_ms", int(limits.KEEPALIVE_S * 1000)),
        ("grpc.keepalive_timeout_ms", 10_000),
    )
    server = grpc.aio.server(options=options, maximum_concurrent_rpcs=_MAX_CALLS)
    stubs.add_SamplesServicer_to_server(SamplesServicer(desk), server)
    stubs.add_FleetServicer_to_server(FleetServicer(desk), server)
    stubs.add_UpdatesServicer_to_server(UpdatesServicer(desk), server)
    address = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    try:
        port = server.add_insecure_port(address) if tls is None else server.add_secure_port(address, tls)
    except RuntimeError as cause:
        raise _port_in_use(host, port) from cause
    return server, ServerInfo(host=host, port=port, pid=os.getpid())


def _credentials(settings: ServeSettings) -> grpc.ServerCredentials | None:
    """Certificate and key, tried out first: gRPC says of bad ones only that it cannot listen."""
    import grpc

    cert, key = settings.tls_cert, settings.tls_key
    if cert is None or key is None:
        return None
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(cert, key, password=lambda: "")
        return grpc.ssl_server_credentials([(key.read_bytes(), cert.read_bytes())])
    except OSError as cause:
        why = (cause.strerror or "").lower() if not isinstance(cause, ssl.SSLError) else "they are no matching PEM pair"
        raise UsageError(f"cannot use {cert} and {key}: {why}", hint="check --tls-cert and --tls-key") from cause


def _address(settings: ServeSettings) -> tuple[str, int]:
    host, colon, port = settings.listen.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if not colon or not host or not port.isdecimal() or int(port) > 65535:
        raise UsageError(f"{settings.listen!r} is not HOST:PORT", hint="for instance --listen 127.0.0.1:7443")
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("TLS needs a certificate and its key", hint="give both --tls-cert and --tls-key")
    if settings.tls_cert is None and not is_loopback(host):
        raise UsageError(
            f"refusing to listen on {settings.listen} without TLS",
            hint="give --tls-cert and --tls-key, or listen on 127.0.0.1",
        )
    return host, int(port)


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

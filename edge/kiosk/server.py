"""Serves the kiosk API from a thread of the agent's process."""

from __future__ import annotations

import errno
import importlib.util
import logging
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.background import lower_priority
from edge.errors import MissingExtraError, UsageError
from edge.kiosk.audit import Audit
from edge.kiosk.options import KioskOptions, is_address

if TYPE_CHECKING:
    import uvicorn

    from edge.kiosk.desk import Desk
    from edge.settings import AgentSettings

BACKLOG = 64
CLERKS = 2
_START_S = 10.0
# Seconds that requests may take to end, out of the second that `stop` has.
_GRACE_S = 0.5
_NEEDED = ("fastapi", "uvicorn", "python_multipart", "prometheus_client", "fastapi_offline")


class KioskServer:
    """The API and its page. Make it, `start` it once, `stop` it.

    Args:
        desk: The agent.
        options: Where to listen and what is allowed.
        clock: Seconds since the epoch, UTC.

    Raises:
        MissingExtraError: The extra `kiosk` is not installed.
    """

    def __init__(
        self,
        desk: Desk,
        options: KioskOptions,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        for library in _NEEDED:
            if importlib.util.find_spec(library) is None:
                raise MissingExtraError(library.replace("python_multipart", "python-multipart"), "kiosk")
        self._desk = desk
        self._options = options
        self._clock = clock
        self._audit = Audit(options.audit, max_bytes=options.audit_max_bytes)
        self._clerks = ThreadPoolExecutor(CLERKS, thread_name_prefix="edgeloop-kiosk-clerk", initializer=lower_priority)
        self._answerers = ThreadPoolExecutor(
            options.workers, thread_name_prefix="edgeloop-kiosk-answer", initializer=lower_priority
        )
        self._server: uvicorn.Server | None = None
        self._thread: threading.Thread | None = None
        self._port = 0

    @property
    def port(self) -> int:
        """The port it listens on; 0 before `start`."""
        return self._port

    @property
    def address(self) -> str:
        """Where its page is, as a browser of this machine takes it."""
        host = self._options.host
        shown = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(host, host)  # noqa: S104 - it is not bound here
        return f"http://{f'[{shown}]' if is_address(shown) and ':' in shown else shown}:{self._port}/"

    def start(self) -> None:
        """Listens; returns once requests are answered.

        Raises:
            UsageError: The address or port cannot be had.
        """
        from edge.kiosk.app import make_app

        listener = listening_socket(self._options.host, self._options.port)
        self._port = int(listener.getsockname()[1])
        app = make_app(
            self._desk,
            self._options,
            audit=self._audit,
            clerks=self._clerks,
            answerers=self._answerers,
            clock=self._clock,
        )
        started = threading.Event()
        self._server = _make_server(app, self._options, started)
        self._thread = threading.Thread(
            target=self._server.run, kwargs={"sockets": [listener]}, name="edgeloop-kiosk", daemon=True
        )
        self._thread.start()
        if not started.wait(_START_S):
            listener.close()
            raise UsageError(f"the kiosk did not start on {self._options.host}:{self._port}", hint="see the log")

    def stop(self, *, timeout_s: float = 1.0) -> None:
        """Ends it. Calling it twice is harmless.

        Args:
            timeout_s: Seconds that requests under way may take; what is not done then is cut off.
        """
        if self._server is not None and self._thread is not None:
            self._server.should_exit = True
            self._thread.join(timeout_s)
        self._server = self._thread = None
        for executor in (self._clerks, self._answerers):
            executor.shutdown(wait=False, cancel_futures=True)
        self._audit.close()


def kiosk_options(settings: AgentSettings, *, audit: Path | None) -> KioskOptions:
    """What a device was told about its kiosk.

    Args:
        settings: All of it.
        audit: File of the audit log, or None to write none.

    Raises:
        UsageError: A value makes no sense, or the address needs a token.
    """
    return KioskOptions(
        host=settings.kiosk_host,
        port=settings.kiosk_port,
        token=settings.kiosk_token,
        per_minute=settings.kiosk_per_minute,
        max_picture_bytes=settings.max_picture_bytes,
        audit=audit,
    )


def listening_socket(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: Address or name.
        port: TCP port, or 0 for a free one.

    Raises:
        UsageError: The address is not of this machine, or the port is taken or not allowed.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0]
        listener = socket.socket(family, kind, protocol)
    except OSError as cause:
        raise _no_listener(host, port, cause) from cause
    try:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(address)
        listener.listen(BACKLOG)
    except OSError as cause:
        listener.close()
        raise _no_listener(host, port, cause) from cause
    return listener


def _no_listener(host: str, port: int, cause: OSError) -> UsageError:
    place = f"{f'[{host}]' if ':' in host else host}:{port}"
    match cause.errno:
        case errno.EADDRINUSE:
            return UsageError(
                f"the kiosk cannot listen on {place}: another program has the port",
                hint="stop that program, or set another kiosk_port",
            )
        case errno.EACCES:
            return UsageError(
                f"the kiosk cannot listen on {place}: the port is not allowed", hint="set a kiosk_port above 1023"
            )
        case _:
            return UsageError(
                f"the kiosk cannot listen on {place}: no such address on this machine", hint="set another kiosk_host"
            )


def _make_server(app: Any, options: KioskOptions, started: threading.Event) -> uvicorn.Server:  # noqa: ANN401 - ASGI
    import uvicorn

    from edge.kiosk.patience import patient_protocol

    class Server(uvicorn.Server):
        """uvicorn's, which says when it has started, and leaves no connection open."""

        async def startup(self, sockets: list[socket.socket] | None = None) -> None:
            await super().startup(sockets)
            started.set()

        async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
            await super().shutdown(sockets)
            for connection in list(self.server_state.connections):
                connection.transport.abort()

    config = uvicorn.Config(
        app,
        http=patient_protocol(options),
        loop="asyncio",
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level=logging.CRITICAL,
        access_log=False,
        proxy_headers=False,
        server_header=False,
        timeout_graceful_shutdown=_GRACE_S,  # type: ignore[arg-type]
    )
    return Server(config)

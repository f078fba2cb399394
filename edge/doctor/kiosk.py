"""The kiosk's port: free to listen on, or answered by the agent that runs."""

from __future__ import annotations

import contextlib
import errno
import http.client
import socket

from edge.doctor.types import Finding, State, Subject
from edge.kiosk.options import KioskOptions
from edge.settings import AgentSettings

_ANSWER_LIMIT_S = 5.0
_EVERYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}  # noqa: S104


def examine_kiosk(subject: Subject) -> tuple[Finding, ...]:
    """One finding: whether the port serves, or can."""
    settings = subject.settings
    if not settings.kiosk_port:
        return (_found(State.SKIPPED, "no port: the device has no page of its own"),)
    KioskOptions(host=settings.kiosk_host, port=settings.kiosk_port, token=settings.kiosk_token)
    return (_answering(settings) if subject.is_running else _free(settings),)


def _answering(settings: AgentSettings) -> Finding:
    host = _EVERYWHERE.get(settings.kiosk_host, settings.kiosk_host)
    connection = http.client.HTTPConnection(host, settings.kiosk_port, timeout=_ANSWER_LIMIT_S)
    place = f"http://{host}:{settings.kiosk_port}/"
    try:
        with contextlib.closing(connection):
            connection.request("GET", "/")
            status = connection.getresponse().status
    except (OSError, http.client.HTTPException) as cause:
        reason = (getattr(cause, "strerror", None) or str(cause) or type(cause).__name__).lower()
        fix = "restart the agent with these settings: the one that runs may have been told others"
        return _found(State.FAIL, f"{place} does not answer: {reason}", fix)
    return _found(State.OK, f"{place} answers (status {status})")


def _free(settings: AgentSettings) -> Finding:
    """Listens for a moment, as the agent will."""
    place = f"port {settings.kiosk_port} on {settings.kiosk_host}"
    try:
        kind, _, _, _, address = socket.getaddrinfo(
            settings.kiosk_host, settings.kiosk_port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        with socket.socket(kind, socket.SOCK_STREAM) as listener:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listener.bind(address)
            listener.listen(1)
    except OSError as cause:
        return _found(State.FAIL, f"{place}: {(cause.strerror or str(cause)).lower()}", _fix(settings, cause))
    return _found(State.OK, f"{place} is free")


def _fix(settings: AgentSettings, cause: OSError) -> str:
    if cause.errno == errno.EADDRINUSE:
        return (
            f"another program listens there (`ss -ltnp 'sport = :{settings.kiosk_port}'`): stop it, or set kiosk_port"
        )
    if cause.errno in (errno.EACCES, errno.EPERM):
        return "take a port from 1024 on: smaller ones are for root"
    return "set kiosk_host to 127.0.0.1, or to an address of this machine"


def _found(state: State, detail: str, fix: str = "") -> Finding:
    return Finding(name="kiosk", state=state, detail=detail, fix=fix)

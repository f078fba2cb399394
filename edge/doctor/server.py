"""The way to the server, step by step: name, TCP, TLS, a call. The first step that fails is named."""

from __future__ import annotations

import contextlib
import socket
import ssl

from edge.doctor.types import Finding, State, Subject
from edge.errors import EdgeloopError, RefusedError
from edge.identity.command import client_identity
from edge.settings import AgentSettings
from edge.sync.credentials import ClientIdentity
from edge.sync.grpc_transport import GrpcTransport, is_loopback

_STEP_LIMIT_S = 5.0
# Small, signed, public, and asked for by every device: it says nothing about this one.
_CHEAP_FILE = "metadata/timestamp.json"
_PLAIN_FIX = "set tls_ca to the server's CA file: plaintext is spoken with this machine only"


def examine_server(subject: Subject) -> tuple[Finding, ...]:
    """One finding: how far one comes."""
    settings = subject.settings
    if not settings.server:
        return (_found(State.SKIPPED, "none named: the device stays offline"),)
    if subject.offline:
        return (_found(State.SKIPPED, "left alone, because of --offline"),)
    try:
        identity = client_identity(settings.home)
    except EdgeloopError as error:
        return (_found(State.FAIL, error.message, error.hint),)
    transport = GrpcTransport(settings.server, tls_ca=settings.tls_ca, identity=identity, timeout_s=_STEP_LIMIT_S)
    with contextlib.closing(transport):
        return (_tcp_and_tls(settings, identity) or _call(settings, transport, identity),)


def _tcp_and_tls(settings: AgentSettings, identity: ClientIdentity | None) -> Finding | None:
    """What stands in the way before the first call, None where nothing does."""
    host, _, port = settings.server.rpartition(":")
    host = host.strip("[]")
    try:
        socket.getaddrinfo(host, int(port), type=socket.SOCK_STREAM)
    except OSError as cause:
        detail = f"{settings.server}: name: {_words(cause)}"
        return _found(State.FAIL, detail, "check the name of the server, and the device's network and DNS")
    try:
        connection = socket.create_connection((host, int(port)), timeout=_STEP_LIMIT_S)
    except OSError as cause:
        detail = f"{settings.server}: TCP: {_words(cause)}"
        return _found(State.FAIL, detail, "check that the server runs, its port, and the firewalls between")
    with connection:
        return _tls(settings, identity, host, connection)


def _tls(
    settings: AgentSettings, identity: ClientIdentity | None, host: str, connection: socket.socket
) -> Finding | None:
    if settings.tls_ca is None and identity is None:
        return None
    try:
        if settings.tls_ca is not None:
            context = ssl.create_default_context(cafile=str(settings.tls_ca))
        else:
            context = ssl.create_default_context(cadata=identity.authority_pem.decode() if identity else None)
        context.set_alpn_protocols(["h2"])
        with context.wrap_socket(connection, server_hostname=host):
            return None
    except ssl.SSLCertVerificationError as cause:
        detail = f"{settings.server}: TLS: {cause.verify_message}"
        return _found(State.FAIL, detail, _certificate_fix(cause.verify_message, settings))
    except ssl.SSLError as cause:
        detail = f"{settings.server}: TLS: {cause.reason or _words(cause)}"
        return _found(State.FAIL, detail, "check that this port speaks TLS; a server without it needs no tls_ca")
    except OSError as cause:
        detail = f"{settings.server}: TLS: {_words(cause)}"
        return _found(State.FAIL, detail, "check that this port speaks TLS, and that tls_ca is the server's CA file")


def _certificate_fix(reason: str, settings: AgentSettings) -> str:
    words = reason.lower()
    if "not yet valid" in words or "expired" in words:
        return "check this device's clock; then renew the server's certificate"
    if "mismatch" in words or "not valid for" in words:
        return "name the server as its certificate does, or give it a certificate for this name"
    if settings.tls_ca is None:
        return "enrol the device anew: the server's certificate is of another authority than it was told of"
    return f"set tls_ca to the authority that signed the server's certificate; now it is {settings.tls_ca}"


def _call(settings: AgentSettings, transport: GrpcTransport, identity: ClientIdentity | None) -> Finding:
    is_tls = settings.tls_ca is not None or identity is not None
    road = "TLS" if is_tls else "plaintext on this machine"
    try:
        next(iter(transport.fetch(_CHEAP_FILE, offset=0)), b"")
    except FileNotFoundError:
        return _found(State.OK, f"{settings.server} answers ({road}); nothing is published there yet")
    except RefusedError as error:
        return _found(State.FAIL, f"{settings.server}: call: {error.message}", error.hint or "ask the server's keeper")
    except EdgeloopError as error:
        fix = error.hint or "check that it is an edgeloop server"
        if is_tls and identity is None:
            fix = "enrol this device: a fleet's server speaks with its members only"
        plain = not is_tls and is_loopback(settings.server.rpartition(":")[0])
        if plain:
            fix = "check that it is an edgeloop server; one that speaks TLS needs tls_ca"
        return _found(State.FAIL, f"{settings.server}: call: {error.message}", fix)
    return _found(State.OK, f"{settings.server} answers ({road})")


def _words(cause: OSError) -> str:
    return (cause.strerror or str(cause) or type(cause).__name__).lower()


def _found(state: State, detail: str, fix: str = "") -> Finding:
    return Finding(name="server", state=state, detail=detail, fix=fix)

"""What the server's ports show and ask for: its own certificate, kept fresh; the authorities that let devices in."""

from __future__ import annotations

import logging
import socket
import ssl
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from cloud_train.fleet.authority import SERVER_DAYS, Authority
from cloud_train.fleet.certificates import DAY_S, ServerCertificate, general_name
from edge.errors import EdgeloopError, UsageError

if TYPE_CHECKING:
    import grpc

_RENEW_AFTER = 2 / 3
_logger = logging.getLogger(__name__)


class Certificates(Protocol):
    """Where a server's certificate comes from. Thread-safe."""

    def current(self) -> ServerCertificate:
        """The one to show now."""
        ...


class IssuedCertificates:
    """Certificates that the fleet's authority signs; a new one, with a new key, when two thirds of its time are over.

    Nothing is written: every process makes its own.

    Args:
        authority: Signs.
        hosts: Names and addresses that devices call the server by.
        clock: Seconds since the epoch, UTC.
        days: How long one is good.
    """

    def __init__(
        self, authority: Authority, hosts: tuple[str, ...], clock: Callable[[], float], *, days: float = SERVER_DAYS
    ) -> None:
        self._authority = authority
        self._hosts = hosts
        self._clock = clock
        self._days = days
        self._lock = threading.Lock()
        self._current = authority.issue_server(hosts, clock(), days=days)

    def current(self) -> ServerCertificate:
        """See `Certificates.current`."""
        with self._lock:
            now = self._clock()
            if now > self._current.not_after - self._days * DAY_S * (1 - _RENEW_AFTER):
                self._current = self._authority.issue_server(self._hosts, now, days=self._days)
            return self._current


class BroughtCertificates:
    """A certificate and key from files, read again when they change, so that whoever renews them restarts nothing.

    Args:
        certificate: PEM chain.
        key: PEM private key, without a password.

    Raises:
        UsageError: They cannot be read, or are no matching pair.
    """

    def __init__(self, certificate: Path, key: Path) -> None:
        self._files = certificate, key
        self._lock = threading.Lock()
        self._stamp = self._stamped()
        self._current = _read_pair(certificate, key)

    def current(self) -> ServerCertificate:
        """See `Certificates.current`. New files that are no pair are passed over."""
        with self._lock:
            stamp = self._stamped()
            if stamp != self._stamp:
                self._stamp = stamp
                try:
                    self._current = _read_pair(*self._files)
                except UsageError as error:
                    _logger.error("the old certificate is shown on: %s", error)
            return self._current

    def _stamped(self) -> tuple[int, ...]:
        try:
            return tuple(path.stat().st_mtime_ns for path in self._files)
        except OSError:
            return ()


def port_credentials(certificates: Certificates, client_authorities: bytes | None) -> grpc.ServerCredentials:
    """What gRPC needs for a port.

    Args:
        certificates: What the server shows, asked anew at every handshake.
        client_authorities: PEM; callers must show a certificate of one of these. None for a port that asks for none.
    """
    import grpc

    shown, lock = certificates.current(), threading.Lock()

    def configuration() -> grpc.ServerCertificateConfiguration:
        return grpc.ssl_server_certificate_configuration(
            [(shown.key_pem, shown.certificate_pem)], root_certificates=client_authorities
        )

    def fetch() -> grpc.ServerCertificateConfiguration | None:
        """None while nothing has changed: gRPC crashes when handshakes side by side each get a new one (#36693)."""
        nonlocal shown
        with lock:
            try:
                current = certificates.current()
            except EdgeloopError as error:  # inside gRPC nobody would hear of it
                _logger.error("the old certificate is shown on: %s", error)
                return None
            if current.certificate_pem == shown.certificate_pem:
                return None
            shown = current
            return configuration()

    return grpc.dynamic_ssl_server_credentials(
        configuration(), fetch, require_client_authentication=client_authorities is not None
    )


def https_context(certificates: Certificates) -> ssl.SSLContext:
    """TLS for an HTTP port, which shows at every handshake what is current then."""
    lock, made = threading.Lock(), {}

    def current() -> ssl.SSLContext:
        shown = certificates.current()
        with lock:
            if shown.certificate_pem not in made:
                made.clear()
                made[shown.certificate_pem] = _server_context(shown)
            return made[shown.certificate_pem]

    def choose(connection: ssl.SSLObject | ssl.SSLSocket, _name: str | None, _context: ssl.SSLContext) -> None:
        connection.context = current()

    context = _server_context(certificates.current())
    context.sni_callback = choose  # asked at every handshake, also by callers that name no host
    return context


def _server_context(shown: ServerCertificate) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as folder:  # Python takes files alone; this one is 0700
        chain = Path(folder) / "chain.pem"
        chain.touch(mode=0o600)
        chain.write_bytes(shown.key_pem + b"\n" + shown.certificate_pem)
        context.load_cert_chain(chain)
    return context


def server_hosts(named: tuple[str, ...], listen: str) -> tuple[str, ...]:
    """By which names a server may be called.

    Args:
        named: What people said; when there is something, it counts beside the loopback names.
        listen: The address that it listens on; counts too, unless it is every address.

    Raises:
        UsageError: A name is none.
    """
    own = named or (socket.gethostname(), socket.getfqdn())
    places = () if listen in ("0.0.0.0", "::", "") else (listen,)  # noqa: S104 - compared, not listened on
    found = tuple(dict.fromkeys((*own, *places, "localhost", "127.0.0.1", "::1")))
    if named:
        for host in named:
            general_name(host)
        return found
    return tuple(host for host in found if _is_host(host))


def _is_host(host: str) -> bool:
    try:
        general_name(host)
    except UsageError:
        return False
    return True


def read_client_authorities(path: Path) -> bytes:
    """Authorities of certificates that devices bring.

    Raises:
        UsageError: The file cannot be read or holds no certificate.
    """
    from cryptography import x509

    try:
        pem = path.read_bytes()
        x509.load_pem_x509_certificates(pem)
    except (OSError, ValueError) as cause:
        raise UsageError(f"cannot use {path}: no certificates in PEM", hint="check --client-ca") from cause
    return pem


def _read_pair(certificate: Path, key: Path) -> ServerCertificate:
    """Certificate and key, tried out first: gRPC says of bad ones only that it cannot listen."""
    from cryptography import x509

    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(certificate, key, password=lambda: "")
        pem = certificate.read_bytes()
        first = x509.load_pem_x509_certificates(pem)[0]
        return ServerCertificate(
            key_pem=key.read_bytes(),
            certificate_pem=pem,
            not_before=first.not_valid_before_utc.timestamp(),
            not_after=first.not_valid_after_utc.timestamp(),
        )
    except (OSError, ValueError) as cause:
        is_missing = isinstance(cause, OSError) and not isinstance(cause, ssl.SSLError)
        why = (getattr(cause, "strerror", None) or "").lower() if is_missing else "they are no matching PEM pair"
        raise UsageError(f"cannot use {certificate} and {key}: {why}", hint="check --tls-cert and --tls-key") from cause

"""The ports of a server: which it has, what they show and ask for, and who decides about callers.

With TLS there are two. Devices speak through the first, which asks every caller for a certificate; a device that has
none yet enrols through the second, behind which nothing else is to be had. gRPC can ask for certificates on a port or
not at all, hence two. With `--plaintext`, on this machine alone, there is one, and any name is believed.
"""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloud_train.errors import ServerError
from cloud_train.fleet.authority import Authority, create_authority, open_authority
from cloud_train.fleet.enrolment import Enrolments
from cloud_train.fleet.hosts import read_hosts
from cloud_train.ingest.callers import CertificateGate, Gate
from cloud_train.ingest.tls import (
    BroughtCertificates,
    Certificates,
    IssuedCertificates,
    https_context,
    port_credentials,
    read_client_authorities,
    server_hosts,
)
from cloud_train.settings import ServeSettings
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.layout import StoreLayout
from cloud_train.store.members import SqlFleetStore
from edge.errors import UsageError
from edge.sync.grpc_transport import is_loopback

if TYPE_CHECKING:
    import grpc

    from cloud_train.store.database import Database

AUTHORITY_NAME = "edgeloop fleet"
NO_ENROL = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ports:
    """What the ports of a server need.

    Attributes:
        main: Where devices speak; None for plaintext.
        enroll: Where they enrol; None for no such port.
        enroll_address: Host and port of it; port 0 takes a free one.
        authority: Signs devices in; None with plaintext.
        days: How long their certificates are good.
        certificates: What the server shows; None with plaintext.
        hosts: What it is called; none when that is up to a certificate of the owner's.
    """

    main: grpc.ServerCredentials | None = None
    enroll: grpc.ServerCredentials | None = None
    enroll_address: tuple[str, int] = ("", 0)
    authority: Authority | None = None
    days: float = 90.0
    certificates: Certificates | None = None
    hosts: tuple[str, ...] = ()

    def https(self, host: str) -> ssl.SSLContext | None:
        """What an HTTP port needs: TLS with the server's certificate; None, for plaintext, on this machine alone.

        Args:
            host: Where it listens.
        """
        if self.certificates is None or is_loopback(host):
            return None
        return https_context(self.certificates)

    def gate(
        self, database: Database, *, in_thread: Callable[..., asyncio.Future[Any]], clock: Callable[[], float]
    ) -> Gate:
        """Who decides about callers."""
        if self.main is None:
            return Gate()
        return CertificateGate(SqlFleetStore(database), in_thread=in_thread, clock=clock)

    def enrolments(self, database: Database) -> Enrolments | None:
        """Who lets devices in; None where none needs to be."""
        if self.authority is None:
            return None
        return Enrolments(
            SqlFleetStore(database), SqlAuditLog(database), self.authority, new_name=_new_name, days=self.days
        )

    def add_to(self, server: grpc.aio.Server, address: str) -> tuple[int, int]:
        """Has a server listen.

        Args:
            server: Not started yet.
            address: Of the first port, as gRPC wants it.

        Returns:
            The number of the first port and of the one for enrolment, 0 for none.

        Raises:
            RuntimeError: The first port is in use.
            ServerError: The port for enrolment is.
        """
        if self.main is None:
            return server.add_insecure_port(address), 0
        port = server.add_secure_port(address, self.main)
        if self.enroll is None:
            return port, 0
        host, enroll_port = self.enroll_address
        try:
            return port, server.add_secure_port(
                f"[{host}]:{enroll_port}" if ":" in host else f"{host}:{enroll_port}", self.enroll
            )
        except RuntimeError as cause:
            message = f"cannot listen on {host}:{enroll_port}: the port is in use"
            raise ServerError(message, hint="choose another with --enroll-listen HOST:PORT, or `off`") from cause


def require_safe(settings: ServeSettings, host: str) -> None:
    """Checks what was asked for, before anything is made.

    Raises:
        UsageError: The server would be open to others without TLS, or the files of TLS are no pair.
    """
    if settings.plaintext and not is_loopback(host):
        hint = "leave --plaintext out, or listen on 127.0.0.1"
        raise UsageError(f"refusing to listen on {settings.listen} without TLS", hint=hint)
    http_host = settings.http_listen.rpartition(":")[0].removeprefix("[").removesuffix("]")
    if settings.plaintext and http_host and not is_loopback(http_host):
        hint = "leave --plaintext out, or listen on 127.0.0.1"
        raise UsageError(f"refusing to serve HTTP on {settings.http_listen} without TLS", hint=hint)
    if (settings.tls_cert is None) != (settings.tls_key is None):
        raise UsageError("TLS needs a certificate and its key", hint="give both --tls-cert and --tls-key")
    if settings.plaintext and settings.tls_cert is not None:
        raise UsageError("--plaintext and --tls-cert contradict each other", hint="leave one of them out")
    _brought(settings)
    if settings.client_ca is not None:
        read_client_authorities(settings.client_ca)
    if not settings.plaintext:
        enroll_address(settings, host, 0)


def open_ports(settings: ServeSettings, host: str, port: int, clock: Callable[[], float]) -> Ports:
    """Makes ready what the ports need; the fleet's authority too, at the first start.

    Args:
        settings: How to serve.
        host: Where the first port listens.
        port: Its number, 0 for a free one.
        clock: Seconds since the epoch, UTC.

    Raises:
        UsageError: A file cannot be used, or a name is none.
        AuthorityError: The authority is damaged, or none is in the folder of `--ca`.
        StorageError: The authority cannot be written.
    """
    if settings.plaintext:
        return Ports()
    folder = settings.ca or StoreLayout(root=settings.store).authority
    authority = open_authority(folder) if settings.ca else create_authority(folder, AUTHORITY_NAME, clock())
    certificates: Certificates | None = _brought(settings)
    hosts = server_hosts((*settings.host_names, *read_hosts(folder)), host)
    if certificates is None:
        certificates = IssuedCertificates(authority, hosts, clock)
    devices = authority.trusted_pem
    if settings.client_ca is not None:
        devices += read_client_authorities(settings.client_ca)
    address = enroll_address(settings, host, port)
    return Ports(
        main=port_credentials(certificates, devices),
        enroll=None if address is None else port_credentials(certificates, None),
        enroll_address=address or ("", 0),
        authority=authority,
        days=settings.certificate_days,
        certificates=certificates,
        hosts=hosts,
    )


def enroll_address(settings: ServeSettings, host: str, port: int) -> tuple[str, int] | None:
    """Where devices enrol: what was said, or the port after the first one; None for nowhere.

    Raises:
        UsageError: It is no address.
    """
    said = settings.enroll_listen
    if said == NO_ENROL:
        return None
    if not said:
        return host, port + 1 if 0 < port < 65535 else 0
    own, colon, number = said.rpartition(":")
    own = own.removeprefix("[").removesuffix("]")
    if not colon or not own or not number.isdecimal() or int(number) > 65535:
        raise UsageError(f"{said!r} is not HOST:PORT", hint="for instance --enroll-listen 0.0.0.0:7444, or `off`")
    return own, int(number)


def _brought(settings: ServeSettings) -> BroughtCertificates | None:
    if settings.tls_cert is None or settings.tls_key is None:
        return None
    return BroughtCertificates(settings.tls_cert, settings.tls_key)


def _new_name() -> str:
    return f"device-{secrets.token_hex(4)}"

"""What `edgeloop device enroll` does, and how the other commands speak as the device that it made of a home."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import UsageError
from edge.home import DeviceHome
from edge.identity import enroll
from edge.identity.settings import settings_for
from edge.identity.store import IdentityStore
from edge.identity.types import EnrolmentFile, Identity
from edge.settings import AgentSettings
from edge.sync.credentials import ClientIdentity

if TYPE_CHECKING:
    from edge.identity.renewal import Renewal
    from edge.sync.grpc_transport import GrpcTransport

_TRY_OUT_S = 20.0
_PROBED = "metadata/timestamp.json"
"""Small, public, and asked for by every device: to hear that it is not there is an answer too."""


def enroll_device(home: Path, told: EnrolmentFile, *, replace: bool = False) -> tuple[Identity, bool]:
    """Makes a home a member of a fleet; see `edge.identity.enroll.enroll`.

    Raises:
        UsageError: Another process works in this home.
        EdgeloopError: As `edge.identity.enroll.enroll`.
    """
    from edge.sync.grpc_transport import GrpcTransport

    road = GrpcTransport(told.enroll_server, authority_pem=told.authority_pem.encode())
    with DeviceHome(folder=home).hold(), contextlib.closing(road) as transport:
        return enroll.enroll(
            home, told, transport, install_root=_root_keeper(home, told), install_key=_key_keeper(home), replace=replace
        )


def bring_certificate(home: Path, told: EnrolmentFile, *, key: Path, certificate: Path) -> Identity:
    """Makes a home a member by a key and certificate of its owner's.

    Raises:
        UsageError: A file cannot be read, or the two do not belong together.
        StorageError: The disk failed.
    """
    with DeviceHome(folder=home).hold():
        return enroll.bring(home, told, _read(key), _read(certificate), install_root=_root_keeper(home, told))


def enroll_by_words(
    file: Path | None,
    home: Path,
    *,
    ask: Callable[[], str],
    replace: bool,
    server: str | None,
    enroll_server: str | None,
    tls_ca: Path | None,
    code: str | None,
    device_id: str,
    channel: str,
    root: Path | None,
    certificate: Path | None,
    key: Path | None,
) -> tuple[Identity, bool]:
    """Enrols as the words of a command say: by a file, by a code, or by a certificate.

    Args:
        file: An enrolment file, or None where the other words stand for it.
        home: The device's home.
        ask: Asks a person for the code.
        replace: Whether a home that is enrolled already becomes another device.
        server: `host:port` of the fleet.
        enroll_server: `host:port` where devices enrol, None for the port after `server`'s.
        tls_ca: Authority of the server.
        code: The one-time code, None to ask for it.
        device_id: The wished name, empty for any.
        channel: The update channel, empty for what the file says.
        root: Trusted root of the fleet's releases, None for what the file says.
        certificate: A certificate of the owner's.
        key: Its private key.

    Returns:
        Who the device is, and whether it has become so just now.

    Raises:
        UsageError: Words are missing or contradict each other.
        EdgeloopError: As `enroll_device`.
    """
    if (certificate is None) != (key is None):
        raise UsageError("a certificate needs its key", hint="give both --certificate and --key")
    if file is not None:
        told = enroll.read_enrolment_file(file)
    elif server and tls_ca is not None:
        given = "" if certificate is not None else code or ask()
        told = _told_by_hand(server, enroll_server, tls_ca, given)
    else:
        raise UsageError("which fleet?", hint="give an enrolment FILE, or --server and --tls-ca")
    root_json = _read(root).decode(errors="replace") if root is not None else told.root_json
    told = dataclasses.replace(
        told, device_id=device_id or told.device_id, channel=channel or told.channel, root_json=root_json
    )
    if certificate is None or key is None:
        return enroll_device(home, told, replace=replace)
    return bring_certificate(home, told, key=key, certificate=certificate), True


def _told_by_hand(server: str, enroll_server: str | None, tls_ca: Path, code: str) -> EnrolmentFile:
    host, colon, port = server.rpartition(":")
    if not colon or not host or not port.isdecimal():
        raise UsageError(f"{server!r} is not a server address", hint="write host:port")
    return EnrolmentFile(
        server=server,
        enroll_server=enroll_server or f"{host}:{int(port) + 1}",
        authority_pem=_read(tls_ca).decode(errors="replace"),
        code=code,
    )


def as_enrolled(settings: AgentSettings) -> AgentSettings:
    """The settings of a device, as its identity says where nobody said otherwise.

    Raises:
        UsageError: It was told another name than it is known by.
        StorageError: The identity cannot be read.
    """
    identity = IdentityStore(settings.home).read()
    return settings if identity is None else settings_for(identity, settings)


def client_identity(home: Path) -> ClientIdentity | None:
    """As whom the device of a home speaks; None before it was enrolled."""
    identity = IdentityStore(home).read()
    return None if identity is None else credentials_of(identity)


def credentials_of(identity: Identity) -> ClientIdentity:
    """An identity as a channel wants it."""
    return ClientIdentity(
        device_id=identity.device_id,
        key_pem=identity.key_pem.encode(),
        certificate_pem=identity.certificate_pem.encode(),
        authority_pem=identity.authority_pem.encode(),
    )


def renewal_for(
    settings: AgentSettings, transport: GrpcTransport, *, say: Callable[[str], None], jitter: float
) -> Renewal | None:
    """What keeps a device's certificate fresh; None for one that was never enrolled.

    Args:
        settings: What the device was told.
        transport: The road of its agent.
        say: Told what a person should know.
        jitter: A number in [0, 1].
    """
    from edge.identity.renewal import Renewal

    store = IdentityStore(settings.home)
    identity = store.read()
    if identity is None:
        return None

    def try_out(fresh: Identity) -> None:
        from edge.sync.grpc_transport import GrpcTransport

        own = credentials_of(fresh)
        road = GrpcTransport(settings.server, tls_ca=settings.tls_ca, identity=own, timeout_s=_TRY_OUT_S)
        with contextlib.closing(road), contextlib.suppress(FileNotFoundError):
            next(iter(road.fetch(_PROBED, offset=0)), b"")

    return Renewal(
        store,
        identity,
        try_out=try_out,
        switch=lambda fresh: transport.switch(credentials_of(fresh)),
        say=say,
        jitter=jitter,
    )


def _root_keeper(home: Path, told: EnrolmentFile) -> Callable[[Path], None]:
    def keep(file: Path) -> None:
        from edge.update.trust import TrustStore

        TrustStore(home, None, channel=told.channel or "stable").install_root(file)

    return keep


def _key_keeper(home: Path) -> Callable[[str], None]:
    def keep(text: str) -> None:
        from edge.update.encryption import install_key

        install_key(home, text)

    return keep


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise UsageError(f"cannot read {path}: {(cause.strerror or 'no reason given').lower()}") from cause

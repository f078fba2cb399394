"""A device gets in: makes its key, gives its code, keeps what it is given.

Killed at any point, the same command goes on: the key is kept before the code is shown, and the fleet takes a code a
second time from the key that it was used by. The identity is the last thing that is written, and is written whole.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edge import jsonvalue
from edge.errors import FormatError, UsageError
from edge.identity import request
from edge.identity.store import IdentityStore
from edge.identity.types import EnrolmentFile, Identity
from edge.sync.types import Enrolment
from edge.wire import limits

_BEGIN = "-----BEGIN CERTIFICATE-----"
_END = "-----END CERTIFICATE-----"


class EnrolTransport(Protocol):
    """The road to the server for somebody without a certificate."""

    def enroll(self, code: str, device_id: str, csr_pem: bytes) -> Enrolment:
        """Gives a one-time code for a certificate."""
        ...


def enroll(
    home: Path,
    told: EnrolmentFile,
    transport: EnrolTransport,
    *,
    install_root: Callable[[Path], None],
    install_key: Callable[[str], None],
    replace: bool = False,
) -> tuple[Identity, bool]:
    """Makes a home a member of a fleet.

    Args:
        home: The device's home, held by the caller.
        told: What somebody was given for this device.
        transport: The road to `told.enroll_server`.
        install_root: Keeps a trusted root, as `TrustStore.install_root`; the same again changes nothing.
        install_key: Keeps the key that opens encrypted models.
        replace: Whether a home that is enrolled already becomes another device.

    Returns:
        Who the device is, and whether it has become so just now.

    Raises:
        RefusedError: The code is not good.
        RoadError: The server cannot be reached; the same command tries again.
        UsageError: The home trusts another fleet's releases.
        StorageError: The disk failed; the same command tries again.
    """
    store = IdentityStore(home)
    present = None if replace else store.read()
    if told.root_json:
        _install(told.root_json, install_root)
    if told.fleet_key:
        install_key(told.fleet_key)
    if present is not None:
        store.forget_pending_key()
        return present, False
    key = store.pending_key(request.new_key)
    answer = transport.enroll(told.code, told.device_id, request.signing_request(key))
    identity = identity_of(answer, key, told)
    store.write(identity)
    return identity, True


def bring(
    home: Path, told: EnrolmentFile, key_pem: bytes, certificate_pem: bytes, *, install_root: Callable[[Path], None]
) -> Identity:
    """Makes a home a member by a key and a certificate that somebody else made; whoever did renews them too.

    Raises:
        UsageError: They do not belong together, or no name was given.
        StorageError: The disk failed.
    """
    if not told.device_id:
        raise UsageError("a certificate of your own needs a name", hint="give --device-id as it was registered")
    if not request.belong_together(key_pem, certificate_pem):
        raise UsageError("the certificate is not for this private key", hint="give the two that belong together")
    if told.root_json:
        _install(told.root_json, install_root)
    not_before, not_after = request.lifetime(certificate_pem)
    identity = Identity(
        device_id=told.device_id,
        key_pem=key_pem.decode(),
        certificate_pem=certificate_pem.decode(),
        authority_pem=told.authority_pem,
        server=told.server,
        channel=told.channel,
        not_before=not_before,
        not_after=not_after,
        is_brought=True,
    )
    IdentityStore(home).write(identity)
    return identity


def identity_of(answer: Enrolment, key_pem: bytes, told: EnrolmentFile) -> Identity:
    """What an enrolment makes of a device. It goes on trusting the authorities that it was told of by a person."""
    not_before, not_after = request.lifetime(answer.certificate_pem)
    return Identity(
        device_id=answer.device_id,
        key_pem=key_pem.decode(),
        certificate_pem=answer.certificate_pem.decode(),
        authority_pem=joined(told.authority_pem, answer.authority_pem.decode()),
        server=told.server,
        channel=told.channel,
        not_before=not_before,
        not_after=not_after,
    )


def joined(*pems: str) -> str:
    """Certificates of several PEM texts, each once."""
    found: list[str] = []
    for pem in pems:
        for part in pem.split(_END)[:-1]:
            begin = part.find(_BEGIN)
            block = f"{part[begin:].strip()}\n{_END}\n"
            if begin >= 0 and block not in found:
                found.append(block)
    return "".join(found)


def read_enrolment_file(path: Path) -> EnrolmentFile:
    """What `edgeloop fleet enroll --out` wrote.

    Raises:
        UsageError: It cannot be read, or is none.
    """
    try:
        data = path.read_bytes()
    except OSError as cause:
        raise UsageError(f"cannot read {path}: {(cause.strerror or 'no reason given').lower()}") from cause
    try:
        told = jsonvalue.load(EnrolmentFile, data, where=path.name)
        limits.check_pem(told.authority_pem.encode(), f"{path.name}: authority_pem")
    except FormatError:  # its words might show the code
        hint = "take one that `edgeloop fleet enroll --out` wrote"
        raise UsageError(f"{path} is no enrolment file", hint=hint) from None
    if told.format != 1:
        raise UsageError(f"{path} was written by a newer edgeloop", hint="update edgeloop on this device")
    return told


def _install(root_json: str, install_root: Callable[[Path], None]) -> None:
    with tempfile.TemporaryDirectory(prefix="edgeloop-") as scratch:
        file = Path(scratch) / "root.json"
        file.write_text(root_json)
        install_root(file)

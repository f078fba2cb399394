"""The signing keys of a repository: ed25519, one PKCS8 file a key, encrypted with a passphrase where one is given.

A folder holds `<role>.pem` and, where a role has more keys, `<role>-<begin of its id>.pem`. Which of them count is said
by the newest root: files of keys that it does not name are read over. The keys of root may lie elsewhere, on a stick
that is plugged in for the ceremony alone. Keys are never printed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge import durable
from edge.errors import StorageError, UsageError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Root

ROLES = ("root", "targets", "snapshot", "timestamp")
ONLINE_ROLES = ROLES[1:]
PASSPHRASE_VARIABLE = "EDGELOOP_PUBLISH_PASSPHRASE"  # noqa: S105 - where to look, not what to find there
MAX_KEYS = 16
"""Most keys of one role."""
_RESTORE = "restore the keys folder from a backup"
Signers = Mapping[str, Sequence["CryptoSigner"]]
Ask = Callable[[Path], bytes | None]
"""Gives the passphrase of an encrypted key file, or None where there is none."""


def passphrase_of(variable: str) -> Ask:
    """Asks the environment."""
    from cloud_train.settings import secret_from

    return lambda path: secret_from(variable)


def create_key(folder: Path, role: str, *, passphrase: bytes | None = None) -> CryptoSigner:
    """Makes one more key of a role, readable by its owner only.

    Args:
        folder: Created when missing.
        role: Of `ROLES`.
        passphrase: Encrypts it; None leaves it readable by whoever can read the file.

    Raises:
        StorageError: The folder cannot be written.
    """
    from securesystemslib.signer import CryptoSigner

    durable.make_folder(folder)
    try:
        folder.chmod(0o700)
    except OSError as cause:
        raise durable.storage_error(folder, cause) from cause
    signer = CryptoSigner.generate_ed25519()
    file = folder / f"{role}.pem"
    if file.exists():
        file = folder / f"{role}-{signer.public_key.keyid[:8]}.pem"
    durable.write_bytes(file, _pem(signer, passphrase), point=f"key.{role}", mode=0o600)
    return signer


def create_first_keys(folder: Path, roles: Sequence[str], *, passphrase: bytes | None = None) -> None:
    """Makes the first key of each role that has none yet; what a killed process has made already stays."""
    for role in roles:
        if not key_files(folder, role):
            create_key(folder, role, passphrase=passphrase)


def key_files(folder: Path, role: str) -> tuple[Path, ...]:
    """The key files of a role, the first one first."""
    first = folder / f"{role}.pem"
    others = sorted(folder.glob(f"{role}-*.pem")) if folder.is_dir() else []
    return (*((first,) if first.exists() else ()), *others)


def read_keys(folder: Path, role: str, *, ask: Ask | None = None) -> tuple[CryptoSigner, ...]:
    """Every key of a role in a folder.

    Raises:
        StorageError: A key is damaged.
        UsageError: A key is encrypted, and its passphrase is missing or wrong.
    """
    return tuple(_load(path, ask or passphrase_of(PASSPHRASE_VARIABLE)) for path in key_files(folder, role))


def load_signers(folder: Path, root: Root, *, ask: Ask | None = None) -> Signers:
    """The keys that count: all that the online roles need, and those of root that happen to be here.

    Args:
        folder: The keys folder.
        root: Says which keys count and how many must sign.
        ask: Gives passphrases; None for the environment.

    Raises:
        StorageError: A key is missing or damaged.
        UsageError: A key is encrypted, and its passphrase is missing or wrong.
    """
    signers = {}
    for role in ROLES:
        named = root.roles[role].keyids
        signers[role] = tuple(key for key in read_keys(folder, role, ask=ask) if key.public_key.keyid in named)
    for role in ONLINE_ROLES:
        if len(signers[role]) < root.roles[role].threshold:
            raise StorageError(
                f"the signing key {folder / f'{role}.pem'} is missing, or not the one that root names", hint=_RESTORE
            )
    return signers


def _pem(signer: CryptoSigner, passphrase: bytes | None) -> bytes:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    if passphrase is None:
        return signer.private_bytes
    key: Any = load_pem_private_key(signer.private_bytes, password=None)
    return bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, BestAvailableEncryption(passphrase)))


def _load(path: Path, ask: Ask) -> CryptoSigner:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    data = _read(path)
    is_encrypted = b"BEGIN ENCRYPTED PRIVATE KEY" in data
    password = ask(path) if is_encrypted else None
    if is_encrypted and not password:
        hint = f"put it into {PASSPHRASE_VARIABLE}, or name another variable with --passphrase-env"
        raise UsageError(f"the signing key {path} is encrypted, and there is no passphrase", hint=hint)
    try:
        key = load_pem_private_key(data, password=password)
    except (ValueError, TypeError) as cause:
        if is_encrypted:
            raise UsageError(f"the signing key {path} cannot be opened with this passphrase") from cause
        raise StorageError(f"the signing key {path} is damaged", hint=_RESTORE) from cause
    if not isinstance(key, Ed25519PrivateKey):
        raise StorageError(f"the signing key {path} is not an ed25519 key", hint=_RESTORE)
    return CryptoSigner(key)


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise StorageError(f"cannot read the signing key {path}", hint=_RESTORE) from cause

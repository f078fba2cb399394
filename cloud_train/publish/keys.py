"""The signing keys of a repository: one ed25519 key a role, unencrypted PKCS8 in the store's `keys` folder.

Good for one machine and for trying edgeloop out; whoever can read the folder can sign releases. Keys are never
printed, and never leave the folder.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge import durable
from edge.errors import StorageError

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner

ROLES = ("root", "targets", "snapshot", "timestamp")


def create_signers(folder: Path) -> dict[str, CryptoSigner]:
    """Makes the keys that are missing, readable by their owner only.

    Args:
        folder: Created when missing.

    Returns:
        Role to signer.

    Raises:
        StorageError: The folder cannot be written, or a key in it is damaged.
    """
    from securesystemslib.signer import CryptoSigner

    durable.make_folder(folder)
    folder.chmod(0o700)
    for role in ROLES:
        if not _file(folder, role).exists():
            durable.write_bytes(
                _file(folder, role), CryptoSigner.generate_ed25519().private_bytes, point=f"key.{role}", mode=0o600
            )
    return load_signers(folder)


def load_signers(folder: Path) -> dict[str, CryptoSigner]:
    """Reads the keys.

    Raises:
        StorageError: A key is missing or damaged.
    """
    return {role: _load(_file(folder, role)) for role in ROLES}


def _load(path: Path) -> CryptoSigner:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    try:
        key = load_pem_private_key(path.read_bytes(), password=None)
    except OSError as cause:
        raise StorageError(
            f"cannot read the signing key {path}", hint="restore the keys folder from a backup"
        ) from cause
    except (ValueError, TypeError) as cause:
        raise StorageError(
            f"the signing key {path} is damaged", hint="restore the keys folder from a backup"
        ) from cause
    if not isinstance(key, Ed25519PrivateKey):
        raise StorageError(
            f"the signing key {path} is not an ed25519 key", hint="restore the keys folder from a backup"
        )
    return CryptoSigner(key)


def _file(folder: Path, role: str) -> Path:
    return folder / f"{role}.pem"

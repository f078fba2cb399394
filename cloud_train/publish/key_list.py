"""Who may sign what, and where those keys are: for people, without opening a single key."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_train.publish import metadata as signed_metadata
from cloud_train.publish.keys import ROLES, key_files
from cloud_train.publish.repository import KEYS_NAME, REPOSITORY_NAME
from edge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedKey:
    """One key that counts.

    Attributes:
        keyid: Its id, hex.
        place: The file of its private half; empty where that is elsewhere, or encrypted.
    """

    keyid: str
    place: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ListedRole:
    """One role.

    Attributes:
        role: Its name.
        version: Of its newest metadata.
        expires: The day on which those expire, UTC.
        threshold: How many keys must sign.
        keys: Those that may.
    """

    role: str
    version: int
    expires: str
    threshold: int
    keys: tuple[ListedKey, ...]


def list_roles(store: Path, root_folders: Sequence[Path] = ()) -> tuple[ListedRole, ...]:
    """Every role by the newest metadata.

    Args:
        store: The store folder.
        root_folders: Where keys of root may be besides the store.

    Raises:
        UsageError: Nothing was ever published there.
        StorageError: Metadata are damaged.
    """
    metadata = store / REPOSITORY_NAME / "metadata"
    if not signed_metadata.exists(metadata):
        raise UsageError(f"{store} has no repository", hint="make one with `edgeloop publish keys init`")
    state = signed_metadata.read_state(metadata)
    listed = []
    for role in ROLES:
        signed, entry = getattr(state, role), state.root.roles[role]
        folders = (store / KEYS_NAME, *(root_folders if role == "root" else ()))
        places = {keyid: str(file) for folder in folders for file in key_files(folder, role) for keyid in _ids(file)}
        keys = tuple(ListedKey(keyid=keyid, place=places.get(keyid, "")) for keyid in entry.keyids)
        listed.append(
            ListedRole(
                role=role,
                version=signed.version,
                expires=f"{signed.expires:%Y-%m-%d}",
                threshold=entry.threshold,
                keys=keys,
            )
        )
    return tuple(listed)


def _ids(file: Path) -> tuple[str, ...]:
    """The id of a key, where the file shows it without a passphrase."""
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import SSlibKey

    try:
        key: Any = load_pem_private_key(file.read_bytes(), password=None)
        return (SSlibKey.from_crypto(key.public_key()).keyid,)
    except (OSError, ValueError, TypeError):
        return ()

"""The key that signs the cookies of the pages: a file of the store, or a secret that several servers share."""

from __future__ import annotations

import secrets
from pathlib import Path

from cloud_train.api.session import LEAST_KEY_BYTES
from cloud_train.store.lock import exclusive
from edge import durable
from edge.errors import UsageError

KEY_FILE = "console.key"
_MODE = 0o600


def session_key(store: Path, given: Path | None = None) -> bytes:
    """Reads the key; makes one in the store folder where none is given and none is there.

    Args:
        store: The store folder.
        given: A file of at least 32 bytes that all servers of the fleet share; None for one of this store's own.

    Raises:
        UsageError: The file is missing or too short.
        StorageError: The store cannot be written.
    """
    path = given if given is not None else store / KEY_FILE
    if given is None:
        durable.make_folder(store)
        with exclusive(store / (KEY_FILE + ".lock")):
            if not path.exists():
                durable.write_bytes(path, secrets.token_hex(LEAST_KEY_BYTES).encode(), point="console.key", mode=_MODE)
    try:
        key = path.read_bytes().strip()
    except OSError as cause:
        hint = "give a readable file of 32 bytes or more"
        raise UsageError(
            f"cannot read the console's key {path}: {(cause.strerror or '').lower()}", hint=hint
        ) from cause
    if len(key) < LEAST_KEY_BYTES:
        hint = "make one with: openssl rand -hex 32"
        raise UsageError(
            f"the console's key {path} has {len(key)} bytes, at least {LEAST_KEY_BYTES} are needed", hint=hint
        )
    return key

"""Where a device keeps its identity: one file of its home, replaced whole, readable by its owner only.

identity/identity.json   key, certificate, authority, server: all or nothing
identity/key.pem         the key of an enrolment that has no answer yet
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from edge import durable, jsonvalue
from edge.errors import DamagedError, FormatError, StorageError
from edge.identity.types import Identity
from edge.wire import limits

FOLDER = "identity"
_ANEW = "enrol the device anew with --replace"
_MAX_BYTES = 4 * limits.MAX_PEM_BYTES


class IdentityStore:
    """The identity of one home.

    Args:
        home: The device's home.
    """

    def __init__(self, home: Path) -> None:
        self._folder = home / FOLDER
        self._file = self._folder / "identity.json"
        self._key = self._folder / "key.pem"

    def read(self) -> Identity | None:
        """Who the device is, None before it was enrolled.

        Raises:
            DamagedError: The file is not as it was written.
            StorageError: It cannot be read.
        """
        data = _read(self._file)
        if data is None:
            return None
        try:
            return jsonvalue.load(Identity, data, where=str(self._file))
        except FormatError:  # its words might show the key
            raise DamagedError(f"the identity in {self._folder} is damaged", hint=_ANEW) from None

    def write(self, identity: Identity) -> None:
        """Replaces the identity, whole or not at all, and forgets the key that waited for an answer.

        Raises:
            StorageError: The disk failed; the one before stands.
        """
        self._make_folder()
        durable.write_bytes(self._file, jsonvalue.pretty_bytes(identity), point="identity", mode=0o600)
        try:
            self._key.unlink(missing_ok=True)
        except OSError as cause:
            raise durable.storage_error(self._key, cause) from cause

    def pending_key(self, make: Callable[[], bytes]) -> bytes:
        """The key of an enrolment that has no answer yet; made and kept when there is none.

        Raises:
            StorageError: The disk failed.
        """
        found = _read(self._key)
        if found is None:
            found = make()
            self._make_folder()
            durable.write_bytes(self._key, found, point="identity.key", mode=0o600)
        return found

    def forget_pending_key(self) -> None:
        """Drops a key that no answer is awaited for."""
        self._key.unlink(missing_ok=True)

    def _make_folder(self) -> None:
        durable.make_folder(self._folder)
        try:
            self._folder.chmod(0o700)
        except OSError as cause:
            raise durable.storage_error(self._folder, cause) from cause
        durable.sweep(self._folder)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES)
    except FileNotFoundError:
        return None
    except OSError as cause:
        message = f"cannot read {path}: {os.strerror(cause.errno or 0).lower()}"
        raise StorageError(message, hint="check the owner and permissions of the folder") from cause

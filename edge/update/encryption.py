"""The fleet's key on a device: one file of the home, its owner's only, never printed."""

from __future__ import annotations

from pathlib import Path

from edge import durable
from edge.bundle.encryption import KEY_IN_HOME, Keys, parse_keys, read_keys, unseal
from edge.errors import BundleError


def key_file(home: Path) -> Path:
    """Where the key lies in a device's home."""
    return home / KEY_IN_HOME


def install_key(home: Path, text: str) -> None:
    """Keeps the fleet's key as it came with the enrolment; replaces the one before.

    Args:
        home: The device's home.
        text: One key a line, 64 hex digits, the newest first.

    Raises:
        BundleError: The text holds no key.
        StorageError: The disk failed.
    """
    parse_keys(text, where="the enrolment")
    file = key_file(home)
    durable.make_folder(file.parent)
    durable.write_bytes(file, ("\n".join(text.split()) + "\n").encode(), point="identity.fleet_key", mode=0o600)


def load_key(home: Path) -> Keys | None:
    """The keys of this device by their ids, or None where it has none.

    Raises:
        BundleError: The file is damaged or cannot be read.
    """
    return read_keys(key_file(home)) if key_file(home).exists() else None


def decrypt(data: bytes, keys: Keys | None, digest: str, *, name: str = "the model") -> bytes:
    """Opens a sealed file in memory.

    Args:
        data: The sealed file.
        keys: From `load_key`.
        digest: SHA-256 of the plain file, hex.
        name: For errors.

    Raises:
        BundleError: This device has no such key, or the file is damaged.
    """
    if keys is None:
        raise BundleError(f"{name} is encrypted, and this device has no fleet key", hint="enrol the device again")
    return unseal(data, keys, digest=digest, name=name)

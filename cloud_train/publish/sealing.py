"""Encrypting the models of a bundle to the fleet's key, once for each model: the same model travels once.

The key and the notes of what is encrypted already lie in the publisher's keys folder, which is never served:
    fleet.key                    one key a line, 64 hex digits, the newest first; a device gets the same file
    sealed/<key id>/<digest>     digest and size of the encrypted file of that plain digest
"""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from edge import durable, jsonvalue
from edge.bundle.encryption import KEY_BYTES, key_id, parse_keys, seal
from edge.bundle.reader import Bundle
from edge.bundle.sealed import SealedFile
from edge.errors import BundleError, FormatError, StorageError

KEY_NAME = "fleet.key"
_NONCE_BYTES = 12


def fleet_key_text(keys_folder: Path) -> str:
    """The text that a device keeps as its fleet key, empty while the fleet has none.

    Raises:
        StorageError: The file cannot be read or is damaged.
    """
    file = keys_folder / KEY_NAME
    try:
        text = file.read_text() if file.exists() else ""
        if text:
            parse_keys(text, where=str(file))
    except (OSError, UnicodeDecodeError, BundleError) as cause:
        raise StorageError(f"cannot read the fleet key {file}", hint="restore it from a backup") from cause
    return text


def make_fleet_key(keys_folder: Path, *, key: bytes | None = None) -> bytes:
    """Makes a new fleet key and keeps those before it; what is encrypted from now on is encrypted to the new one.

    Args:
        keys_folder: The publisher's keys folder; created when missing.
        key: 32 bytes; None for random ones.

    Raises:
        StorageError: The folder cannot be written.
    """
    made = key or secrets.token_bytes(KEY_BYTES)
    durable.make_folder(keys_folder)
    text = "\n".join([made.hex(), *fleet_key_text(keys_folder).split()]) + "\n"
    durable.write_bytes(keys_folder / KEY_NAME, text.encode(), point="key.fleet", mode=0o600)
    return made


def seal_models(bundle: Bundle, keys_folder: Path, files_folder: Path) -> dict[str, SealedFile]:
    """Encrypts the model files of a bundle into the published files; those that are there already are not made again.

    Args:
        bundle: An open bundle, itself not encrypted.
        keys_folder: Where the key is; it is made when missing.
        files_folder: Where published files lie by digest.

    Returns:
        Name of each model file to what lies in its place.

    Raises:
        BundleError: A model is too large, or changed while it was published.
        StorageError: The disk is full or failing, or the key is damaged.
    """
    text = fleet_key_text(keys_folder)
    key = bytes.fromhex(text.split()[0]) if text else make_fleet_key(keys_folder)
    notes = keys_folder / "sealed" / key_id(key).hex()
    durable.make_folder(notes)
    names = {artifact.file for stage in bundle.manifest.stages for artifact in stage.artifacts}
    plain = {entry.name: entry.sha256 for entry in bundle.manifest.files if entry.name in names}
    return {name: _sealed(bundle, name, digest, key, notes, files_folder) for name, digest in plain.items()}


def _sealed(bundle: Bundle, name: str, digest: str, key: bytes, notes: Path, files: Path) -> SealedFile:
    known = _note(notes / digest)
    if known is not None and _has(files / known.sha256, known.size_bytes):
        return known
    plain = bundle.read(name)
    if hashlib.sha256(plain).hexdigest() != digest:
        raise BundleError(f"{bundle.path(name)} changed while it was published", hint="publish again")
    data = seal(plain, key, nonce=secrets.token_bytes(_NONCE_BYTES), digest=digest)
    made = SealedFile(sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
    durable.write_bytes(files / made.sha256, data, point="publish.sealed")
    durable.write_bytes(notes / digest, jsonvalue.canonical_bytes(made), point="publish.sealed_note", mode=0o600)
    return made


def _note(file: Path) -> SealedFile | None:
    try:
        return jsonvalue.load(SealedFile, file.read_bytes(), where=file.name)
    except (OSError, FormatError):
        return None  # never made, or torn: the model is encrypted once more


def _has(file: Path, size_bytes: int) -> bool:
    return file.is_file() and file.stat().st_size == size_bytes

"""Snapshots as files: written once under their digest, checked at every reading.

Format page: docs/formats/snapshot.md.
"""

from __future__ import annotations

import hashlib
from pathlib import Path

from cloud_train.store.blobs import is_digest
from cloud_train.types import DatasetSnapshot, Split
from edge import jsonvalue
from edge.durable import make_folder, sweep, write_bytes
from edge.errors import FormatError, UsageError

FORMAT_VERSION = 1
MAX_SNAPSHOT_BYTES = 1_000_000_000


def snapshot_digest(snapshot: DatasetSnapshot) -> str:
    """SHA-256 of the snapshot's canonical bytes, hex."""
    return jsonvalue.digest_of(snapshot)


def save_snapshot(snapshot: DatasetSnapshot, folder: Path) -> str:
    """Writes `<digest>.json` durably, whole or not at all; harmless when it stands.

    Args:
        snapshot: What to write.
        folder: Created when missing.

    Returns:
        The digest.

    Raises:
        StorageError: The folder cannot be written.
    """
    make_folder(folder)
    sweep(folder)
    data = jsonvalue.canonical_bytes(snapshot)
    digest = hashlib.sha256(data).hexdigest()
    path = folder / f"{digest}.json"
    if not path.exists() or path.read_bytes() != data:
        write_bytes(path, data, point="snapshot")
    return digest


def load_snapshot(path: Path) -> DatasetSnapshot:
    """Reads and checks a snapshot.

    Args:
        path: The file; where it is named by a digest, its content must have it.

    Raises:
        UsageError: No such file.
        FormatError: Damaged, of another format version, or not consistent.
    """
    try:
        data = path.read_bytes()
    except OSError as cause:
        hint = "make one with `edgeloop data snapshot`"
        raise UsageError(f"{path}: no snapshot can be read there", hint=hint) from cause
    if is_digest(path.stem) and hashlib.sha256(data).hexdigest() != path.stem:
        raise FormatError(f"{path}: damaged: its content does not match its name", hint="make the snapshot again")
    value = jsonvalue.parse(data, where=path.name, max_bytes=MAX_SNAPSHOT_BYTES)
    snapshot = jsonvalue.from_json(DatasetSnapshot, value, where=path.name)
    check_snapshot(snapshot, where=path.name)
    return snapshot


def check_snapshot(snapshot: DatasetSnapshot, *, where: str) -> None:
    """Holds a snapshot against its format page.

    Raises:
        FormatError: The first rule that is broken.
    """
    if snapshot.format_version != FORMAT_VERSION:
        hint = "use the edgeloop version that wrote it"
        raise FormatError(
            f"{where}: format_version {snapshot.format_version}, only {FORMAT_VERSION} is read", hint=hint
        )
    if list(snapshot.classes) != sorted(set(snapshot.classes)):
        raise FormatError(f"{where}: classes must be sorted and unique")
    digests = [item.digest for item in snapshot.items]
    if digests != sorted(set(digests)):
        raise FormatError(f"{where}: items must be sorted by digest and unique")
    splits: dict[str, Split] = {}
    for item in snapshot.items:
        if not (is_digest(item.digest) and is_digest(item.group)):
            raise FormatError(f"{where}: item {item.digest!r}: digest and group must be SHA-256 in hex")
        if splits.setdefault(item.group, item.split) is not item.split:
            raise FormatError(f"{where}: group {item.group} lies in two splits")
        if item.split is not Split.TEST and item.label not in snapshot.classes:
            raise FormatError(f"{where}: item {item.digest}: {item.label!r} is not one of the classes")

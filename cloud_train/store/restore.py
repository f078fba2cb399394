"""Puts a backup into an empty store, whole or not at all."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Iterator
from itertools import chain, islice
from pathlib import Path, PurePosixPath

from cloud_train.fleet_types import AuditEntry
from cloud_train.store.backup import LOCAL, REPOSITORY, SECRET
from cloud_train.store.backup_file import (
    BLOBS,
    FILES,
    TABLES,
    BackupManifest,
    Progress,
    open_backup,
    verify,
)
from cloud_train.store.dump import is_empty, loading
from cloud_train.store.location import read_location
from cloud_train.store.named import share_snapshots
from cloud_train.store.opened import RESTORE_MARK, Store
from cloud_train.store.published import copy_repository
from cloud_train.store.rows import fields_of
from edge import durable, jsonvalue
from edge.errors import FormatError, StorageError

_GROUP_BYTES = 8 << 20
_RESTORED = "store.restored"
_TABLE = re.compile(r"tables/([a-z_]+)\.jsonl")


def restore(backup: Path, root: Path, *, progress: Progress = lambda done, total: None) -> BackupManifest:
    """Restores a backup into an empty store, wherever its `store.toml` says that this lies.

    Every byte of the file is checked before anything is written. Then come pictures, files, what is published, and last
    the tables, in one transaction. Until its end the store does not open; the same call after a kill begins anew.

    Args:
        backup: What `back_up` made.
        root: Folder of the store, empty but for its `store.toml`.
        progress: Told files done, and files in all.

    Raises:
        FormatError: The backup is none, not whole, or damaged; nothing was written.
        StorageError: The store is not empty, or fails.
    """
    manifest = verify(backup, progress=progress)
    with Store(read_location(root)) as store:
        if not _begin(store, manifest):
            _put_blobs(backup, store, manifest, progress)
            _put_files(backup, store)
            share_snapshots(store)
            copy_repository(store.layout.repository, store.published)
            _load_tables(backup, store, manifest)
        durable.reached("restore.done:before")
        (root / RESTORE_MARK).unlink()
        durable.fsync_folder(root)
    return manifest


def _begin(store: Store, manifest: BackupManifest) -> bool:
    """Refuses a store that holds something, unless it is of the same restore, broken off.

    Returns:
        Whether that one had come to its end: the tables, which go in last and at once, are there.
    """
    root = store.layout.root
    mark, name = root / RESTORE_MARK, jsonvalue.digest_of(manifest).encode()
    again = mark.exists()
    if again and mark.read_bytes() != name:
        raise StorageError(f"another backup is being restored into {root}", hint="restore that one, or use a new store")
    empty = is_empty(store.database)
    loaded = again and not empty and _is_loaded(store, name)
    if not empty and not loaded:
        raise StorageError(f"{store.database.name} is not empty", hint="restore into a new store")
    if not again:
        _require_empty_places(store)
        durable.make_folder(root)
        durable.write_bytes(mark, name, point="restore.mark")
    return loaded


def _is_loaded(store: Store, name: bytes) -> bool:
    """By the entry that came in the tables' own transaction, not by somebody else's rows."""
    newest = store.audit.newest(limit=1, action=_RESTORED)
    return bool(newest) and newest[0].subject == f"backup:{name.decode()}"


def _require_empty_places(store: Store) -> None:
    root = store.layout.root
    full = [name for name in (*LOCAL, *SECRET, REPOSITORY) if any((root / name).glob("*"))]
    if next(iter(store.blobs.digests()), None) is not None:
        full.append("blobs")
    if next(iter(store.published.list()), None) is not None:
        full.append("what is published")
    if full:
        raise StorageError(f"{root} is not empty: it has {', '.join(full)}", hint="restore into a new store")


def _put_blobs(backup: Path, store: Store, manifest: BackupManifest, progress: Progress) -> None:
    group: dict[str, bytes] = {}
    size = 0
    for number, (digest, blocks) in enumerate(_named(backup, BLOBS)):
        group[digest] = b"".join(blocks)
        size += len(group[digest])
        if size >= _GROUP_BYTES:
            store.blobs.put_many(group)
            group, size = {}, 0
        progress(number + 1, manifest.num_blobs)
    store.blobs.put_many(group)


def _put_files(backup: Path, store: Store) -> None:
    for name, blocks in _named(backup, FILES):
        path = PurePosixPath(name)
        if path.parts[0] not in (*LOCAL, *SECRET, REPOSITORY) or ".." in path.parts or path.is_absolute():
            raise FormatError(f"{backup} holds a file that no store has: {name[:200]!r}")
        target = store.layout.root / path
        durable.make_folder(target.parent)
        if path.parts[0] in SECRET:
            target.parent.chmod(0o700)
        mode = 0o600 if path.parts[0] in SECRET else 0o644
        durable.write_chunks(target, blocks, point="restore.file", mode=mode)


def _load_tables(backup: Path, store: Store, manifest: BackupManifest) -> None:
    tables = _named(backup, TABLES)
    first = tuple(islice(tables, 1))  # walks past all pictures before the transaction begins, which may not idle
    with loading(store.database, manifest.revision) as loader:
        for name, blocks in chain(first, tables):
            found = _TABLE.fullmatch(TABLES + name)
            if found is None:
                raise FormatError(f"{backup} holds a table that no store has: {name[:200]!r}")
            loader.load(found[1], _lines(blocks))
        subject = f"backup:{jsonvalue.digest_of(manifest)}"
        entry = AuditEntry(at=time.time(), who="server", action=_RESTORED, subject=subject)
        if loader.has("audit"):  # not in the first schema
            loader.load("audit", (json.dumps(fields_of(entry)).encode(),))


def _named(backup: Path, prefix: str) -> Iterator[tuple[str, Iterator[bytes]]]:
    for name, blocks in open_backup(backup):
        if name.startswith(prefix):
            yield name.removeprefix(prefix), blocks


def _lines(blocks: Iterator[bytes]) -> Iterator[bytes]:
    rest = b""
    for block in blocks:
        *lines, rest = (rest + block).split(b"\n")
        yield from lines
    if rest:
        yield rest

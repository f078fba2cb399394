"""Which pictures something names: rows of any table, and snapshots of every folder that works with the pictures.

Snapshots lie in the folder of whoever made them, while the pictures may be shared. So each is copied beside the
pictures, to `snapshots/<digest>.json`, where every other folder can read it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

from cloud_train.store.opened import Store
from cloud_train.store.published import PublishedFolder
from edge.errors import DamagedError

COLUMN = "digest"
"""What every column is called that names a picture; digests of bundles are called otherwise."""
_IN_CLAUSE = 500


def share_snapshots(store: Store) -> None:
    """Copies this folder's snapshots beside the pictures; nothing to do where that is the same folder.

    Raises:
        StorageError: They cannot be written there.
    """
    shared, own = store.shared_snapshots, store.layout.snapshots
    if isinstance(shared, PublishedFolder) and shared.folder.resolve() == own.resolve():
        return
    there = dict(shared.list())
    for file in _files(own):
        if there.get(file.name) != file.stat().st_size:
            shared.take(file.name, file)


def named_in_snapshots(store: Store) -> frozenset[str]:
    """Every picture of a snapshot, of this folder or a shared one.

    Raises:
        DamagedError: One cannot be read, so nobody knows what it names.
        StorageError: The place of the pictures does not answer.
    """
    shared, own = store.shared_snapshots, set(_files(store.layout.snapshots))
    found = {digest for file in own for digest in _items(file.read_bytes(), str(file))}
    for name, _ in shared.list():
        if name.endswith(".json") and store.layout.snapshots / name not in own:
            found.update(_items(b"".join(shared.read(name)), f"shared {name}"))
    return frozenset(found)


def named_in_rows(store: Store, digests: Iterable[str]) -> frozenset[str]:
    """Those that a row of any table names."""
    from sqlalchemy import select

    from cloud_train.store.tables import TABLES

    wanted, found = sorted(set(digests)), set[str]()
    columns = [table.c[COLUMN] for table in TABLES.sorted_tables if COLUMN in table.c]
    with store.database.connect() as connection:
        for start in range(0, len(wanted), _IN_CLAUSE):
            some = wanted[start : start + _IN_CLAUSE]
            for column in columns:
                found.update(connection.execute(select(column).where(column.in_(some))).scalars())
    return frozenset(found)


def _files(folder: Path) -> list[Path]:
    return sorted(folder.glob("*.json"))


def _items(data: bytes, where: str) -> Iterator[str]:
    try:
        yield from [item["digest"] for item in json.loads(data)["items"]]
    except (ValueError, KeyError, TypeError) as cause:
        raise DamagedError(f"snapshot {where} is damaged", hint="restore it from a backup") from cause

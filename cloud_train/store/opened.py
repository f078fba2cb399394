"""A store, opened: the one way to its database, its pictures and what it publishes, wherever they lie."""

from __future__ import annotations

import threading
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING

from cloud_train.store.layout import StoreLayout
from cloud_train.store.location import StoreLocation, is_store, read_location
from edge.errors import StorageError, UsageError

if TYPE_CHECKING:
    from cloud_train.store.aside import Aside
    from cloud_train.store.audit import AuditLog
    from cloud_train.store.blobs import BlobStore
    from cloud_train.store.database import Database
    from cloud_train.store.published import PublishedFiles
    from cloud_train.store.sql import SqlMetaStore

RESTORE_MARK = "restoring"
"""Lies in a store folder while a backup is being restored into it."""


def open_store(root: Path, *, must_exist: bool = False) -> Store:
    """Opens the store of a folder.

    Each part is opened, and made when missing, when it is first asked for; so a command that needs pictures only works
    while the database is away.

    Args:
        root: The local folder; see `read_location` for how it says where the rest lies.
        must_exist: Refuses a folder that has never been a store.

    Raises:
        UsageError: It is no store, or `store.toml` or the environment name an impossible place.
        StorageError: A restore into it was not finished.
    """
    if must_exist and not is_store(root):
        raise UsageError(f"{root} is not a store", hint="give the folder that `edgeloop serve` runs on")
    if (root / RESTORE_MARK).exists():
        raise StorageError(f"a restore into {root} was not finished", hint="run the same restore again")
    return Store(read_location(root))


def open_blobs(folder: Path) -> BlobStore:
    """The pictures of a store, by its folder or by the `blobs` folder in it.

    Raises:
        UsageError: There is no such folder.
    """
    from cloud_train.store.blobs import FolderBlobStore

    root = folder.parent if folder.name == "blobs" else folder
    store = open_store(root) if is_store(root) else None
    if not folder.is_dir() or (store is not None and not store.has_pictures()):
        raise UsageError(f"{folder}: no such blob folder", hint="name the `blobs` folder of the store")
    return FolderBlobStore(folder) if store is None else store.blobs


class Store:
    """The parts of a store; close it, or use it as a context manager. Thread-safe. Made by `open_store`.

    Args:
        location: Where they are.
    """

    def __init__(self, location: StoreLocation) -> None:
        self.location = location
        self.layout = StoreLayout(root=location.root)
        self._guard = threading.RLock()

    @property
    def database(self) -> Database:
        """The tables.

        Raises:
            StorageError: It cannot be reached or opened, is damaged, or was written by a newer edgeloop.
        """
        with self._guard:
            return self._database

    @property
    def meta(self) -> SqlMetaStore:
        """Samples, answers, devices, releases. Raises as `database` does."""
        from cloud_train.store.sql import SqlMetaStore

        return SqlMetaStore(self.database)

    @property
    def audit(self) -> AuditLog:
        """Who did what. Raises as `database` does."""
        from cloud_train.store.audit import SqlAuditLog

        return SqlAuditLog(self.database)

    @property
    def blobs(self) -> BlobStore:
        """Pictures by digest."""
        with self._guard:
            return self._blobs

    @property
    def aside(self) -> Aside:
        """The same pictures by age, and those that are set aside."""
        from cloud_train.store.aside import FolderAside, ObjectAside
        from cloud_train.store.objects import ObjectPlace

        where, name = self.location.objects, self.layout.blobs.name
        return FolderAside(where / name) if isinstance(where, Path) else ObjectAside(ObjectPlace(f"{where}/{name}"))

    @property
    def shared_snapshots(self) -> PublishedFiles:
        """Snapshots beside the pictures, from every folder that works with these; see `named.py`."""
        return self._files(self.layout.snapshots.name)

    @property
    def published(self) -> PublishedFiles:
        """What devices fetch."""
        with self._guard:
            return self._published

    def has_pictures(self) -> bool:
        """Whether pictures were ever kept here; for an object store whether it may be so, without asking it."""
        where = self.location.objects
        return not isinstance(where, Path) or StoreLayout(root=where).blobs.is_dir()

    def check(self) -> None:
        """Asks every part whether it answers, so that a command fails at its start rather than in the middle.

        Raises:
            StorageError: One does not.
        """
        from cloud_train.store.objects import ObjectPlace

        if isinstance(self.location.objects, str):
            ObjectPlace(self.location.objects).check()
        _ = self.database, self.blobs, self.published

    def close(self) -> None:
        """Closes what was opened. Calling it twice is harmless."""
        with self._guard:
            if "_database" in self.__dict__:
                self._database.close()

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    @cached_property
    def _database(self) -> Database:
        from cloud_train.store.database import open_database

        return open_database(self.location.database)

    @cached_property
    def _blobs(self) -> BlobStore:
        from cloud_train.store.folder_blobs import FolderBlobStore
        from cloud_train.store.object_blobs import ObjectBlobStore
        from cloud_train.store.objects import ObjectPlace

        where, name = self.location.objects, self.layout.blobs.name
        if isinstance(where, Path):
            return FolderBlobStore(where / name)
        return ObjectBlobStore(ObjectPlace(f"{where}/{name}"), cache=self.layout.cache)

    @cached_property
    def _published(self) -> PublishedFiles:
        return self._files(self.layout.repository.name)

    def _files(self, name: str) -> PublishedFiles:
        from cloud_train.store.objects import ObjectPlace
        from cloud_train.store.published import PublishedFolder, PublishedObjects

        where = self.location.objects
        if isinstance(where, Path):
            return PublishedFolder(where / name)
        return PublishedObjects(ObjectPlace(f"{where}/{name}"))

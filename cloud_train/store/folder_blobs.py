"""Bytes by digest, in a folder.

Layout: new ones lie in `<folder>/new/<digest>`, where a group of files costs one flush of a folder. When many lie
there they are moved together to their shelves, `<folder>/<first two hex digits>/<digest>`. A file is there whole or not
at all and never changes. `<folder>/aside/<digest>`: see `aside.py`. Page: docs/formats/store.md.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from itertools import count
from pathlib import Path

from cloud_train.store import file_group
from cloud_train.store.aside import SHELVE_LOCK
from cloud_train.store.digests import ASIDE, NEW, check_digests, is_digest, place_of
from cloud_train.store.lock import exclusive
from edge import durable
from edge.errors import DamagedError, EdgeloopError, StorageError

SHELVE_OVER = 8192
"""Files in `new` that are moved to their shelves together: at most 257 flushes for so many samples."""
_LEFTOVER_S = 3600.0
_LOOKS = 3
_ROTTEN = (errno.EIO, errno.EUCLEAN, errno.EBADMSG)
_NO_LINKS = (errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK)

_LOG = logging.getLogger(__name__)


class FolderBlobStore:
    """`BlobStore` in a folder.

    Args:
        folder: Created when missing.
        shelve_over: Shelves by itself, in the background, when more files than that lie in `new`; 0 for never.
    """

    def __init__(self, folder: Path, *, shelve_over: int = SHELVE_OVER) -> None:
        self._folder, self._new, self._aside = folder, folder / NEW, folder / ASIDE
        self._shelve_over = shelve_over
        self._numbers = count()
        self._guard = threading.Lock()
        self._num_new: int | None = None
        self._shelving: threading.Thread | None = None
        durable.make_folder(folder)

    def put(self, data: bytes) -> str:
        """See `BlobStore.put`."""
        digest = hashlib.sha256(data).hexdigest()
        self.put_many({digest: data})
        return digest

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """See `BlobStore.put_many`."""
        check_digests(items)
        durable.make_folder(self._new)
        missing = {digest: data for digest, data in items.items() if not self._renew(digest)}
        durable.reached("blob.put:before")
        names = {digest: f"{self._new}/.{digest}.{os.getpid()}.{next(self._numbers)}.tmp" for digest in missing}
        try:
            self._write(missing, names)
            durable.reached("blob.put:written")
            self._publish(names)
        except BaseException:
            file_group.remove(names.values())
            raise
        self._settle(items.keys() - missing.keys())
        durable.reached("blob.put:after")
        self._added(len(missing))

    def adopt(self, files: Mapping[str, Path]) -> None:
        """See `BlobStore.adopt`."""
        check_digests(files)
        durable.make_folder(self._new)
        try:
            here = self._new.stat().st_dev
            near = {digest: path for digest, path in files.items() if path.stat().st_dev == here}
            for path in near.values():
                os.utime(path)  # its age is that of the blob
        except OSError as cause:
            raise durable.storage_error(self._new, cause) from cause
        durable.publish_files(((path, self._new / digest) for digest, path in near.items()), point="blob.adopt")
        self._added(len(near))
        for digest in files.keys() - near.keys():  # uploads grow in the store; blobs may be on another disk
            self.put_many({digest: files[digest].read_bytes()})
            files[digest].unlink(missing_ok=True)

    def has(self, digest: str) -> bool:
        """See `BlobStore.has`."""
        return is_digest(digest) and self._place(digest) is not None

    def read(self, digest: str) -> bytes:
        """See `BlobStore.read`."""
        found, data = self._bytes(digest)
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedError(
                f"{found} is damaged: its content does not match its name", hint="restore it from a backup"
            )
        return data

    def path(self, digest: str) -> Path:
        """See `BlobStore.path`; the name on the shelf, which stays."""
        found = self._found(digest)
        if found != self._shelf(digest):
            with contextlib.suppress(OSError, StorageError):  # a folder that cannot be written is not shelved either
                return self._on_shelf(digest, found)
        return found

    def digests(self) -> Iterator[str]:
        """See `BlobStore.digests`."""
        seen = set[str]()
        # What is set aside comes first and last: it may be on its way there, or back.
        for folder in (self._aside, self._new, *sorted(self._folder.glob("??")), self._aside):
            fresh = [name for name in self._names(folder) if name not in seen]
            seen.update(fresh)
            yield from fresh

    def shelve(self, *, over: int = 0) -> int:
        """Moves what lies in `new` to the shelves. A kill at any moment loses nothing; the next call goes on.

        A file gets its second name, that name is made durable, and only then the first one goes: at no moment of a
        power cut is it without a name, and a reader that finds it in neither place, looked in this order, has seen it
        in none.

        Args:
            over: Does nothing when not more than so many lie there.

        Returns:
            How many were moved; 0 when another process is at it.

        Raises:
            StorageError: The disk is full or failing.
        """
        busy = StorageError("the folder is being shelved")
        try:
            with exclusive(self._folder / SHELVE_LOCK, busy=busy):
                self._sweep()
                digests = sorted(self._names(self._new))
                return self._move(digests) if len(digests) > over else 0
        except StorageError as error:
            if error is busy:
                return 0
            raise

    def _move(self, digests: list[str]) -> int:
        durable.reached("blob.shelve:before")
        try:
            shelves = {self._on_shelf(digest, self._new / digest).parent for digest in digests}
            durable.reached("blob.shelve:named")
            for shelf in sorted(shelves):
                durable.fsync_folder(shelf)
            durable.reached("blob.shelve:flushed")
            for digest in digests:
                (self._new / digest).unlink(missing_ok=True)
        except OSError as cause:
            raise durable.storage_error(self._new, cause) from cause
        durable.reached("blob.shelve:after")
        return len(digests)

    def _on_shelf(self, digest: str, source: Path) -> Path:
        """Gives a file its name on the shelf beside the one it has; where links are unknown, instead of it."""
        target = self._shelf(digest)
        durable.make_folder(target.parent)
        try:
            os.link(source, target)
        except FileExistsError:
            if not target.samefile(source):
                os.replace(source, target)  # sent again although it was there: the new one was checked just now
        except FileNotFoundError:
            if not target.is_file():
                raise
        except OSError as cause:
            if cause.errno not in _NO_LINKS:
                raise
            os.replace(source, target)
        return target

    def _write(self, missing: Mapping[str, bytes], names: Mapping[str, str]) -> None:
        digests = tuple(missing)
        for start in range(0, len(digests), file_group.MAX_OPEN):
            some = digests[start : start + file_group.MAX_OPEN]
            file_group.write_group({names[digest]: missing[digest] for digest in some})

    def _publish(self, names: Mapping[str, str]) -> None:
        try:
            for digest, temporary in names.items():
                os.replace(temporary, f"{self._new}/{digest}")
            if names:
                durable.fsync_folder(self._new)
        except OSError as cause:
            raise durable.storage_error(self._new, cause) from cause

    def _settle(self, digests: Iterable[str]) -> None:
        """Makes names durable that somebody else may have given a moment ago."""
        for folder in sorted({Path(place).parent for digest in digests if (place := self._place(digest)) is not None}):
            durable.fsync_folder(folder)

    def _renew(self, digest: str) -> bool:
        """Whether a blob is there; it then counts as put just now, in one step, so that nobody sets it aside."""
        for path in self._places(digest):
            try:
                os.utime(path)
            except FileNotFoundError:
                continue
            except OSError:  # not ours to change
                if not os.path.isfile(path):  # noqa: PTH113 - see file_group
                    continue
            return True
        return False

    def _place(self, digest: str) -> str | None:
        """The file of a blob that is there to stay."""
        for path in self._places(digest):
            if os.path.isfile(path):  # noqa: PTH113 - see file_group
                return path
        return None

    def _places(self, digest: str) -> tuple[str, str]:
        """In this order: what leaves `new` is on its shelf before."""
        return f"{self._new}/{digest}", f"{self._folder}/{place_of(digest)}"

    def _found(self, digest: str) -> Path:
        if is_digest(digest):
            for _ in range(_LOOKS):  # what was set aside may be brought back between two looks
                if place := self._place(digest):
                    return Path(place)
                if (self._aside / digest).is_file():
                    return self._aside / digest
        raise KeyError(digest)

    def _bytes(self, digest: str) -> tuple[Path, bytes]:
        """A file of a blob, and what is in it."""
        for _ in range(_LOOKS):
            found = self._found(digest)
            try:
                return found, found.read_bytes()
            except FileNotFoundError:  # it was moved in between
                continue
            except OSError as cause:
                raise _unreadable(found, cause) from cause
        raise KeyError(digest)

    def _shelf(self, digest: str) -> Path:
        return self._folder / place_of(digest)

    def _names(self, folder: Path) -> Iterator[str]:
        with contextlib.suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
            yield from (entry.name for entry in entries if is_digest(entry.name))

    def _sweep(self) -> None:
        """Removes what killed processes were writing; a live one is done within the hour."""
        for path in self._new.glob(".*.tmp"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _LEFTOVER_S:
                    path.unlink()

    def _added(self, number: int) -> None:
        if not self._shelve_over or not number:
            return
        with self._guard:
            if self._num_new is None:
                self._num_new = sum(1 for _ in self._names(self._new))
            else:
                self._num_new += number
            if self._num_new <= self._shelve_over or (self._shelving is not None and self._shelving.is_alive()):
                return
            self._num_new = None
            self._shelving = threading.Thread(target=self._shelve_quietly, name="edgeloop-shelving", daemon=True)
            self._shelving.start()

    def _shelve_quietly(self) -> None:
        try:
            self.shelve(over=self._shelve_over)
        except EdgeloopError as error:
            _LOG.warning("pictures stay in %s: %s", self._new, error)


def _unreadable(path: Path, cause: OSError) -> StorageError:
    what = f"{path} cannot be read: {os.strerror(cause.errno or 0).lower()}"
    if cause.errno in _ROTTEN:
        return DamagedError(what, hint="restore it from a backup")
    return StorageError(what, hint="check the disk")

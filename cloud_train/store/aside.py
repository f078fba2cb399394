"""Where pictures wait that nothing names, before they are removed for good: the middle of a sweep (`sweep.py`).

A picture that is set aside can be read as before, so whoever counted on it while it was being moved loses nothing.
But it does not count as there: whoever puts it again keeps it afresh.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol

from cloud_train.store.digests import ASIDE, NEW, is_digest, place_of
from cloud_train.store.lock import exclusive
from cloud_train.store.objects import ObjectPlace
from edge import durable

SHELVE_LOCK = ".shelve.lock"
"""Held in a folder of pictures by whoever moves files there."""


class Aside(Protocol):
    """The pictures of a store by age, kept and set aside. Thread-safe; every call raises `StorageError`."""

    def kept(self) -> Iterator[tuple[str, float]]:
        """Digests that are there to stay, and when each was last put: seconds since the epoch, UTC."""
        ...

    def held(self) -> Iterator[tuple[str, float]]:
        """Digests that are set aside, and since when."""
        ...

    def take(self, digests: Iterable[str], *, before: float) -> tuple[str, ...]:
        """Sets aside those that were not put since a moment; returns which."""
        ...

    def give_back(self, digests: Iterable[str]) -> None:
        """Puts back what was set aside; harmless for what is not."""
        ...

    def remove(self, digests: Iterable[str], *, before: float) -> tuple[str, ...]:
        """Removes for good what was set aside before a moment; returns which."""
        ...


class FolderAside:
    """`Aside` of a folder: files move to `<folder>/aside/<digest>`.

    Args:
        folder: Of a `FolderBlobStore`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._new, self._aside = folder, folder / NEW, folder / ASIDE

    def kept(self) -> Iterator[tuple[str, float]]:
        """See `Aside.kept`."""
        newest: dict[str, float] = {}
        for folder in (self._new, *self._folder.glob("??")):
            for digest, moment in _dated(folder):
                newest[digest] = max(moment, newest.get(digest, moment))
        yield from newest.items()

    def held(self) -> Iterator[tuple[str, float]]:
        """See `Aside.held`."""
        return _dated(self._aside)

    def take(self, digests: Iterable[str], *, before: float) -> tuple[str, ...]:
        """See `Aside.take`."""
        durable.make_folder(self._aside)
        taken, left = [], set[Path]()
        durable.reached("blob.aside:before")
        with _failures(self._aside), exclusive(self._folder / SHELVE_LOCK):
            for digest in digests:
                names = [path for path in (self._new / digest, self._folder / place_of(digest)) if path.is_file()]
                if not names or any(_moment(path) > before for path in names):
                    continue
                for path in names:
                    os.utime(path)  # from now on it is set aside; before the move, so that no kill makes it look older
                    os.replace(path, self._aside / digest)
                    with suppress(FileNotFoundError):
                        if path.samefile(self._aside / digest):  # two names of one file are left alone by a rename
                            path.unlink()
                    left.add(path.parent)
                taken.append(digest)
            durable.reached("blob.aside:moved")
            for folder in (self._aside, *sorted(left)):
                durable.fsync_folder(folder)
        durable.reached("blob.aside:after")
        return tuple(taken)

    def give_back(self, digests: Iterable[str]) -> None:
        """See `Aside.give_back`; to the folder of new ones."""
        durable.make_folder(self._new)
        with _failures(self._new), exclusive(self._folder / SHELVE_LOCK):
            for digest in digests:
                with suppress(FileNotFoundError):
                    if (self._new / digest).is_file() or (self._folder / place_of(digest)).is_file():
                        (self._aside / digest).unlink()
                    else:
                        os.replace(self._aside / digest, self._new / digest)
            durable.fsync_folder(self._new)

    def remove(self, digests: Iterable[str], *, before: float) -> tuple[str, ...]:
        """See `Aside.remove`."""
        gone = []
        with _failures(self._aside), exclusive(self._folder / SHELVE_LOCK):
            for digest in digests:
                with suppress(FileNotFoundError):
                    if _moment(self._aside / digest) <= before:
                        (self._aside / digest).unlink()
                        gone.append(digest)
        return tuple(gone)


class ObjectAside:
    """`Aside` of an object store: objects are copied to `<url>/aside/<digest>`, and only then removed.

    Args:
        place: Of an `ObjectBlobStore`.
    """

    def __init__(self, place: ObjectPlace) -> None:
        self._place = place

    def kept(self) -> Iterator[tuple[str, float]]:
        """See `Aside.kept`."""
        for path, moment in self._place.dated():
            digest = path.rpartition("/")[2]
            if is_digest(digest) and path == place_of(digest):
                yield digest, moment

    def held(self) -> Iterator[tuple[str, float]]:
        """See `Aside.held`."""
        for digest, moment in self._place.below(ASIDE).dated():
            if is_digest(digest):
                yield digest, moment

    def take(self, digests: Iterable[str], *, before: float) -> tuple[str, ...]:
        """See `Aside.take`."""
        taken = []
        for digest in digests:
            with suppress(FileNotFoundError):
                if self._place.written_at(place_of(digest)) <= before:
                    self._place.copy(place_of(digest), f"{ASIDE}/{digest}")
                    durable.reached("blob.aside:copied")
                    self._place.remove(place_of(digest))
                    taken.append(digest)
        return tuple(taken)

    def give_back(self, digests: Iterable[str]) -> None:
        """See `Aside.give_back`."""
        for digest in digests:
            with suppress(FileNotFoundError):
                if not self._place.has(place_of(digest)):
                    self._place.copy(f"{ASIDE}/{digest}", place_of(digest))
                self._place.remove(f"{ASIDE}/{digest}")

    def remove(self, digests: Iterable[str], *, before: float) -> tuple[str, ...]:
        """See `Aside.remove`."""
        gone = []
        for digest in digests:
            with suppress(FileNotFoundError):
                if self._place.written_at(f"{ASIDE}/{digest}") <= before:
                    self._place.remove(f"{ASIDE}/{digest}")
                    gone.append(digest)
        return tuple(gone)


@contextmanager
def _failures(folder: Path) -> Iterator[None]:
    try:
        yield
    except OSError as cause:
        raise durable.storage_error(folder, cause) from cause


def _dated(folder: Path) -> Iterator[tuple[str, float]]:
    with _failures(folder), suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        for entry in entries:
            with suppress(FileNotFoundError):  # moved meanwhile
                if is_digest(entry.name):
                    yield entry.name, entry.stat().st_mtime


def _moment(path: Path) -> float:
    return path.stat().st_mtime

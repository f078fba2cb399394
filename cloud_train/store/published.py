"""The files that devices fetch: signed metadata and content, in a folder or in an object store."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Protocol

from cloud_train.store.objects import ObjectPlace
from edge import durable, jsonvalue
from edge.errors import FormatError, StorageError

LAST = "metadata/timestamp.json"
"""What devices read first names all the rest, so it is written last."""
_BLOCK_BYTES = 1 << 20
_VERSIONED = re.compile(r"metadata/([0-9]+)\.([a-z_-]+)\.json")


class PublishedFiles(Protocol):
    """Files by relative path. Thread-safe; a file is replaced whole or not at all."""

    def size(self, path: str) -> int:
        """Bytes of a file.

        Raises:
            FileNotFoundError: No such file.
            StorageError: The place fails.
        """
        ...

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """The bytes of a file from `offset` on, in pieces. Raises as `size` does."""
        ...

    def write(self, path: str, data: bytes) -> None:
        """Replaces a file; durable on return.

        Raises:
            StorageError: The place fails; the old file stands.
        """
        ...

    def take(self, path: str, source: Path) -> None:
        """Replaces a file by a copy of a local one; durable on return. Raises as `write` does."""
        ...

    def list(self) -> Iterator[tuple[str, int]]:
        """Path and size of every file."""
        ...


class PublishedFolder:
    """`PublishedFiles` in a folder.

    Args:
        folder: Made when first written to.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def size(self, path: str) -> int:
        """See `PublishedFiles.size`."""
        file = self._file(path)
        if not file.is_file():
            raise FileNotFoundError(path)
        return file.stat().st_size

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See `PublishedFiles.read`; of one file, also when it is replaced meanwhile."""
        self.size(path)
        with self._file(path).open("rb") as file:
            file.seek(offset)
            while block := file.read(_BLOCK_BYTES):
                yield block

    def write(self, path: str, data: bytes) -> None:
        """See `PublishedFiles.write`."""
        file = self._file(path)
        durable.make_folder(file.parent)
        durable.write_bytes(file, data, point="published.write")

    def take(self, path: str, source: Path) -> None:
        """See `PublishedFiles.take`."""
        file = self._file(path)
        durable.make_folder(file.parent)
        with source.open("rb") as blocks:
            durable.write_chunks(file, iter(lambda: blocks.read(_BLOCK_BYTES), b""), point="published.write")

    def list(self) -> Iterator[tuple[str, int]]:
        """See `PublishedFiles.list`."""
        for file in sorted(self.folder.rglob("*")):
            if file.is_file() and not file.name.startswith("."):
                yield file.relative_to(self.folder).as_posix(), file.stat().st_size

    def _file(self, path: str) -> Path:
        if any(part in ("", ".", "..") for part in path.split("/")) or "\x00" in path:
            raise FormatError(f"{path!r} is not a plain relative path")
        return self.folder / path


class PublishedObjects:
    """`PublishedFiles` in an object store.

    Args:
        place: Where the objects are.
    """

    def __init__(self, place: ObjectPlace) -> None:
        self._place = place

    def size(self, path: str) -> int:
        """See `PublishedFiles.size`."""
        return self._place.size(path)

    def read(self, path: str, offset: int = 0) -> Iterator[bytes]:
        """See `PublishedFiles.read`; small files are one request, so that what is replaced is read whole or not."""
        return self._place.blocks(path, offset)

    def write(self, path: str, data: bytes) -> None:
        """See `PublishedFiles.write`."""
        self._place.write({path: data})

    def take(self, path: str, source: Path) -> None:
        """See `PublishedFiles.take`."""
        self._place.upload({path: source})

    def list(self) -> Iterator[tuple[str, int]]:
        """See `PublishedFiles.list`."""
        return self._place.list()


def copy_repository(folder: Path, published: PublishedFiles) -> int:
    """Brings a signed repository to where servers read it: content, then metadata, then the timestamp.

    Files that are there with the same size are left alone, but for those that change under one name. A copy that was
    broken off leaves devices with what they had, and the same call finishes it.

    Args:
        folder: The publisher's repository.
        published: Where servers read; nothing is done when that is the same folder.

    Returns:
        How many files were copied.

    Raises:
        StorageError: The place fails, or holds a newer timestamp than the folder.
    """
    if isinstance(published, PublishedFolder) and published.folder.resolve() == folder.resolve():
        return 0
    source = PublishedFolder(folder)
    there, here = dict(published.list()), sorted(source.list(), key=_order)
    _require_newer(source, published, there)
    newest, copied = _newest([path for path, _ in here]), 0
    for path, size in here:
        if there.get(path) == size and (_is_fixed(path, newest) or _same(source, published, path)):
            continue
        published.take(path, folder / path)
        copied += 1
    return copied


def _order(entry: tuple[str, int]) -> tuple[int, str]:
    path = entry[0]
    if path == LAST:
        return (4, path)
    rank = {"files": 0, "targets": 1, "metadata": 2}.get(path.split("/", 1)[0], 1)
    return (3 if path == "metadata/root.json" else rank, path)


def _newest(paths: list[str]) -> frozenset[str]:
    """The highest version of each signed role: the only ones that may differ from what another folder signed."""
    roles: dict[str, tuple[int, str]] = {}
    for path in paths:
        if found := _VERSIONED.fullmatch(path):
            roles[found[2]] = max(roles.get(found[2], (0, "")), (int(found[1]), path))
    return frozenset(path for _, path in roles.values())


def _is_fixed(path: str, newest: frozenset[str]) -> bool:
    """Whether the name of a file says what is in it, so that one of the same size is the same."""
    return path.startswith("files/sha256/") or (bool(_VERSIONED.fullmatch(path)) and path not in newest)


def _same(source: PublishedFiles, published: PublishedFiles, path: str) -> bool:
    return b"".join(source.read(path)) == b"".join(published.read(path))


def _require_newer(source: PublishedFiles, published: PublishedFiles, there: dict[str, int]) -> None:
    if LAST in there and _version(published) > _version(source):
        raise StorageError(
            "what is published is newer than this repository",
            hint="publish from the folder that published last, or restore it from a backup",
        )


def _version(files: PublishedFiles) -> int:
    try:
        found: Any = jsonvalue.parse(b"".join(files.read(LAST)), where=LAST)
        return int(found["signed"]["version"])
    except FileNotFoundError:
        return 0
    except (FormatError, KeyError, TypeError, ValueError) as cause:
        raise StorageError(f"{LAST} is damaged", hint="restore it from a backup") from cause

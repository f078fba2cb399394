"""The backup of a store: a tar file of pictures, files, tables, and at its end a manifest that vouches for all of it.

In this order: `format.json`; `blobs/<digest>`; `files/<path below the store>`; `tables/<name>.jsonl`; `manifest.json`.
A file without its manifest is none. Page: docs/formats/store.md.
"""

from __future__ import annotations

import hashlib
import io
import os
import tarfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from cloud_train.store.digests import is_digest
from edge import durable, jsonvalue
from edge.errors import FormatError, StorageError

FORMAT = 1
BLOBS, FILES, TABLES, FORMAT_NAME, MANIFEST_NAME = "blobs/", "files/", "tables/", "format.json", "manifest.json"
_BLOCK_BYTES = 1 << 20

Progress = Callable[[int, int | None], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberEntry:
    """One file of the backup.

    Attributes:
        name: Its name in the tar file.
        size_bytes: Its size.
        sha256: Its digest, hex.
    """

    name: str
    size_bytes: int
    sha256: str


@dataclass(frozen=True, slots=True, kw_only=True)
class BackupManifest:
    """What a whole backup holds.

    Attributes:
        format_version: 1.
        made_at: Seconds since the epoch, UTC.
        revision: Schema of the tables.
        with_keys: Whether the keys of the repository and of the authority are in it.
        num_blobs: Pictures.
        blobs_sha256: SHA-256 over their sorted digests, a line each.
        members: Everything else, in its order.
    """

    format_version: int
    made_at: float
    revision: str
    with_keys: bool
    num_blobs: int
    blobs_sha256: str
    members: tuple[MemberEntry, ...]


@dataclass(slots=True)
class BackupWriter:
    """Writes a backup beside its target; the target comes into being whole.

    A writer that is opened where another was killed goes on with the pictures that this one has written.

    Attributes:
        target: The file to make.
        digests: Pictures that are in it.
    """

    target: Path
    digests: set[str] = field(default_factory=set)
    _members: list[MemberEntry] = field(default_factory=list)
    _file: IO[bytes] = field(init=False)
    _tar: tarfile.TarFile = field(init=False)

    def __post_init__(self) -> None:
        try:
            handle = os.open(self.partial, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            self._file = os.fdopen(handle, "r+b")
            end = self._resume()
            self._file.truncate(end)
            self._file.seek(end)
            self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)  # noqa: SIM115 - see close
            if not end:
                self.add(FORMAT_NAME, jsonvalue.pretty_bytes({"format_version": FORMAT, "kind": "edgeloop store"}))
        except OSError as cause:
            raise durable.storage_error(self.target, cause) from cause
        self._members.clear()

    @property
    def partial(self) -> Path:
        """What a killed backup leaves."""
        return self.target.with_name(self.target.name + ".part")

    def add_blob(self, digest: str, data: bytes) -> None:
        """Adds a picture. Raises `StorageError`, as `add` and `finish` do, when the disk is full or failing."""
        self._add(BLOBS + digest, len(data), io.BytesIO(data))
        self.digests.add(digest)

    def add(self, name: str, data: bytes) -> None:
        """Adds a small file."""
        self._members.append(_entry(name, (data,)))
        self._add(name, len(data), io.BytesIO(data))

    def add_stream(self, name: str, file: IO[bytes]) -> None:
        """Adds an open, seekable file from its beginning."""
        file.seek(0)
        entry = _entry(name, iter(lambda: file.read(_BLOCK_BYTES), b""))
        file.seek(0)
        self._members.append(entry)
        self._add(name, entry.size_bytes, file)

    def finish(self, *, made_at: float, revision: str, with_keys: bool) -> BackupManifest:
        """Adds the manifest and gives the file its name; durable on return."""
        manifest = BackupManifest(
            format_version=FORMAT,
            made_at=made_at,
            revision=revision,
            with_keys=with_keys,
            num_blobs=len(self.digests),
            blobs_sha256=digest_of_digests(self.digests),
            members=tuple(self._members),
        )
        data = jsonvalue.pretty_bytes(manifest)
        self._add(MANIFEST_NAME, len(data), io.BytesIO(data))
        try:
            self._tar.close()
            self._file.flush()
            os.fsync(self._file.fileno())
            self._file.close()
            os.replace(self.partial, self.target)
            durable.fsync_folder(self.target.parent)
        except OSError as cause:
            raise durable.storage_error(self.target, cause) from cause
        return manifest

    def close(self) -> None:
        """Leaves the file as it is, for another writer to go on."""
        self._file.close()

    def _add(self, name: str, size: int, file: IO[bytes]) -> None:
        info = tarfile.TarInfo(name)
        info.size, info.mode = size, 0o600
        try:
            self._tar.addfile(info, file)
        except OSError as cause:
            raise durable.storage_error(self.target, cause) from cause

    def _resume(self) -> int:
        """Takes over the whole pictures of a broken file.

        Returns:
            Where the first thing begins that is no whole picture.
        """
        end = 0
        try:
            for name, blocks, after in _walk(self._file):
                if name != FORMAT_NAME:
                    digest = name.removeprefix(BLOBS)
                    if not name.startswith(BLOBS) or _entry(name, blocks).sha256 != digest:
                        break
                    self.digests.add(digest)
                end = after
        except (tarfile.TarError, EOFError):
            pass  # what follows was being written when the end came
        return end


def open_backup(path: Path) -> Iterator[tuple[str, Iterator[bytes]]]:
    """Names and blocks of everything in a backup, in its order; the blocks are read before the next name.

    Raises:
        FormatError: It is no backup, or ends before its end.
        StorageError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            for name, blocks, _ in _walk(file):
                yield name, blocks
    except OSError as cause:
        raise StorageError(f"cannot read {path}: {os.strerror(cause.errno or 0).lower()}") from cause
    except (tarfile.TarError, EOFError) as cause:
        raise _not_whole(path) from cause


def verify(path: Path, *, progress: Progress = lambda done, total: None) -> BackupManifest:
    """Reads a backup once and checks every byte of it.

    Raises:
        FormatError: It is no backup, not whole, damaged, or of a newer edgeloop.
        StorageError: It cannot be read.
    """
    digests: set[str] = set()
    members, manifest = [], None
    for number, (name, blocks) in enumerate(open_backup(path)):
        progress(number, None)
        if number == 0:
            _check_format(path, name, blocks)
        elif name == MANIFEST_NAME:
            manifest = jsonvalue.load(BackupManifest, b"".join(blocks), where=f"{path}: {name}")
        elif name.startswith(BLOBS):
            digest = name.removeprefix(BLOBS)
            if not is_digest(digest) or _entry(name, blocks).sha256 != digest:
                raise _damaged(path, name)
            digests.add(digest)
        else:
            members.append(_entry(name, blocks))
    if manifest is None:
        raise _not_whole(path)
    for found, expected in zip(members, manifest.members, strict=False):
        if found != expected:
            raise _damaged(path, found.name)
    whole = (len(members), len(digests), digest_of_digests(digests))
    if whole != (len(manifest.members), manifest.num_blobs, manifest.blobs_sha256):
        raise _not_whole(path)
    return manifest


def digest_of_digests(digests: set[str]) -> str:
    """One digest for a set of them."""
    return hashlib.sha256("".join(f"{digest}\n" for digest in sorted(digests)).encode()).hexdigest()


def _walk(file: IO[bytes]) -> Iterator[tuple[str, Iterator[bytes], int]]:
    """Name, blocks and end of every file; a tar file that breaks off raises."""
    file.seek(0, os.SEEK_END)
    size = file.tell()
    file.seek(0)
    if not size:
        return
    with tarfile.open(fileobj=file, mode="r:") as tar:
        for info in tar:
            after = info.offset_data + -(-info.size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE
            content = tar.extractfile(info) if info.isreg() else None
            if content is None or after > size:
                raise EOFError(info.name)
            yield info.name, iter(lambda content=content: content.read(_BLOCK_BYTES), b""), after
            tar.members = []  # it would remember a million of them


def _entry(name: str, blocks: Any) -> MemberEntry:  # noqa: ANN401 - any iterable of bytes
    size, digest = 0, hashlib.sha256()
    for block in blocks:
        size += len(block)
        digest.update(block)
    return MemberEntry(name=name, size_bytes=size, sha256=digest.hexdigest())


def _check_format(path: Path, name: str, blocks: Iterator[bytes]) -> None:
    found: Any = jsonvalue.parse(b"".join(blocks), where=str(path)) if name == FORMAT_NAME else None
    if not isinstance(found, dict) or found.get("kind") != "edgeloop store":
        raise FormatError(f"{path} is not a backup of a store", hint="give a file that `edgeloop store backup` made")
    if found.get("format_version") != FORMAT:
        raise FormatError(f"{path} was written by a newer edgeloop", hint="update edgeloop")


def _damaged(path: Path, name: str) -> FormatError:
    return FormatError(f"{path} is damaged: {name} is not as it was written", hint="use another backup")


def _not_whole(path: Path) -> FormatError:
    return FormatError(f"{path} is not a whole backup", hint="run the backup again, or use another one")

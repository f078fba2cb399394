"""Puts a bundle together in a staging folder: what the device has already is copied, the rest is fetched.

A killed or failed staging is taken up where it stopped: finished files are kept by digest, an unfinished one goes on
at its last byte. Nothing outside the staging folder is touched.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO

from edge import durable
from edge.bundle.manifest import MANIFEST_NAME, BundleManifest, FileEntry
from edge.bundle.sealed import SEALED_NAME, SealedFile, lying_files, sealed_bytes
from edge.errors import StorageError, TrustError
from edge.update.pace import in_time
from edge.update.published import PublishedFiles

_CHUNK_BYTES = 1 << 20
_PART = ".part"
Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class StagingPlan:
    """What is to be put together.

    Attributes:
        folder: The staging folder.
        manifest: The bundle's manifest.
        manifest_bytes: Its exact bytes.
        sources: Folders that may hold some of the files already.
        sealed: Which files lie and travel encrypted.
    """

    folder: Path
    manifest: BundleManifest
    manifest_bytes: bytes
    sources: tuple[Path, ...]
    sealed: dict[str, SealedFile] = field(default_factory=dict)

    @property
    def files(self) -> tuple[FileEntry, ...]:
        """The files as they travel and lie; raises `FormatError` where `sealed` names others than the manifest."""
        return lying_files(self.manifest, self.sealed)


def stage(plan: StagingPlan, transport: PublishedFiles | None, *, progress: Progress | None = None) -> int:
    """Makes `plan.folder` a complete bundle.

    Args:
        plan: What, where and from which folders.
        transport: The road for what no folder holds; None to use the folders only.
        progress: Called with bytes done and bytes in all.

    Returns:
        Bytes that travelled.

    Raises:
        RoadError: The road failed; what has come stays for the next time.
        TrustError: The server's file is not the one the manifest names.
        StorageError: The disk is full or failing; the staging folder is gone, so that it takes no room from samples.
    """
    try:
        durable.make_folder(plan.folder)
        return _Staging(plan, transport, progress or (lambda done, total: None)).run()
    except StorageError:
        shutil.rmtree(plan.folder, ignore_errors=True)
        raise


class _Staging:
    def __init__(self, plan: StagingPlan, transport: PublishedFiles | None, progress: Progress) -> None:
        self._plan = plan
        self._transport = transport
        self._progress = progress
        self._files = plan.files
        self._total = sum(entry.size_bytes for entry in self._files)
        self._done = 0
        self._fetched = 0

    def run(self) -> int:
        missing = [entry for entry in self._files if not self._is_staged(entry)]
        self._done = self._total - sum(entry.size_bytes for entry in missing)
        self._check_room(missing)
        self._sweep()
        for entry in missing:
            self._progress(self._done, self._total)
            if not self._copy_known(entry):
                self._fetch(entry)
            self._done += entry.size_bytes
        self._write_sealed()
        durable.write_bytes(self._plan.folder / MANIFEST_NAME, self._plan.manifest_bytes, point="update.manifest")
        self._progress(self._total, self._total)
        return self._fetched

    def _write_sealed(self) -> None:
        file = self._plan.folder / SEALED_NAME
        if self._plan.sealed:
            durable.write_bytes(file, sealed_bytes(self._plan.sealed), point="update.sealed")

    def _is_staged(self, entry: FileEntry) -> bool:
        return _matches(self._plan.folder / entry.name, entry)

    def _check_room(self, missing: list[FileEntry]) -> None:
        begun = sum(_size(self._part(entry)) for entry in missing)
        needed = sum(entry.size_bytes for entry in missing) - begun
        free = shutil.disk_usage(self._plan.folder).free
        if needed > free:
            raise StorageError(
                f"the new bundle needs {needed} bytes in {self._plan.folder.parent}, {free} are free",
                hint="free some space; until then the device stays on the bundle it has",
            )

    def _sweep(self) -> None:
        """Nothing else may lie in a bundle's folder."""
        wanted = {entry.name for entry in self._files}
        for path in self._plan.folder.iterdir():
            if path.name.removesuffix(_PART) not in wanted:
                path.unlink(missing_ok=True)

    def _copy_known(self, entry: FileEntry) -> bool:
        """A copy, not a link: one bad block must not take the file from both slots."""
        for source in self._plan.sources:
            for path in _candidates(source, entry):
                if _matches(path, entry):
                    self._part(entry).unlink(missing_ok=True)
                    if self._publish(entry, self._write(entry, _chunks(path), offset=0)):
                        return True
        return False

    def _fetch(self, entry: FileEntry) -> None:
        """Goes on at the last byte; bytes that turn out wrong are thrown away and fetched once more from the first."""
        begun = min(_size(self._part(entry)), entry.size_bytes)
        for offset in (begun, 0) if begun else (0,):
            if self._publish(entry, self._write(entry, self._download(entry, offset), offset=offset)):
                return
        raise TrustError(
            f"the server's copy of {entry.name} is not the file that was signed for",
            hint="the device stays on the bundle it has; publish the release again",
        )

    def _download(self, entry: FileEntry, offset: int) -> Iterator[bytes]:
        if self._transport is None:
            raise TrustError(f"the bundle holds no intact {entry.name}", hint="fetch or convert it again")
        if offset == entry.size_bytes:
            return
        received = offset
        try:
            path = f"files/sha256/{entry.sha256}"
            for chunk in in_time(self._transport.fetch(path, offset=offset), entry.name):
                received += len(chunk)
                self._fetched += len(chunk)
                if received > entry.size_bytes:
                    break
                self._progress(self._done + received, self._total)
                yield chunk
        except FileNotFoundError as cause:
            raise TrustError(
                f"the server does not have {entry.name} of the release", hint="publish the release again"
            ) from cause

    def _write(self, entry: FileEntry, chunks: Iterable[bytes], *, offset: int) -> str:
        """Writes on from `offset`; returns the SHA-256 of the whole, taken on the way and not by reading it again."""
        path = self._part(entry)
        digest = _digest_of(path, offset)
        with _open_at(path, offset) as file:
            for chunk in chunks:
                digest.update(chunk)
                try:
                    _write_all(file, chunk)
                except OSError as cause:
                    raise durable.storage_error(path, cause) from cause
        return digest.hexdigest()

    def _publish(self, entry: FileEntry, digest: str) -> bool:
        part = self._part(entry)
        if digest != entry.sha256 or _size(part) != entry.size_bytes:
            part.unlink(missing_ok=True)
            return False
        durable.publish_files([(part, self._plan.folder / entry.name)], point="update.file")
        return True

    def _part(self, entry: FileEntry) -> Path:
        return self._plan.folder / f"{entry.name}{_PART}"


def _open_at(path: Path, offset: int) -> IO[bytes]:
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o644)
        os.ftruncate(handle, offset)
        os.lseek(handle, offset, os.SEEK_SET)
        return os.fdopen(handle, "wb", buffering=0)
    except OSError as cause:
        raise durable.storage_error(path, cause) from cause


def _digest_of(path: Path, size_bytes: int) -> hashlib._Hash:
    """The digest of what has come before."""
    digest = hashlib.sha256()
    if size_bytes:
        try:
            with path.open("rb") as file:
                while size_bytes and (chunk := file.read(min(_CHUNK_BYTES, size_bytes))):
                    digest.update(chunk)
                    size_bytes -= len(chunk)
        except OSError as cause:
            raise durable.storage_error(path, cause) from cause
    return digest


def _write_all(file: IO[bytes], data: bytes) -> None:
    """An unbuffered write may take only a part, for instance the part that a full disk still had room for."""
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) :]


def _candidates(source: Path, entry: FileEntry) -> tuple[Path, ...]:
    """Files of a folder that may be the wanted one: the same name first, then any of the same size."""
    named = source / entry.name
    if not source.is_dir():
        return ()
    others = (path for path in sorted(source.iterdir()) if path != named and _size(path) == entry.size_bytes)
    return (named, *others)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _matches(path: Path, entry: FileEntry) -> bool:
    digest = hashlib.sha256()
    try:
        if not path.is_file() or path.is_symlink() or path.stat().st_size != entry.size_bytes:
            return False
        for chunk in _chunks(path):
            digest.update(chunk)
    except OSError:
        return False  # a file that cannot be read is as good as missing: it is fetched
    return digest.hexdigest() == entry.sha256


def _chunks(path: Path) -> Iterator[bytes]:
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            yield chunk

"""A bundle as one `.edgebundle` file: a zip, stored uncompressed, the same bytes for the same bundle.

Packing and unpacking stream; neither holds a model in memory. Measurements stay behind: they are no part of the
bundle's identity, and a device does not need them.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import IO

from edge import durable
from edge.bundle.manifest import MANIFEST_NAME, FileEntry
from edge.bundle.reader import MAX_MANIFEST_BYTES, Bundle, open_bundle, read_manifest
from edge.bundle.sealed import MAX_SEALED_BYTES, SEALED_NAME, SealedFile, lying_files, parse_sealed, sealed_bytes
from edge.errors import BundleError

ARCHIVE_SUFFIX = ".edgebundle"
MAX_FILES = 1000
MAX_BYTES = 4_000_000_000
_CHUNK_BYTES = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_COMPRESSIONS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)


def pack(bundle_folder: Path, target: Path) -> None:
    """Checks a bundle and writes it as one file, whole or not at all.

    Args:
        bundle_folder: The bundle.
        target: The `.edgebundle` file; replaced if it exists.

    Raises:
        BundleError: The bundle is damaged.
        StorageError: The disk is full or failing.
    """
    bundle = open_bundle(bundle_folder)
    manifest = (bundle.folder / MANIFEST_NAME).read_bytes()
    pack_files(target, manifest, bundle.lying, place=lambda entry: bundle.folder / entry.name, sealed=bundle.sealed)


def pack_files(
    target: Path,
    manifest: bytes,
    files: Iterable[FileEntry],
    *,
    place: Callable[[FileEntry], Path],
    sealed: Mapping[str, SealedFile],
) -> None:
    """Writes an archive of files that lie anywhere; whoever calls has checked them.

    Args:
        target: The `.edgebundle` file; replaced if it exists.
        manifest: The bytes of the manifest.
        files: Names, digests and sizes as they lie.
        place: Where each lies.
        sealed: Which of them are encrypted.

    Raises:
        StorageError: The disk is full or failing.
    """
    small = {MANIFEST_NAME: manifest} | ({SEALED_NAME: sealed_bytes(sealed)} if sealed else {})
    large = [(entry, place(entry)) for entry in sorted(files, key=lambda entry: entry.name)]
    durable.write_chunks(target, _zip_chunks(small, large), point="bundle.pack")


def unpack(archive: Path, folder: Path) -> Bundle:
    """Unpacks an archive beside `folder`, checks every digest, and renames it into place.

    Args:
        archive: An `.edgebundle` file, from anywhere: it is not trusted.
        folder: Where the bundle shall appear. If the same bundle stands there already, nothing is done.

    Raises:
        BundleError: The archive is damaged, too large, holds names it must not, or something else stands at `folder`.
        FormatError: Its manifest does not follow docs/formats/bundle.md.
        StorageError: The disk is full or failing; nothing was left behind.
    """
    staging = folder.parent / f".{folder.name}.unpacking"
    durable.make_folder(folder.parent)
    shutil.rmtree(staging, ignore_errors=True)
    try:
        with _opened(archive) as source:
            data = _read_manifest_entry(archive, source)
            manifest = read_manifest(data, where=f"{archive}: {MANIFEST_NAME}")
            sealed = _sealed_of(archive, source)
            files = lying_files(manifest, sealed)
            _check_entries(archive, source, files)
            if (standing := _standing(folder, data)) is not None:
                return standing
            small = {MANIFEST_NAME: data} | ({SEALED_NAME: sealed_bytes(sealed)} if sealed else {})
            _extract(archive, source, files, small, staging)
        bundle = open_bundle(staging)
        durable.publish_folder(staging, folder, point="bundle.unpack")
        return replace(bundle, folder=folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def listed_files(archive: Path, source: zipfile.ZipFile) -> tuple[FileEntry, ...]:
    """The files that an archive's manifest names, as they lie in it; unchecked.

    Raises:
        BundleError: The archive is damaged or holds no manifest.
        FormatError: Its manifest does not follow docs/formats/bundle.md.
    """
    manifest = read_manifest(_read_manifest_entry(archive, source), where=f"{archive}: {MANIFEST_NAME}")
    return lying_files(manifest, _sealed_of(archive, source))


class _Sink:
    """Collects what the zip writer writes, so that a generator can hand it on; not seekable on purpose."""

    def __init__(self) -> None:
        self._pieces: list[bytes] = []

    def write(self, data: bytes, /) -> int:
        self._pieces.append(bytes(data))
        return len(data)

    def flush(self) -> None:
        """Nothing to flush."""

    def close(self) -> None:
        """Nothing to close."""

    def take(self) -> bytes:
        data = b"".join(self._pieces)
        self._pieces.clear()
        return data


def _zip_chunks(small: Mapping[str, bytes], large: Iterable[tuple[FileEntry, Path]]) -> Iterator[bytes]:
    sink = _Sink()
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as target:
        for name, data in small.items():
            with target.open(_entry(name, len(data)), "w") as entry:
                entry.write(data)
            yield sink.take()
        for listed, path in large:
            with path.open("rb") as file, target.open(_entry(listed.name, listed.size_bytes), "w") as entry:
                while chunk := file.read(_CHUNK_BYTES):
                    entry.write(chunk)
                    yield sink.take()
    yield sink.take()


def _entry(name: str, size: int) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, date_time=_EPOCH)
    info.create_system = 3
    info.external_attr = 0o100644 << 16
    info.file_size = size
    return info


def _opened(archive: Path) -> zipfile.ZipFile:
    if archive.exists() and not archive.is_file():
        raise BundleError(f"{archive}: not a regular file")
    try:
        return zipfile.ZipFile(archive)
    except OSError as cause:
        raise BundleError(f"{archive}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause
    except Exception as cause:  # zipfile raises many kinds on damaged directories
        raise BundleError(f"{archive}: not a bundle archive: {cause}", hint="fetch it again") from cause


def _read_manifest_entry(archive: Path, source: zipfile.ZipFile) -> bytes:
    if MANIFEST_NAME not in source.namelist():
        raise BundleError(f"{archive}: not a bundle archive: {MANIFEST_NAME} is missing")
    return _small_entry(archive, source, MANIFEST_NAME, max_bytes=MAX_MANIFEST_BYTES)


def _sealed_of(archive: Path, source: zipfile.ZipFile) -> dict[str, SealedFile]:
    if SEALED_NAME not in source.namelist():
        return {}
    data = _small_entry(archive, source, SEALED_NAME, max_bytes=MAX_SEALED_BYTES)
    return parse_sealed(data, where=f"{archive}: {SEALED_NAME}")


def _small_entry(archive: Path, source: zipfile.ZipFile, name: str, *, max_bytes: int) -> bytes:
    info = source.getinfo(name)
    if info.file_size > max_bytes:
        raise BundleError(f"{archive}: {name} is larger than {max_bytes} bytes")
    return b"".join(_entry_chunks(archive, source, info))


def _check_entries(archive: Path, source: zipfile.ZipFile, files: tuple[FileEntry, ...]) -> None:
    """The entries are the manifest's files, each once, of the sizes it says: so no name can leave the folder."""
    if len(source.infolist()) > MAX_FILES or sum(entry.size_bytes for entry in files) > MAX_BYTES:
        raise BundleError(f"{archive}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
    expected = {entry.name: entry.size_bytes for entry in files}
    seen = set()
    for info in source.infolist():
        if info.filename in seen:
            raise BundleError(f"{archive}: {info.filename[:100]!r} appears twice")
        seen.add(info.filename)
        if info.filename in (MANIFEST_NAME, SEALED_NAME):
            continue
        if info.filename not in expected:
            raise BundleError(f"{archive}: {info.filename[:100]!r} is not in the manifest")
        if info.file_size != expected[info.filename]:
            raise BundleError(f"{archive}: {info.filename!r} has {info.file_size} bytes, not {expected[info.filename]}")
    if missing := sorted(set(expected) - seen):
        raise BundleError(f"{archive}: {missing[0]!r} is missing")


def _standing(folder: Path, manifest_data: bytes) -> Bundle | None:
    """What stands at the target already: None for nothing, the bundle if it is the same one."""
    if not folder.exists() or (folder.is_dir() and not any(folder.iterdir())):
        return None
    path = folder / MANIFEST_NAME
    if path.is_file() and path.read_bytes() == manifest_data:
        return open_bundle(folder)
    raise BundleError(f"{folder}: something else is there already", hint="remove it or choose another folder")


def _extract(
    archive: Path,
    source: zipfile.ZipFile,
    files: tuple[FileEntry, ...],
    small: Mapping[str, bytes],
    staging: Path,
) -> None:
    try:
        staging.mkdir()
        for name, data in small.items():
            (staging / name).write_bytes(data)
        for entry in files:
            with (staging / entry.name).open("xb") as file:
                for chunk in _entry_chunks(archive, source, source.getinfo(entry.name)):
                    file.write(chunk)
    except OSError as cause:
        raise durable.storage_error(staging, cause) from cause


def _entry_chunks(archive: Path, source: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The content of one entry, never more than its directory says."""
    if info.compress_type not in _COMPRESSIONS or info.flag_bits & 0x1:
        raise BundleError(f"{archive}: {info.filename!r} is encrypted or compressed in an unknown way")
    left = info.file_size
    try:
        with source.open(info) as file:
            while chunk := _next_chunk(file, left):
                left -= len(chunk)
                yield chunk
    except (zipfile.BadZipFile, zlib.error, EOFError, ValueError, RuntimeError, OSError) as cause:
        raise BundleError(f"{archive}: {info.filename!r} is damaged: {cause}", hint="fetch it again") from cause


def _next_chunk(file: IO[bytes], left: int) -> bytes:
    return file.read(min(_CHUNK_BYTES, left)) if left > 0 else b""

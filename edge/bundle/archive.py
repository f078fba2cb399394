"""A bundle as one `.edgebundle` file: a zip, stored uncompressed, the same bytes for the same bundle.

Packing and unpacking stream; neither holds a model in memory. Measurements stay behind: they are no part of the
bundle's identity, and a device does not need them.
"""

from __future__ import annotations

import shutil
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import IO

from edge import durable
from edge.bundle.manifest import MANIFEST_NAME, BundleManifest
from edge.bundle.reader import MAX_MANIFEST_BYTES, Bundle, open_bundle, read_manifest
from edge.errors import BundleError

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
    durable.write_chunks(target, _zip_chunks(bundle), point="bundle.pack")


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
            _check_entries(archive, source, manifest)
            if (standing := _standing(folder, data)) is not None:
                return standing
            _extract(archive, source, manifest, data, staging)
        bundle = open_bundle(staging)
        durable.publish_folder(staging, folder, point="bundle.unpack")
        return replace(bundle, folder=folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


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


def _zip_chunks(bundle: Bundle) -> Iterator[bytes]:
    sink = _Sink()
    sizes = {MANIFEST_NAME: (bundle.folder / MANIFEST_NAME).stat().st_size}
    sizes |= {entry.name: entry.size_bytes for entry in sorted(bundle.manifest.files, key=lambda entry: entry.name)}
    with zipfile.ZipFile(sink, "w", zipfile.ZIP_STORED) as target:
        for name, size in sizes.items():
            with (bundle.folder / name).open("rb") as file, target.open(_entry(name, size), "w") as entry:
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
    info = source.getinfo(MANIFEST_NAME)
    if info.file_size > MAX_MANIFEST_BYTES:
        raise BundleError(f"{archive}: {MANIFEST_NAME} is larger than {MAX_MANIFEST_BYTES} bytes")
    return b"".join(_entry_chunks(archive, source, info))


def _check_entries(archive: Path, source: zipfile.ZipFile, manifest: BundleManifest) -> None:
    """The entries are the manifest's files, each once, of the sizes it says: so no name can leave the folder."""
    if len(source.infolist()) > MAX_FILES or sum(entry.size_bytes for entry in manifest.files) > MAX_BYTES:
        raise BundleError(f"{archive}: more than {MAX_FILES} files or {MAX_BYTES} bytes")
    expected = {entry.name: entry.size_bytes for entry in manifest.files}
    seen = set()
    for info in source.infolist():
        if info.filename in seen:
            raise BundleError(f"{archive}: {info.filename[:100]!r} appears twice")
        seen.add(info.filename)
        if info.filename == MANIFEST_NAME:
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
    archive: Path, source: zipfile.ZipFile, manifest: BundleManifest, manifest_data: bytes, staging: Path
) -> None:
    try:
        staging.mkdir()
        (staging / MANIFEST_NAME).write_bytes(manifest_data)
        for entry in manifest.files:
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

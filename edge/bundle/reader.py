"""Opening a bundle: nothing of it is trusted before every size and digest has been checked."""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Callable, Collection
from dataclasses import dataclass, field
from pathlib import Path

from edge import jsonvalue
from edge.bundle.check import check_manifest
from edge.bundle.encryption import KEY_IN_HOME, unseal_file
from edge.bundle.manifest import FORMAT_VERSION, MANIFEST_NAME, BundleManifest, FileEntry
from edge.bundle.sealed import SealedFile, lying_files, read_sealed
from edge.errors import BundleError, FormatError

MAX_MANIFEST_BYTES = 4_000_000
_CHUNK_BYTES = 1 << 20
_FETCH_AGAIN = "the bundle is damaged: fetch or convert it again"


@dataclass(frozen=True, slots=True, kw_only=True)
class Bundle:
    """A bundle whose files have been checked.

    Attributes:
        folder: Where it lies.
        manifest: What is in it.
        digest: SHA-256 of its manifest's bytes, hex: the bundle's identity.
        sealed: Which of its files lie encrypted, and as what; none of most bundles.
    """

    folder: Path
    manifest: BundleManifest
    digest: str
    sealed: dict[str, SealedFile] = field(default_factory=dict)

    def path(self, name: str) -> Path:
        """Where a file of the bundle lies.

        Raises:
            BundleError: The manifest does not list it.
        """
        if all(entry.name != name for entry in self.manifest.files):
            raise BundleError(f"{self.folder}: the bundle has no file {name!r}")
        return self.folder / name

    def read(self, name: str) -> bytes:
        """A file of the bundle; one that lies encrypted is opened in memory.

        Raises:
            BundleError: The manifest does not list it, it cannot be read any more, or the key is missing.
        """
        path = self.path(name)
        if opened := self.opener(name):
            return opened()
        try:
            return path.read_bytes()
        except OSError as cause:
            raise BundleError(f"{path}: cannot be read: {(cause.strerror or '').lower()}", hint=_FETCH_AGAIN) from cause

    def opener(self, name: str) -> Callable[[], bytes] | None:
        """What decrypts a file of the bundle into memory, or None for one that lies there as it is.

        The key is that of the device's home in whose slot the bundle lies (docs/formats/encryption.md); what is
        returned raises `BundleError` where there is none.
        """
        if name not in self.sealed:
            return None
        path, digest = self.path(name), next(entry.sha256 for entry in self.manifest.files if entry.name == name)
        keys = self.folder.absolute().parent.parent / KEY_IN_HOME
        return lambda: unseal_file(path, keys, digest=digest)

    @property
    def lying(self) -> tuple[FileEntry, ...]:
        """Its files as they lie on the disk: sealed ones with the size and digest of what is encrypted."""
        return lying_files(self.manifest, self.sealed)


def open_bundle(folder: Path, *, digests: bool = True) -> Bundle:
    """Opens a bundle folder and checks all of it: format version, fields, names, sizes, digests.

    Args:
        folder: Holds `manifest.json` and the files it lists; other files in it are ignored.
        digests: False leaves the files unread, for one who then calls `check_digests` for those that will be read.

    Raises:
        BundleError: A file is missing or damaged, or the format version is unknown; names the file.
        FormatError: The manifest does not follow docs/formats/bundle.md; names the field.
    """
    path = folder / MANIFEST_NAME
    data = _manifest_bytes(path)
    manifest = read_manifest(data, where=str(path))
    bundle = Bundle(
        folder=folder, manifest=manifest, digest=hashlib.sha256(data).hexdigest(), sealed=read_sealed(folder)
    )
    for entry in bundle.lying:
        _check_size(folder / entry.name, entry)
    if digests:
        check_digests(bundle, {entry.name for entry in manifest.files})
    return bundle


def check_digests(bundle: Bundle, names: Collection[str]) -> None:
    """Reads some files of a bundle and compares their digests.

    Args:
        bundle: An open bundle.
        names: Those of its files that are to be trusted.

    Raises:
        BundleError: A file is damaged; names it.
    """
    for entry in bundle.lying:
        if entry.name in names:
            _check_digest(bundle.folder / entry.name, entry)


def read_manifest(data: bytes, *, where: str = MANIFEST_NAME) -> BundleManifest:
    """Reads and checks a manifest's bytes; their SHA-256 is the bundle digest.

    Args:
        data: Canonical JSON, at most 4 MB.
        where: Name of the file, for errors.

    Raises:
        BundleError: Its format version is unknown.
        FormatError: It does not follow docs/formats/bundle.md; names the field.
    """
    value = jsonvalue.parse(data, where=where, max_bytes=MAX_MANIFEST_BYTES)
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected an object")
    _check_version(value.get("format_version"), where)
    manifest = jsonvalue.from_json(BundleManifest, value, where=where)
    check_manifest(manifest, where=where)
    if not _is_canonical(value, data):
        raise FormatError(f"{where}: not canonical JSON (sorted keys, no spaces, UTF-8)", hint=_FETCH_AGAIN)
    return manifest


def bundle_digest(manifest: BundleManifest) -> str:
    """SHA-256 of the manifest's canonical bytes, hex: for writers; a reader takes it over the file's bytes."""
    return jsonvalue.digest_of(manifest)


def _manifest_bytes(path: Path) -> bytes:
    try:
        if not stat.S_ISREG(path.stat().st_mode) and not path.is_dir():
            raise BundleError(f"{path.parent}: not a bundle: {MANIFEST_NAME}: not a regular file")  # a pipe would wait
        with path.open("rb") as file:
            data = file.read(MAX_MANIFEST_BYTES + 1)
    except OSError as cause:
        reason = (cause.strerror or str(cause)).lower()
        raise BundleError(f"{path.parent}: not a bundle: {MANIFEST_NAME}: {reason}") from cause
    if len(data) > MAX_MANIFEST_BYTES:
        raise BundleError(f"{path}: larger than {MAX_MANIFEST_BYTES} bytes")
    return data


def _check_version(version: jsonvalue.Json, where: str) -> None:
    if type(version) is not int:
        raise FormatError(f"{where}: field 'format_version' is missing or no number", hint="it must be 1, an integer")
    if version != FORMAT_VERSION:
        raise BundleError(
            f"{where}: format version {str(version)[:20]} is not known, this edgeloop reads {FORMAT_VERSION}",
            hint="update edgeloop on this machine",
        )


def _is_canonical(value: jsonvalue.Json, data: bytes) -> bool:
    try:
        return jsonvalue.canonical_json(value) == data
    except (ValueError, RecursionError):
        return False


def _check_size(path: Path, entry: FileEntry) -> None:
    try:
        status = os.lstat(path)
    except OSError as cause:
        raise _unreadable(path, cause) from cause
    if not stat.S_ISREG(status.st_mode):
        raise BundleError(f"{path}: not a regular file", hint=_FETCH_AGAIN)
    if status.st_size != entry.size_bytes:
        raise BundleError(f"{path}: {status.st_size} bytes, the manifest says {entry.size_bytes}", hint=_FETCH_AGAIN)


def _unreadable(path: Path, cause: OSError) -> BundleError:
    return BundleError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}", hint=_FETCH_AGAIN)


def _check_digest(path: Path, entry: FileEntry) -> None:
    try:
        digest = _file_digest(path)
    except OSError as cause:
        raise _unreadable(path, cause) from cause
    if digest != entry.sha256:
        raise BundleError(f"{path}: its SHA-256 is not the manifest's", hint=_FETCH_AGAIN)


def _file_digest(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()

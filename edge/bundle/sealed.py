"""Which files of a bundle lie encrypted, and as what: `sealed.json`. Page: docs/formats/encryption.md.

The manifest names what a file is once it is open; `sealed.json` names what lies on the disk. So a bundle has the same
digest whether it is sealed or not, and its files can be checked without the key.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from edge import jsonvalue
from edge.bundle.manifest import BundleManifest, FileEntry
from edge.errors import BundleError, FormatError

SEALED_NAME = "sealed.json"
FORMAT_VERSION = 1
MAX_SEALED_BYTES = 100_000
_DIGEST = re.compile(r"^[0-9a-f]{64}\Z")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFile:
    """An encrypted file as it lies on a disk or travels.

    Attributes:
        sha256: SHA-256 of the encrypted bytes, hex.
        size_bytes: Their number.
    """

    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuses what is no digest and no size."""
        if not _DIGEST.match(self.sha256):
            raise ValueError("sha256 is not 64 hex digits")
        if self.size_bytes < 0:
            raise ValueError("size_bytes is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class SealedFiles:
    """The content of `sealed.json`.

    Attributes:
        format_version: 1.
        files: Name of a file in the manifest to what lies in its place.
    """

    format_version: int
    files: dict[str, SealedFile]


def sealed_bytes(files: Mapping[str, SealedFile]) -> bytes:
    """The content of `sealed.json` for some files."""
    return jsonvalue.canonical_bytes(SealedFiles(format_version=FORMAT_VERSION, files=dict(files)))


def parse_sealed(data: bytes, *, where: str = SEALED_NAME) -> dict[str, SealedFile]:
    """Reads the content of `sealed.json`.

    Raises:
        BundleError: Its format version is unknown.
        FormatError: It does not follow docs/formats/encryption.md.
    """
    value = jsonvalue.parse(data, where=where, max_bytes=MAX_SEALED_BYTES)
    if isinstance(value, dict) and value.get("format_version") != FORMAT_VERSION:
        raise BundleError(f"{where}: its format version is not known", hint="update edgeloop on this machine")
    return jsonvalue.from_json(SealedFiles, value, where=where).files


def read_sealed(folder: Path) -> dict[str, SealedFile]:
    """Which files of a bundle folder lie encrypted; none where there is no `sealed.json`.

    Raises:
        BundleError: It cannot be read, or its format version is unknown.
        FormatError: It does not follow docs/formats/encryption.md.
    """
    path = folder / SEALED_NAME
    try:
        if not path.exists():
            return {}
        if path.is_symlink() or not path.is_file():
            raise BundleError(f"{path}: not a regular file")
        with path.open("rb") as file:
            data = file.read(MAX_SEALED_BYTES + 1)
    except OSError as cause:
        raise BundleError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause
    return parse_sealed(data, where=str(path))


def lying_files(manifest: BundleManifest, sealed: Mapping[str, SealedFile]) -> tuple[FileEntry, ...]:
    """The files of a bundle as they lie on a disk: sealed ones with the size and digest of what is encrypted.

    Raises:
        FormatError: `sealed` names a file that the manifest does not have.
    """
    unknown = sorted(set(sealed) - {entry.name for entry in manifest.files})
    if unknown:
        raise FormatError(f"{SEALED_NAME}: {unknown[0][:100]!r} is not in the manifest")
    return tuple(
        replace(entry, sha256=sealed[entry.name].sha256, size_bytes=sealed[entry.name].size_bytes)
        if entry.name in sealed
        else entry
        for entry in manifest.files
    )

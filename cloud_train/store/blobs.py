"""Pictures by digest, in a folder.

Layout: `<folder>/<first two hex digits>/<digest>`. A file is there whole or not at all, and never changes.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Protocol

from edge import durable
from edge.errors import FormatError, StorageError

_DIGEST = re.compile(r"[0-9a-f]{64}")


def is_digest(text: str) -> bool:
    """Whether `text` is a SHA-256 in lower-case hex."""
    return _DIGEST.fullmatch(text) is not None


class BlobStore(Protocol):
    """Bytes by their SHA-256. Thread-safe; a blob that was put survives a power cut."""

    def put(self, data: bytes) -> str:
        """Keeps `data`; harmless when it is there already.

        Returns:
            The digest, hex.

        Raises:
            StorageError: The disk is full or failing; nothing was half-written.
        """
        ...

    def has(self, digest: str) -> bool:
        """Whether the blob is there."""
        ...

    def read(self, digest: str) -> bytes:
        """The bytes.

        Raises:
            KeyError: No such blob.
            StorageError: What lies there is not what was put.
        """
        ...

    def path(self, digest: str) -> Path:
        """The file of a blob.

        Raises:
            KeyError: No such blob.
        """
        ...


class FolderBlobStore:
    """Blobs as files of a folder.

    Args:
        folder: Created when missing.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        durable.make_folder(folder)

    def put(self, data: bytes) -> str:
        """See `BlobStore.put`."""
        digest = hashlib.sha256(data).hexdigest()
        target = self._place(digest)
        if target.exists():
            durable.fsync_folder(target.parent)
        else:
            durable.write_bytes(target, data, point="blob.put")
        return digest

    def adopt(self, files: dict[str, Path]) -> None:
        """Moves finished, checked files into the store, all of them durable on return.

        Args:
            files: Digest to a file on the same file system, whose content has that digest.

        Raises:
            StorageError: A rename failed; what was moved stays, the rest is where it was.
        """
        moves = [(path, self._place(digest)) for digest, path in files.items()]
        durable.publish_files(moves, point="blob.adopt")

    def has(self, digest: str) -> bool:
        """See `BlobStore.has`."""
        return is_digest(digest) and self._file(digest).is_file()

    def read(self, digest: str) -> bytes:
        """See `BlobStore.read`."""
        data = self.path(digest).read_bytes()
        if hashlib.sha256(data).hexdigest() != digest:
            raise StorageError(
                f"{self._file(digest)} is damaged: its content does not match its name", hint="restore it from a backup"
            )
        return data

    def path(self, digest: str) -> Path:
        """See `BlobStore.path`."""
        if not self.has(digest):
            raise KeyError(digest)
        return self._file(digest)

    def _file(self, digest: str) -> Path:
        return self._folder / digest[:2] / digest

    def _place(self, digest: str) -> Path:
        if not is_digest(digest):
            raise FormatError(f"{digest!r} is not a SHA-256 in hex")
        target = self._file(digest)
        durable.make_folder(target.parent)
        return target

"""Bytes by their digest: what every place for pictures promises. Places: `folder_blobs.py`, `object_blobs.py`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

from cloud_train.store.digests import is_digest
from cloud_train.store.folder_blobs import FolderBlobStore

__all__ = ["BlobStore", "FolderBlobStore", "is_digest"]


class BlobStore(Protocol):
    """Bytes by their SHA-256. Thread-safe; a blob is there whole or not at all, and one that was put stays.

    But for what nothing names: a sweep (`sweep.py`) sets that aside, where it can still be read, and removes it later.

    Every call raises `StorageError` when the place fails: full, failing, out of reach. Nothing is half-written then,
    and the same call may be repeated.
    """

    def put(self, data: bytes) -> str:
        """Keeps `data`; harmless when it is there already.

        Returns:
            The digest, hex.
        """
        ...

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """Keeps several small payloads, all of them durable on return.

        Args:
            items: Digest to bytes, which the caller has checked against each other.

        Raises:
            FormatError: A key is no digest; nothing was kept.
        """
        ...

    def adopt(self, files: Mapping[str, Path]) -> None:
        """Takes finished, checked files over, all of them durable on return; they are gone from where they were.

        Args:
            files: Digest to a file whose content has that digest; for a folder on the same file system.

        Raises:
            FormatError: A key is no digest; nothing was moved.
        """
        ...

    def has(self, digest: str) -> bool:
        """Whether the blob is there to stay; one that was set aside is not, and should be put again."""
        ...

    def read(self, digest: str) -> bytes:
        """The bytes, checked against the digest.

        Raises:
            KeyError: No such blob.
            StorageError: What lies there is not what was put.
        """
        ...

    def path(self, digest: str) -> Path:
        """A local file with the bytes: the blob itself, or a copy that may go when much else is asked for.

        Raises:
            KeyError: No such blob.
        """
        ...

    def digests(self) -> Iterator[str]:
        """All digests that can be read, in no order; what is put meanwhile may be left out."""
        ...

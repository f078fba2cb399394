"""Bytes by digest, in an object store: `<url>/<first two hex digits>/<digest>`; `<url>/aside`: see `aside.py`."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path

from cloud_train.store.digests import ASIDE, check_digests, is_digest, place_of
from cloud_train.store.objects import ObjectPlace
from edge import durable
from edge.errors import DamagedError

CACHE_BYTES = 20 << 30
"""Local copies are kept up to so much; half of it goes when it is full."""


class ObjectBlobStore:
    """`BlobStore` in an object store, with checked local copies of what is asked for as a file.

    Args:
        place: Where the objects are.
        cache: Local folder for copies; made when first needed. Nothing in it is needed.
        cache_bytes: Most that is kept there.
    """

    def __init__(self, place: ObjectPlace, *, cache: Path, cache_bytes: int = CACHE_BYTES) -> None:
        self._place, self._cache, self._cache_bytes = place, cache, cache_bytes
        self._guard = threading.Lock()
        self._used: int | None = None

    def put(self, data: bytes) -> str:
        """See `BlobStore.put`."""
        digest = hashlib.sha256(data).hexdigest()
        if not self._place.has(place_of(digest)):
            self.put_many({digest: data})
        return digest

    def put_many(self, items: Mapping[str, bytes]) -> None:
        """See `BlobStore.put_many`; what is there is written again, which is cheaper than to ask."""
        check_digests(items)
        durable.reached("blob.put:before")
        self._place.write({place_of(digest): data for digest, data in items.items()})
        durable.reached("blob.put:after")

    def adopt(self, files: Mapping[str, Path]) -> None:
        """See `BlobStore.adopt`."""
        check_digests(files)
        durable.reached("blob.adopt:before")
        self._place.upload({place_of(digest): path for digest, path in files.items()})
        for path in files.values():
            path.unlink(missing_ok=True)
        durable.reached("blob.adopt:after")

    def has(self, digest: str) -> bool:
        """See `BlobStore.has`."""
        return is_digest(digest) and self._place.has(place_of(digest))

    def read(self, digest: str) -> bytes:
        """See `BlobStore.read`; never from the cache."""
        data = self._bytes(digest)
        if hashlib.sha256(data).hexdigest() != digest:
            raise DamagedError(
                f"{self._place.url}/{place_of(digest)} is damaged: its content does not match its name",
                hint="restore it from a backup",
            )
        return data

    def path(self, digest: str) -> Path:
        """See `BlobStore.path`; a copy that was checked when it was made."""
        local = self._cache / digest
        if is_digest(digest) and local.is_file():
            with contextlib.suppress(OSError):
                local.touch()  # what is in use stays longest
            return local
        data = self.read(digest)
        self._make_room(len(data))
        durable.make_folder(self._cache)
        durable.write_bytes(local, data, point="blob.cache")
        return local

    def digests(self) -> Iterator[str]:
        """See `BlobStore.digests`."""
        seen = set[str]()
        for path, _ in self._place.list():
            name = path.rpartition("/")[2]
            if is_digest(name) and path in (place_of(name), f"{ASIDE}/{name}") and name not in seen:
                seen.add(name)
                yield name

    def _bytes(self, digest: str) -> bytes:
        """What lies there; looked for once more at the end, for what is set aside may just have been brought back."""
        if is_digest(digest):
            for path in (place_of(digest), f"{ASIDE}/{digest}", place_of(digest)):
                with contextlib.suppress(FileNotFoundError):
                    return self._place.read(path)
        raise KeyError(digest)

    def _make_room(self, size_bytes: int) -> None:
        with self._guard:
            if self._used is None:
                self._used = sum(path.stat().st_size for path in self._copies())
            self._used += size_bytes
            if self._used <= self._cache_bytes:
                return
            kept = 0
            for path in sorted(self._copies(), key=lambda path: -path.stat().st_mtime):
                kept += path.stat().st_size
                if kept > self._cache_bytes // 2:
                    path.unlink(missing_ok=True)
            self._used = None

    def _copies(self) -> list[Path]:
        return [path for path in self._cache.glob("*") if is_digest(path.name)]

"""What conversions need not do twice: exported and quantized models, ranges, verdicts, each by the content it is of.

An entry is one file, named by the digest of everything it was made from, so that it can be wrong only where it is
damaged: each holds the digest of its own bytes, and one that does not fit is made again.
"""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from edge import durable, jsonvalue
from edge.errors import EdgeloopError, FormatError

T = TypeVar("T")
MAX_BYTES = 2_000_000_000
_DIGEST_SIZE = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionCache:
    """A folder of results; the oldest go when it grows beyond its limit.

    Attributes:
        folder: Where they lie; None to keep nothing.
        max_bytes: Most bytes that are kept.
    """

    folder: Path | None = None
    max_bytes: int = MAX_BYTES

    def bytes_of(self, key: object, make: Callable[[], bytes]) -> bytes:
        """What `key` stands for: found, or made and kept.

        Args:
            key: Everything that the result depends on, as JSON values or dataclasses.
            make: Makes it.

        Returns:
            The same bytes as `make` would give. A cache that cannot be written is no error.
        """
        if self.folder is None:
            return make()
        path = self.folder / jsonvalue.digest_of(key)
        found = _read(path)
        if found is None:
            found = make()
            with contextlib.suppress(EdgeloopError, OSError):  # another process may be shedding too
                durable.make_folder(self.folder)
                durable.write_bytes(path, hashlib.sha256(found).digest() + found, point="conversion.cache")
                self._shed()
        return found

    def value_of(self, key: object, kind: type[T], make: Callable[[], T]) -> T:
        """Like `bytes_of`, for a dataclass that has a JSON form."""
        data = self.bytes_of(key, lambda: jsonvalue.canonical_bytes(make()))
        try:
            return jsonvalue.load(kind, data, where="conversion cache")
        except FormatError:  # written by another version of edgeloop
            self._forget(key)
            return jsonvalue.load(kind, self.bytes_of(key, lambda: jsonvalue.canonical_bytes(make())), where="made")

    def _forget(self, key: object) -> None:
        if self.folder is not None:
            with contextlib.suppress(OSError):
                (self.folder / jsonvalue.digest_of(key)).unlink()

    def _shed(self) -> None:
        """Removes the entries that were not used for longest, until the rest fits."""
        assert self.folder is not None  # noqa: S101
        entries = sorted(
            ((path.stat().st_mtime_ns, path.stat().st_size, path) for path in self.folder.iterdir()), reverse=True
        )
        total = 0
        for _, size, path in entries:
            total += size
            if total > self.max_bytes:
                path.unlink(missing_ok=True)


def _read(path: Path) -> bytes | None:
    """An entry's content; None where there is none, or a damaged one."""
    try:
        data = path.read_bytes()
    except OSError:
        return None
    with contextlib.suppress(OSError):  # of somebody else: it is used all the same
        path.touch()
    digest, content = data[:_DIGEST_SIZE], data[_DIGEST_SIZE:]
    return content if hashlib.sha256(content).digest() == digest else None

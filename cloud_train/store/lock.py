"""One holder at a time, across processes: a lock that the system frees when its holder dies."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from edge.durable import storage_error
from edge.errors import EdgeloopError


@contextmanager
def exclusive(path: Path, *, busy: EdgeloopError | None = None) -> Iterator[None]:
    """Holds the lock file `path` for the duration of the block.

    Args:
        path: The lock file; it stays, empty.
        busy: Raised at once when another process holds the lock; None waits for it.

    Raises:
        StorageError: The lock file cannot be made.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    except OSError as cause:
        raise storage_error(path, cause) from cause
    try:
        _acquire(handle, busy)
        yield
    finally:
        os.close(handle)


def _acquire(handle: int, busy: EdgeloopError | None) -> None:
    if busy is None:
        fcntl.flock(handle, fcntl.LOCK_EX)
        return
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise busy from None

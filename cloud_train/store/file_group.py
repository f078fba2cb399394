"""Several new files at once, with as few waits for the disk as can be.

Paths are texts here: for two thousand files a second, path objects cost more than the calls they are made for.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from pathlib import Path

from edge import durable

MAX_OPEN = 64
"""Files of one group; larger ones are written in several."""


def write_group(files: Mapping[str, bytes]) -> None:
    """Writes new files and makes their content durable; their names are the caller's to make durable.

    The system is told to begin with each before the first is waited for: the disk then has them all to work on, and
    one commit of the file system's journal serves them together.

    Args:
        files: Paths, none of which may exist, and contents; at most `MAX_OPEN`.

    Raises:
        StorageError: The disk is full or failing; any of the files may be there.
    """
    handles: list[int] = []
    path = ""
    try:
        for path, data in files.items():
            handles.append(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
            _write(handles[-1], data)
            _begin(handles[-1])
        for handle in handles:
            os.fsync(handle)
    except OSError as cause:
        raise durable.storage_error(Path(path).parent, cause) from cause
    finally:
        for handle in handles:
            os.close(handle)


def remove(paths: Iterable[str]) -> None:
    """Removes files, as far as that is possible."""
    for path in paths:
        try:
            os.unlink(path)  # noqa: PTH108
        except OSError:
            continue


def _write(handle: int, data: bytes) -> None:
    written = os.write(handle, data)
    while written < len(data):
        written += os.write(handle, memoryview(data)[written:])


def _begin(handle: int) -> None:
    """Has the system write a file out, and does not wait. Linux does so when told that its pages are not needed."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)

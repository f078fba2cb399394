"""Writing files that must survive a pulled plug: the only place in edgeloop that does so.

A durable write is: write to a temporary file beside the target, fsync it, rename it over the target, fsync the
folder. Readers see the old content or the new, never a mixture. Each durable write, here and each SQLite commit in
the outbox, reports to `reached`, so that a test can end the process at every one of them in turn.
"""

from __future__ import annotations

import contextlib
import errno
import os
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from edge.errors import StorageError

_observer: Callable[[str], None] | None = None


def observe(observer: Callable[[str], None] | None) -> None:
    """Calls `observer(point)` at every durable write from now on; None stops it. For fault tests."""
    global _observer
    _observer = observer


def reached(point: str) -> None:
    """Marks a durable write as about to begin (`…:before`) or just done (`…:after`).

    Args:
        point: Name of the write, for instance `outbox.put:after`.
    """
    if _observer is not None:
        _observer(point)


def storage_error(path: Path, cause: OSError) -> StorageError:
    """Says what a failed write means, in one line.

    Args:
        path: The file or folder that was being written.
        cause: What the operating system answered.
    """
    hints = {
        errno.ENOSPC: "free some space and run the same command again",
        errno.EDQUOT: "free some space and run the same command again",
        errno.EROFS: "remount the disk for writing",
        errno.EACCES: "check the owner and permissions of the folder",
        errno.EPERM: "check the owner and permissions of the folder",
    }
    return StorageError(
        f"cannot write {path}: {os.strerror(cause.errno or 0).lower()}",
        hint=hints.get(cause.errno or 0, "check the disk"),
    )


def fsync_folder(folder: Path) -> None:
    """Makes renames and new names inside `folder` survive a power cut."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_bytes(path: Path, data: bytes, *, point: str = "file", mode: int = 0o644) -> None:
    """Replaces `path` by `data`, whole or not at all.

    Args:
        path: Target; its folder must exist.
        data: The new content.
        point: Name of this write for `reached`.
        mode: Permissions of the file.

    Raises:
        StorageError: The disk is full, read-only or failing; the old content stands.
    """
    write_chunks(path, (data,), point=point, mode=mode)


def write_chunks(path: Path, chunks: Iterable[bytes], *, point: str = "file", mode: int = 0o644) -> None:
    """Like `write_bytes`, for content that comes in pieces."""
    reached(f"{point}:before")
    temporary: str | None = None
    try:
        handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            os.fchmod(file.fileno(), mode)
            for chunk in chunks:
                file.write(chunk)
            file.flush()
            os.fsync(file.fileno())
        reached(f"{point}:written")
        os.replace(temporary, path)
        temporary = None
        fsync_folder(path.parent)
    except OSError as cause:
        raise storage_error(path, cause) from cause
    finally:
        if temporary is not None:
            with contextlib.suppress(OSError):
                Path(temporary).unlink(missing_ok=True)
    reached(f"{point}:after")


def make_folder(folder: Path) -> None:
    """Creates `folder` and its parents so that they survive a power cut."""
    missing = []
    current = folder
    while not current.exists():
        missing.append(current)
        current = current.parent
    try:
        for path in reversed(missing):
            path.mkdir(exist_ok=True)
            fsync_folder(path.parent)
    except OSError as cause:
        raise storage_error(folder, cause) from cause


def publish_folder(staging: Path, target: Path, *, point: str = "folder") -> None:
    """Renames a finished folder into place after fsyncing what is in it.

    Args:
        staging: A finished folder on the same file system as `target`.
        target: Where it shall appear; must not exist.
        point: Name of this write for `reached`.

    Raises:
        StorageError: The rename failed; `staging` still stands.
    """
    reached(f"{point}:before")
    try:
        for path in sorted(staging.rglob("*")):
            if path.is_file():
                with path.open("rb") as file:
                    os.fsync(file.fileno())
            elif path.is_dir():
                fsync_folder(path)
        fsync_folder(staging)
        staging.rename(target)
        fsync_folder(target.parent)
    except OSError as cause:
        raise storage_error(target, cause) from cause
    reached(f"{point}:after")


def sweep(folder: Path) -> int:
    """Removes temporary files that a killed process left in `folder`.

    Returns:
        How many were removed.
    """
    leftovers = [path for path in folder.glob(".*.tmp") if path.is_file()]
    for path in leftovers:
        path.unlink(missing_ok=True)
    return len(leftovers)


def publish_files(moves: Iterable[tuple[Path, Path]], *, point: str = "files") -> None:
    """Renames finished files into place after fsyncing each; a folder shared by several is fsynced once.

    Args:
        moves: Finished file and target, both on one file system; a target that exists is replaced.
        point: Name of this write for `reached`.

    Raises:
        StorageError: A rename failed; the files before it have moved, the others stand.
    """
    pairs = tuple(moves)
    reached(f"{point}:before")
    current = pairs[0][1] if pairs else Path()
    try:
        for source, target in pairs:
            current = target
            with source.open("rb") as file:
                os.fsync(file.fileno())
        for source, target in pairs:
            current = target
            os.replace(source, target)
        for folder in sorted({target.parent for _, target in pairs}):
            fsync_folder(folder)
    except OSError as cause:
        raise storage_error(current, cause) from cause
    reached(f"{point}:after")


def replace_bytes(path: Path, data: bytes) -> None:
    """Replaces `path` whole, without waiting for the disk: for state that is rewritten every second and may be lost.

    Readers see the old content or the new; after a power cut either may be gone. Not a durable write, so `reached` is
    not told.

    Raises:
        StorageError: The disk is full, read-only or failing; the old content stands.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.write_bytes(data)
        os.replace(temporary, path)
    except OSError as cause:
        with contextlib.suppress(OSError):  # a read-only disk says so here too
            temporary.unlink(missing_ok=True)
        raise storage_error(path, cause) from cause

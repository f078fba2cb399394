"""Mounts that only this process and its children see, so that nothing stays mounted however they end. Linux, root.

python -m device_tests.mounts        # may this machine make them? Ends with status 77 and the reason if not
"""

from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

from device_tests.plan import SkippedError

_NEW_MOUNTS = 0x20000  # CLONE_NEWNS
_READ_ONLY = 0x1
_REMOUNT = 0x20
_BIND = 0x1000
_RECURSIVE = 0x4000
_PRIVATE = 0x40000
_DETACH = 2


def leave_shared_mounts() -> None:
    """From now on this process mounts for itself alone.

    Raises:
        SkippedError: Not Linux, not root, or forbidden, as in most containers.
    """
    if sys.platform != "linux" or os.geteuid() != 0:
        raise SkippedError("mounting needs root on Linux")
    if _libc().unshare(_NEW_MOUNTS) != 0:
        raise SkippedError(f"no mounts can be made here: {_reason()}")
    _mount("none", Path("/"), "", _RECURSIVE | _PRIVATE, "")


def mount_tmpfs(folder: Path, *, size_bytes: int) -> None:
    """A small disk in memory.

    Raises:
        SkippedError: It cannot be mounted here.
    """
    _mount("tmpfs", folder, "tmpfs", 0, f"size={size_bytes}")


def turn_read_only(folder: Path, is_read_only: bool) -> None:
    """Lets nobody write to a small disk, or lets them again; no file on it may be open for writing.

    Raises:
        SkippedError: It cannot be done here.
    """
    _mount("tmpfs", folder, "tmpfs", _REMOUNT | (_READ_ONLY if is_read_only else 0), "")


def unmount(folder: Path) -> None:
    """Takes away what is mounted there; harmless where nothing is."""
    _libc().umount2(os.fsencode(folder), _DETACH)


def mount_proc(folder: Path) -> None:
    """The processes, as the kernel tells them; raises as `mount_tmpfs`."""
    _mount("proc", folder, "proc", 0, "")


def bind(source: Path, target: Path) -> None:
    """Shows a file or folder, with what is mounted in it, at a second place; raises as `mount_tmpfs`."""
    _mount(str(source), target, "", _BIND | _RECURSIVE, "")


def _mount(source: str, target: Path, kind: str, flags: int, options: str) -> None:
    texts = (kind.encode() or None, options.encode() or None)
    if _libc().mount(os.fsencode(source), os.fsencode(target), texts[0], ctypes.c_ulong(flags), texts[1]) != 0:
        raise SkippedError(f"{source} cannot be mounted at {target}: {_reason()}")


def _libc() -> ctypes.CDLL:
    return ctypes.CDLL(None, use_errno=True)


def _reason() -> str:
    return os.strerror(ctypes.get_errno()).lower()


if __name__ == "__main__":
    try:
        leave_shared_mounts()
    except SkippedError as reason:
        print(reason, file=sys.stderr)
        sys.exit(77)

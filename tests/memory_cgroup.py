"""A real memory limit for a child process: a control group, version 1 or 2, as root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

_V1 = Path("/sys/fs/cgroup/memory")
_V2 = Path("/sys/fs/cgroup")


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryGroup:
    """A group with a limit.

    Attributes:
        folder: Where the kernel shows it.
        procs: File that a process writes its number into to join.
    """

    folder: Path
    procs: Path

    def peak_bytes(self) -> int:
        """Most memory that was ever charged, page cache included."""
        for name in ("memory.max_usage_in_bytes", "memory.peak"):
            if (self.folder / name).exists():
                return int((self.folder / name).read_text())
        raise AssertionError(f"no peak in {self.folder}")


@contextlib.contextmanager
def memory_group(limit_bytes: int) -> Iterator[MemoryGroup]:
    """A group for one test; skips where the kernel has none that can be written to."""
    is_v1 = (_V1 / "memory.limit_in_bytes").exists()
    root, name = (_V1, "memory.limit_in_bytes") if is_v1 else (_V2, "memory.max")
    folder = root / f"edgeloop-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / name).write_text(str(limit_bytes))
    except OSError as cause:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"faults: no control group with a memory limit here: {cause.strerror}")
    try:
        yield MemoryGroup(folder=folder, procs=folder / "cgroup.procs")
    finally:
        folder.rmdir()

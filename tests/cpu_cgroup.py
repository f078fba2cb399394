"""A real processor limit for a child process: a control group, version 1, as root."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

_ROOT = Path("/sys/fs/cgroup/cpu")
_PERIOD_US = 100_000


@contextlib.contextmanager
def cpu_group(share: float) -> Iterator[Path]:
    """A group that gets such a share of one processor.

    Yields:
        The file that a process writes its number into to join.
    """
    folder = _ROOT / f"edgeloop-test-{os.getpid()}"
    try:
        folder.mkdir()
        (folder / "cpu.cfs_period_us").write_text(str(_PERIOD_US))
        (folder / "cpu.cfs_quota_us").write_text(str(int(share * _PERIOD_US)))
    except OSError as cause:
        with contextlib.suppress(OSError):
            folder.rmdir()
        pytest.skip(f"faults: no control group with a processor limit here: {cause.strerror}")
    try:
        yield folder / "cgroup.procs"
    finally:
        folder.rmdir()

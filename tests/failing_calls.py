"""System calls of a process that fail when a test says so, by libfiu around it."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

import pytest

_EIO = 5
FLUSHES = ("posix/io/sync/fsync", "posix/io/sync/fdatasync")


class FailingCalls:
    """A process under libfiu, whose calls can be made to fail while it runs.

    Attributes:
        before: Words put before its command.
    """

    def __init__(self) -> None:
        if shutil.which("fiu-run") is None:
            pytest.skip("faults: no fiu-run here (package fiu-utils)")
        self._base = Path(tempfile.mkdtemp(prefix="edgeloop-fiu-")) / "control"
        self.before = ("fiu-run", "-x", "-f", str(self._base))

    def fail(self, pid: int, names: Sequence[str] = FLUSHES, *, share: float = 0.5, errno: int = _EIO) -> None:
        """From now on such a share of these calls fails."""
        for name in names:
            self._tell(pid, f"enable_random name={name},probability={share},failinfo={errno}")

    def heal(self, pid: int, names: Sequence[str] = FLUSHES) -> None:
        """From now on they work again."""
        for name in names:
            self._tell(pid, f"disable name={name}")

    def close(self) -> None:
        """Removes the pipes."""
        shutil.rmtree(self._base.parent, ignore_errors=True)

    def _tell(self, pid: int, command: str) -> None:
        subprocess.run(
            ["fiu-ctrl", "-f", str(self._base), "-c", command, str(pid)],  # noqa: S607
            check=True,
            capture_output=True,
            timeout=20,
        )

"""The time of day of a process, set from outside while it runs, by libfaketime."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

_LIBRARY = "faketime/libfaketimeMT.so.1"


class JumpingClock:
    """Off by nothing at first. What counts the seconds of a wait goes on as ever.

    Args:
        file: Where the library reads how far it is off.

    Attributes:
        environment: Of the process.
        off_s: Seconds from the true time.
    """

    def __init__(self, file: Path) -> None:
        library = next((path for path in Path("/usr/lib").glob(f"*/{_LIBRARY}")), None)
        if library is None:
            pytest.skip("no libfaketime here (package libfaketime)")
        self._file = file
        self.environment = {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(file),
            "FAKETIME_CACHE_DURATION": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        self.set_off(0)

    def set_off(self, seconds: float) -> None:
        """The process notices within a second."""
        fresh = self._file.with_suffix(".new")
        fresh.write_text(f"{seconds:+.0f}\n")
        fresh.replace(self._file)
        self.off_s = seconds

    def now(self) -> float:
        """What the process takes for now."""
        return time.time() + self.off_s

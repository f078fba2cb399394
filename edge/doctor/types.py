"""The values of an examination: what is looked at, what is found, how one check is made."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from edge.home import DeviceHome
from edge.settings import AgentSettings


class State(enum.Enum):
    """How a finding came out. WARN works but will not for long, or not well; SKIPPED was not looked at."""

    OK = "ok"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        name: What it is about.
        state: How it came out.
        detail: What was found, in one line.
        fix: What to do about it, in one line; empty where all is well.
    """

    name: str
    state: State
    detail: str
    fix: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """The device that is examined.

    Attributes:
        settings: What it was told.
        offline: Whether the server is to be left alone.
        is_running: Whether an agent works in the home: what would disturb it is skipped.
        now: Seconds since the epoch, UTC.
        root: Where `/proc`, `/sys` and `/run` are read.
    """

    settings: AgentSettings
    offline: bool = False
    is_running: bool = False
    now: float
    root: Path = Path("/")

    @property
    def home(self) -> DeviceHome:
        """The device's folder."""
        return DeviceHome(folder=self.settings.home)

    def text(self, path: str) -> str:
        """What a file of the system says, without white space around it; empty where it cannot be read.

        Args:
            path: Below `root`, for instance `proc/meminfo`.
        """
        try:
            return (self.root / path).read_text(errors="replace").strip()
        except OSError:
            return ""


Examination = Callable[[Subject], tuple[Finding, ...]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One part of the examination.

    Attributes:
        name: What its findings are about.
        examine: Looks, and says what it found.
        limit_s: When it has taken so long it is given up.
        stuck_fix: What to do when it was given up.
    """

    name: str
    examine: Examination
    limit_s: float = 15.0
    stuck_fix: str = "restart the device, and run the doctor again"

"""How often the agent began in a home, and how often the time before had no proper end: a crash, a kill, a power cut.

One small file, written durably at every start and every proper stop. A device that crashes in a loop shows it here,
also when each life is too short to tell anybody anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

from edge import durable, jsonvalue
from edge.errors import FormatError

_FILE = "starts.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Starts:
    """Starts of the agent in one home.

    Attributes:
        starts: All of them.
        unclean: Of these, after an end that was no proper stop.
        running: Whether it began and has not ended properly since.
    """

    starts: int = 0
    unclean: int = 0
    running: bool = False


def read_starts(home: Path) -> Starts:
    """What was counted; nothing where the file is missing or damaged, for a count is not worth a device."""
    try:
        return jsonvalue.load(Starts, (home / _FILE).read_bytes(), where=_FILE)
    except (OSError, FormatError):
        return Starts()


def count_start(home: Path) -> Starts:
    """Counts a start; unclean when the one before never said that it ended.

    Args:
        home: The device's home, held by this process.

    Raises:
        StorageError: The disk is full or failing; nothing was counted.
    """
    before = read_starts(home)
    now = Starts(starts=before.starts + 1, unclean=before.unclean + before.running, running=True)
    _write(home, now)
    return now


def ended_cleanly(home: Path) -> None:
    """Notes a proper stop, so that the next start counts as a clean one.

    Raises:
        StorageError: The disk is full or failing; the next start will count as unclean.
    """
    before = read_starts(home)
    if before.running:
        _write(home, replace(before, running=False))


def _write(home: Path, starts: Starts) -> None:
    durable.make_folder(home)
    durable.write_bytes(home / _FILE, jsonvalue.canonical_bytes(starts), point="update.starts")

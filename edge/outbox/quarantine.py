"""Setting a damaged outbox file aside, so that a new one can take its place and nothing of the old one is lost.

`outbox.sqlite` becomes `outbox.sqlite.damaged-1` with its log beside it; `outbox.sqlite.damaged-1.unsalvaged` stands
there from before the first rename until what can be read was taken over, and says what was wrong.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from edge import durable

NUM_KEPT = 1
"""Damaged files that stay for a person to look at after they were salvaged; each may be as large as the outbox."""

_SIDES = ("-wal", "-shm")
_MARK = ".unsalvaged"


def set_aside(path: Path, reason: str) -> Path:
    """Moves a damaged file, which no process has open, out of the way.

    Args:
        path: The file.
        reason: What is wrong with it.

    Returns:
        Where it is now; never the place of an older one.

    Raises:
        StorageError: The folder cannot be written.
    """
    damaged = _damaged(path, max(_numbers(path), default=0) + 1)
    durable.write_bytes(_mark_of(damaged), reason.encode(), point="outbox.quarantine.mark")
    durable.reached("outbox.quarantine:before")
    try:
        path.rename(damaged)
        durable.reached("outbox.quarantine:renamed")
        _move_sides(path, damaged)
    except OSError as cause:
        raise durable.storage_error(path, cause) from cause
    durable.reached("outbox.quarantine:after")
    return damaged


def go_on(path: Path) -> None:
    """Finishes what a kill has interrupted in `set_aside`; to be called before the file is opened.

    Raises:
        StorageError: The folder cannot be written.
    """
    for damaged in unsalvaged(path):
        try:
            if not damaged.exists():
                _mark_of(damaged).unlink()
            elif not path.exists():
                _move_sides(path, damaged)
        except OSError as cause:
            raise durable.storage_error(path, cause) from cause


def unsalvaged(path: Path) -> list[Path]:
    """The damaged files that are still to be read, oldest first."""
    return [damaged for damaged in _all(path) if _mark_of(damaged).exists()]


def reason_of(damaged: Path) -> str:
    """What was wrong with it."""
    try:
        return _mark_of(damaged).read_text(errors="replace")
    except OSError as cause:
        raise durable.storage_error(damaged, cause) from cause


def salvaged(path: Path, damaged: Path) -> None:
    """Writes down that all of it was taken over, and only then removes the oldest ones.

    Raises:
        StorageError: The folder cannot be written.
    """
    durable.reached("outbox.salvaged:before")
    try:
        _mark_of(damaged).unlink()
        durable.fsync_folder(path.parent)
        durable.reached("outbox.salvaged:unmarked")
        done = [one for one in _all(path) if not _mark_of(one).exists()]
        for oldest in done[:-NUM_KEPT]:
            for name in (oldest, *(_beside(oldest, side) for side in _SIDES)):
                name.unlink(missing_ok=True)
    except OSError as cause:
        raise durable.storage_error(damaged, cause) from cause
    durable.reached("outbox.salvaged:after")


def _move_sides(path: Path, damaged: Path) -> None:
    for side in _SIDES:
        if _beside(path, side).exists() and not _beside(damaged, side).exists():
            os.replace(_beside(path, side), _beside(damaged, side))
    durable.fsync_folder(path.parent)


def _all(path: Path) -> list[Path]:
    return [_damaged(path, number) for number in sorted(_numbers(path))]


def _numbers(path: Path) -> set[int]:
    pattern = re.compile(re.escape(path.name) + r"\.damaged-(\d+)(-wal|-shm|\.unsalvaged)?")
    found = (pattern.fullmatch(other.name) for other in path.parent.iterdir())
    return {int(match[1]) for match in found if match}


def _damaged(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.damaged-{number}")


def _mark_of(damaged: Path) -> Path:
    return _beside(damaged, _MARK)


def _beside(path: Path, ending: str) -> Path:
    return path.with_name(path.name + ending)

"""Frames from a folder of pictures, as a camera would give them: in order, at a pace, again and again."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from edge.errors import ImageError, UsageError
from edge.types import Frame

_EMPTY_PASS_WAIT_S = 0.5


class Pace(Protocol):
    """How a source learns the time and waits."""

    def now(self) -> float:
        """Seconds since the epoch, UTC."""
        ...

    def wait(self, seconds: float) -> bool:
        """Waits; True when the source shall end."""
        ...


class FolderSource:
    """The pictures of a folder tree, sorted by path, read anew in each pass, so that new files join in.

    Hidden files and folders are left out. A file that cannot be read is reported and takes no sequence number.

    Args:
        folder: The tree.
        passes: How often to go through it; 0 means for ever.
        fps: Most frames a second; 0 for no limit.
        max_bytes: Larger files are refused.
        pace: Time, and waiting that can be cut short.
        unreadable: Called with path and reason for each file that cannot be read.
        pass_done: Called after each pass with its number, from 1.

    Raises:
        UsageError: No such folder, or not one file in it.
    """

    def __init__(
        self,
        folder: Path,
        *,
        passes: int,
        fps: float,
        max_bytes: int,
        pace: Pace,
        unreadable: Callable[[str, str], None],
        pass_done: Callable[[int], None] = lambda number: None,
    ) -> None:
        if not folder.is_dir():
            raise UsageError(f"no folder {folder}", hint="give --source a folder of pictures")
        if not list_pictures(folder):
            raise UsageError(f"no pictures in {folder}", hint="put JPEG, PNG or WebP files into it")
        self._folder = folder
        self._passes = passes
        self._interval_s = 1.0 / fps if fps > 0 else 0.0
        self._max_bytes = max_bytes
        self._pace = pace
        self._unreadable = unreadable
        self._pass_done = pass_done
        self.current_pass = 1

    def frames(self) -> Iterator[Frame]:
        """Yields frames until the last pass is over or `pace.wait` says stop."""
        sequence, due = 0, self._pace.now()
        while self._passes == 0 or self.current_pass <= self._passes:
            before = sequence
            for path in list_pictures(self._folder):
                data = self._read(path)
                if data is None:
                    continue
                if self._pace.wait(max(0.0, min(due - self._pace.now(), self._interval_s))):
                    return
                captured_at = self._pace.now()
                is_late = captured_at - due > self._interval_s
                due = (captured_at if is_late else due) + self._interval_s
                yield Frame(data=data, captured_at=captured_at, source=self._name(path), sequence=sequence)
                sequence += 1
            self._pass_done(self.current_pass)
            self.current_pass += 1
            if self._pace.wait(_EMPTY_PASS_WAIT_S if sequence == before and self._passes == 0 else 0.0):
                return

    def _read(self, path: Path) -> bytes | None:
        from edge.preprocess import DEFAULT_LIMITS, DecodeLimits, read_picture

        limits = DecodeLimits(max_bytes=self._max_bytes, max_pixels=DEFAULT_LIMITS.max_pixels)
        try:
            return read_picture(path, limits=limits)
        except ImageError as error:
            self._unreadable(self._name(path), error.message.removeprefix(f"{path}: "))
            return None

    def _name(self, path: Path) -> str:
        return path.relative_to(self._folder).as_posix()


def list_pictures(folder: Path) -> list[Path]:
    """Every file below `folder` that is not hidden, sorted by its path; whether it is a picture shows later."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())

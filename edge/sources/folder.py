"""Frames from a folder of pictures, as a camera would give them: in order, at a pace, again and again."""

from __future__ import annotations

import os
from collections.abc import Generator
from pathlib import Path

from edge.errors import ImageError, UsageError
from edge.sources.base import Pace, SourceEvents, SourceOptions
from edge.sources.stored import StoredSource


class FolderSource(StoredSource):
    """The pictures of a folder tree, sorted by path, read anew in each pass, so that new files join in.

    Hidden files and folders are left out. A file that cannot be read is reported and takes no sequence number.

    Args:
        folder: The tree.
        options: How often to go through it, how fast, and which files are too large.
        pace: Time, and waiting that can be cut short.
        events: Who is told of passes and of files that cannot be read, by their path in the folder.

    Raises:
        UsageError: No such folder, or not one file in it.
    """

    def __init__(self, folder: Path, options: SourceOptions, *, pace: Pace, events: SourceEvents) -> None:
        if not folder.is_dir():
            raise UsageError(f"no folder {folder}", hint="give --source a folder of pictures")
        if not list_pictures(folder):
            raise UsageError(f"no pictures in {folder}", hint="put JPEG, PNG or WebP files into it")
        super().__init__(options, pace=pace, events=events)
        self._folder = folder

    def pictures(self) -> Generator[tuple[str, bytes]]:
        """See `StoredSource.pictures`."""
        for path in list_pictures(self._folder):
            # Names are bytes; what is not UTF-8 could neither be written to a journal nor sent.
            name = os.fsencode(path.relative_to(self._folder)).decode("utf-8", "replace")
            data = self._read(path, name)
            if data is not None:
                yield name, data

    def _read(self, path: Path, name: str) -> bytes | None:
        from edge.preprocess import DEFAULT_LIMITS, DecodeLimits, read_picture

        limits = DecodeLimits(max_bytes=self._options.max_bytes, max_pixels=DEFAULT_LIMITS.max_pixels)
        try:
            return read_picture(path, limits=limits)
        except ImageError as error:
            self._events.unreadable(name, error.message.removeprefix(f"{path}: "))
            return None


def list_pictures(folder: Path) -> list[Path]:
    """Every file below `folder` that is not hidden, sorted by its path; whether it is a picture shows later."""
    found = []
    for place, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        found += [Path(place, name) for name in files if not name.startswith(".")]
    return sorted(found, key=lambda path: path.relative_to(folder).as_posix())

"""A release that somebody carried here on a USB stick: the same published files, read from a folder.

The folder is what `edgeloop publish export` wrote: signed metadata, a manifest, and the files in one `.edgebundle`.
It is trusted no more than a server: `TrustStore` and staging check what comes from here as they check everything.
Nothing is unpacked: a file of the bundle is read out of the archive when its digest is asked for, so no name in it can
lead anywhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from edge.bundle.archive import ARCHIVE_SUFFIX, MAX_FILES, listed_files
from edge.errors import BundleError, FormatError, RoadError, UsageError

_CHUNK_BYTES = 256 * 1024
_PATH = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]*(/[A-Za-z0-9_][A-Za-z0-9._-]*)*")
_FILES = "files/sha256/"
_MAX_ARCHIVES = 64
_PLUG_IN = "plug the stick in again and repeat the command; the device stays on the bundle it has"


_Place = tuple[zipfile.ZipFile, zipfile.ZipInfo]


class Stick:
    """Published files from a folder (`edge.update.published.PublishedFiles`).

    Args:
        folder: What `edgeloop publish export` wrote.

    Raises:
        UsageError: There is no such folder, or no release in it.
    """

    def __init__(self, folder: Path) -> None:
        if not (folder / "metadata" / "timestamp.json").is_file():
            raise UsageError(
                f"there is no release in {folder}", hint="give the folder that `edgeloop publish export` wrote"
            )
        self._folder = folder
        self._files: dict[str, _Place] | None = None
        self._opened = contextlib.ExitStack()

    def fetch(self, path: str, *, offset: int) -> Iterator[bytes]:
        """Reads a published file from `offset` to its end; see `PublishedFiles.fetch`."""
        if not _PATH.fullmatch(path):
            raise FileNotFoundError(path)
        try:
            with self._open(path) as file:
                file.seek(offset)
                while chunk := file.read(_CHUNK_BYTES):
                    yield chunk
        except FileNotFoundError:
            if not self._folder.is_dir():
                raise RoadError(f"{self._folder} is gone", hint=_PLUG_IN) from None
            raise
        except (OSError, zipfile.BadZipFile, EOFError, ValueError, RuntimeError, NotImplementedError) as cause:
            raise RoadError(f"{self._folder}: {path} cannot be read: {cause}", hint=_PLUG_IN) from cause

    def close(self) -> None:
        """Lets go of the archives, so that the stick can be pulled."""
        self._opened.close()
        self._files = None

    def _open(self, path: str) -> IO[bytes]:
        if path.startswith(_FILES):
            place = self._in_archives().get(path.removeprefix(_FILES))
            if place is None:
                raise FileNotFoundError(path)
            return place[0].open(place[1])
        return _open_regular(self._folder.joinpath(*path.split("/")))

    def _in_archives(self) -> dict[str, _Place]:
        """Digest to where the file lies; an archive that cannot be read holds nothing."""
        if self._files is None:
            self._files = {}
            for file in sorted(self._folder.glob(f"*{ARCHIVE_SUFFIX}"))[:_MAX_ARCHIVES]:
                self._files |= self._look_into(file)
        return self._files

    def _look_into(self, file: Path) -> dict[str, _Place]:
        try:
            opened = self._opened.enter_context(_open_regular(file))
            archive = self._opened.enter_context(zipfile.ZipFile(opened))
            names = {info.filename: info for info in archive.infolist()[:MAX_FILES]}
            files = listed_files(file, archive)
        except (BundleError, FormatError, zipfile.BadZipFile, ValueError, NotImplementedError):
            return {}
        return {entry.sha256: (archive, names[entry.name]) for entry in files if entry.name in names}


def _open_regular(path: Path) -> IO[bytes]:
    """No links, which may lead anywhere, and no pipes, which would be waited for."""
    handle = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK)
    if not stat.S_ISREG(os.fstat(handle).st_mode):
        os.close(handle)
        raise FileNotFoundError(path)
    return os.fdopen(handle, "rb")

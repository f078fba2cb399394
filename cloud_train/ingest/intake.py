"""Uploads that have not ended yet: one growing file a digest, kept when a connection breaks, so that it goes on there.

Nothing here is promised to anybody: a file of this folder may be lost or dropped at any time, and the device sends
again. Blocking; called on worker threads.
"""

from __future__ import annotations

import threading
from pathlib import Path
from typing import BinaryIO

from cloud_train.ingest.picture import picture_fault
from cloud_train.store.digests import digest_of_file
from edge import durable
from edge.errors import RoadError
from edge.sync.types import SampleOffer

_RETRY_S = 5.0


class PayloadRefusedError(Exception):
    """A payload that can never become a sample; its message is the reason told to the device."""


class Intake:
    """The folder of unfinished uploads. Thread-safe; at most one upload a digest may be open.

    Args:
        folder: Created when missing, on the file system of the blob store.
        max_bytes: Most bytes of unfinished uploads; the oldest that nobody is sending are dropped first.
        max_pixels: Largest picture taken, width times height.
    """

    def __init__(self, folder: Path, *, max_bytes: int, max_pixels: int) -> None:
        durable.make_folder(folder)
        self._folder = folder
        self._max_bytes = max_bytes
        self._max_pixels = max_pixels
        self._lock = threading.Lock()
        self._open: dict[str, int] = {}
        self._there = {path.name for path in folder.iterdir()}  # or more: only what is missing here is surely not there

    def offset(self, offer: SampleOffer) -> int:
        """Bytes of an offered payload that are here already; 0 when more are here than it has."""
        try:
            size = (self._folder / offer.digest).stat().st_size
        except OSError:
            return 0
        return size if size <= offer.size_bytes else 0

    @property
    def num_remembered(self) -> int:
        """Uploads that may have left a file."""
        with self._lock:
            return len(self._there)

    def full(self) -> bool:
        """Whether the uploads that are open now have taken all the room."""
        with self._lock:
            return sum(self._open.values()) >= self._max_bytes

    def begin(self, offer: SampleOffer, *, offset: int) -> Upload:
        """Opens an upload at `offset`; what lies behind it is dropped.

        Args:
            offer: Its digest must not be open.
            offset: Bytes that the device does not send again.

        Raises:
            RoadError: There is no room now, or fewer than `offset` bytes are here: offer it again.
            StorageError: The file cannot be written.
        """
        path = self._folder / offer.digest
        try:
            self._reserve(offer)
            if self.offset(offer) < offset:
                raise RoadError(f"fewer than {offset} bytes of {offer.digest} are here", hint="offer it again")
            return Upload(self, path, offer, offset)
        except OSError as cause:
            self.release(offer.digest)
            raise durable.storage_error(path, cause) from cause
        except RoadError:
            self.release(offer.digest)
            raise

    def check(self, path: Path, offer: SampleOffer, *, resumed: bool) -> None:
        """Checks a payload that has ended.

        Raises:
            PayloadRefusedError: It is not the picture that was offered; it is gone.
            RoadError: Its earlier part, from another connection, was damaged; it is gone: send the whole again.
        """
        if digest_of_file(path) != offer.digest:
            path.unlink()
            if resumed:
                raise RoadError(f"the earlier part of {offer.digest} was damaged", hint="send it again from the start")
            raise PayloadRefusedError("the payload does not match its digest")
        if fault := picture_fault(path, max_pixels=self._max_pixels):
            path.unlink()
            raise PayloadRefusedError(fault)

    def forget(self, digest: str) -> None:
        """Drops what an earlier upload left, unless somebody is sending it."""
        with self._lock:
            if digest in self._there and digest not in self._open:
                (self._folder / digest).unlink(missing_ok=True)
                self._there.discard(digest)

    def release(self, digest: str) -> None:
        """Marks a digest as no longer open."""
        with self._lock:
            self._open.pop(digest, None)
            if not (self._folder / digest).exists():
                self._there.discard(digest)

    def _reserve(self, offer: SampleOffer) -> None:
        with self._lock:
            taken = sum(self._open.values()) + offer.size_bytes
            if taken > self._max_bytes:
                raise RoadError("too many uploads at a time", hint="try again later", retry_after_s=_RETRY_S)
            self._open[offer.digest] = offer.size_bytes
            self._there.add(offer.digest)
            self._drop_oldest(self._max_bytes - taken)

    def _drop_oldest(self, room: int) -> None:
        idle = [path for path in self._folder.iterdir() if path.name not in self._open]
        sizes = sorted(((path.stat(), path) for path in idle), key=lambda item: item[0].st_mtime)
        excess = sum(stat.st_size for stat, _ in sizes) - room
        for stat, path in sizes:
            if excess <= 0:
                return
            path.unlink()
            self._there.discard(path.name)
            excess -= stat.st_size


class Upload:
    """One payload on its way. Made by `Intake.begin`; used by one caller at a time."""

    def __init__(self, intake: Intake, path: Path, offer: SampleOffer, offset: int) -> None:
        self.offer = offer
        self.path = path
        self._intake = intake
        self._resumed = offset > 0
        self._position = offset
        self._file: BinaryIO = path.open("r+b" if path.exists() else "w+b", buffering=0)
        self._file.truncate(offset)
        self._file.seek(offset)

    def append(self, offset: int, data: bytes) -> None:
        """Adds the next piece.

        Raises:
            PayloadRefusedError: It is not the next one, or it is more than was offered; the file is gone.
            StorageError: The disk is full or failing.
        """
        if offset != self._position:
            self._refuse(f"offset {offset} where {self._position} comes next")
        if offset + len(data) > self.offer.size_bytes:
            self._refuse(f"more than the {self.offer.size_bytes} bytes that were offered")
        left = memoryview(data)
        try:
            while left:
                written = self._file.write(left)
                self._position += written
                left = left[written:]
        except OSError as cause:
            raise durable.storage_error(self.path, cause) from cause

    def finish(self) -> None:
        """Closes the file and checks it; it stays open for the intake until `close`.

        Raises:
            PayloadRefusedError: It is not the picture that was offered; the file is gone.
            RoadError: It must be sent again from the start.
        """
        if self._position != self.offer.size_bytes:
            self._refuse(f"ends after {self._position} of {self.offer.size_bytes} bytes")
        self._file.close()
        self._intake.check(self.path, self.offer, resumed=self._resumed)

    def close(self) -> None:
        """Lets go of the file; an unfinished one stays for the next attempt. Calling it twice is harmless."""
        self._file.close()
        self._intake.release(self.offer.digest)

    def _refuse(self, reason: str) -> None:
        self._file.close()
        self.path.unlink(missing_ok=True)
        raise PayloadRefusedError(reason)

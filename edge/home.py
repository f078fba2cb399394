"""The device's folder: where each thing lies, and the lock that keeps a second process out."""

from __future__ import annotations

import contextlib
import fcntl
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from edge import durable
from edge.errors import UsageError

_TRIES, _TRY_S = 5, 0.04


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHome:
    """The layout of a device's home.

    Attributes:
        folder: The home.
    """

    folder: Path

    @property
    def outbox(self) -> Path:
        """The durable queue."""
        return self.folder / "outbox.sqlite"

    @property
    def journal(self) -> Path:
        """One line for each answered frame."""
        return self.folder / "predictions.jsonl"

    @property
    def status(self) -> Path:
        """What the agent says about itself, about once a second."""
        return self.folder / "status.json"

    @property
    def statistics(self) -> Path:
        """Hours of statistics that no check-in has told."""
        return self.folder / "statistics.json"

    @property
    def tuning(self) -> Path:
        """What `edgeloop device tune` has found here."""
        return self.folder / "tune.json"

    @property
    def metered(self) -> Path:
        """Says by being there that every byte costs; other programs of the device make and remove it."""
        return self.folder / "metered"

    def is_metered(self) -> bool:
        """Whether that file is there; a disk that cannot tell counts as no."""
        try:
            return self.metered.exists()
        except OSError:
            return False

    @property
    def kiosk_audit(self) -> Path:
        """Who asked the kiosk for what, one line a request."""
        return self.folder / "kiosk-audit.jsonl"

    @property
    def lock(self) -> Path:
        """Held by the process that works in this home."""
        return self.folder / "agent.lock"

    @contextlib.contextmanager
    def hold(self) -> Iterator[None]:
        """Makes the folder and keeps every other process out of it until the end of the block.

        The operating system lets go of the lock when the process dies, however it dies.

        Raises:
            UsageError: Another process works here.
            StorageError: The folder cannot be made or written.
        """
        durable.make_folder(self.folder)
        try:
            handle = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        except OSError as cause:
            raise durable.storage_error(self.lock, cause) from cause
        try:
            _lock(handle, self.folder)
            durable.sweep(self.folder)
            yield
        finally:
            os.close(handle)

    def is_held(self) -> bool:
        """Whether a process works in this home right now."""
        try:
            handle = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return False
        try:
            fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except OSError:
            return True
        finally:
            os.close(handle)
        return False


def _lock(handle: int, folder: Path) -> None:
    try:
        _try_lock(handle)
    except OSError as cause:
        pid = os.pread(handle, 32, 0).decode("ascii", "replace").strip()
        owner = f" (process {pid})" if pid.isdigit() else ""
        raise UsageError(
            f"another edgeloop process works in {folder}{owner}", hint="stop it, or give this one another --home"
        ) from cause
    with contextlib.suppress(
        OSError
    ):  # the number is for people only; a full disk must not keep the device from starting
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)


def _try_lock(handle: int) -> None:
    """Tries for a moment: `is_held` in another process holds a shared lock for as long as a blink."""
    for _ in range(_TRIES - 1):
        with contextlib.suppress(BlockingIOError):
            return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        time.sleep(_TRY_S)
    return fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)

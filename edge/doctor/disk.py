"""The disk under the home: room, a real durable write, and what the kernel knows of its health."""

from __future__ import annotations

import contextlib
import os
import time
from pathlib import Path

from edge import durable
from edge.doctor.mounts import find_mount
from edge.doctor.types import Finding, State, Subject
from edge.errors import StorageError

_PROBE = "doctor.probe"
_PROBE_BYTES = 65_536
# What an update takes: a bundle being fetched, beside the two in the slots; and the outbox's log.
_LEAST_BYTES, _LOW_BYTES = 50_000_000, 500_000_000
_LEAST_INODES = 1_000
_SLOW_S = 0.5
_FREE = "free some space: empty the outbox with `edgeloop device sync`, move pictures away, or take a larger disk"


def examine_room(subject: Subject) -> tuple[Finding, ...]:
    """One finding: is there room for what the device was told to keep."""
    place = _standing(subject.settings.home)
    told = os.statvfs(place)
    free = told.f_bavail * told.f_frsize
    detail = f"{_size(free)} of {_size(told.f_blocks * told.f_frsize)} free in {place}"
    if free < _LEAST_BYTES:
        return (Finding(name="disk room", state=State.FAIL, detail=detail, fix=_FREE),)
    if told.f_files and told.f_favail < _LEAST_INODES:
        detail += f", room for {told.f_favail} more files only"
        return (Finding(name="disk room", state=State.FAIL, detail=detail, fix="remove small files"),)
    wanted = max(0, subject.settings.outbox_max_bytes - _size_of(subject.home.outbox))
    if free < wanted:
        detail += f"; the outbox may grow by {_size(wanted)}"
        fix = (
            f"set outbox_max_bytes to {max(1_000_000, (free + _size_of(subject.home.outbox)) // 2)}, or free some space"
        )
        return (Finding(name="disk room", state=State.WARN, detail=detail, fix=fix),)
    if free < _LOW_BYTES:
        return (Finding(name="disk room", state=State.WARN, detail=f"{detail}: low", fix=_FREE),)
    return (Finding(name="disk room", state=State.OK, detail=detail),)


def examine_writing(subject: Subject) -> tuple[Finding, ...]:
    """One finding: does a durable write go through, how long does it take, and will it still be there tomorrow."""
    place, name = _standing(subject.settings.home), "disk writing"
    mount = find_mount(subject, place)
    if mount is not None and "ro" in mount.options:
        detail = f"{mount.point} is mounted read-only"
        fix = f"mount -o remount,rw {mount.point}; if the kernel made it so, check the disk (fsck) and the journal"
        return (Finding(name=name, state=State.FAIL, detail=detail, fix=fix),)
    try:
        seconds = _write_durably(place / _PROBE)
    except StorageError as error:
        return (Finding(name=name, state=State.FAIL, detail=error.message, fix=error.hint),)
    detail = f"64 kB are safe on {mount.kind if mount else 'the disk'} after {seconds * 1000:.0f} ms"
    if mount is not None and mount.is_fleeting:
        lost = f"{place} lies on {mount.kind}: whatever is kept there is lost with the next start"
        fix = "put the home on a partition or volume of its own"
        return (Finding(name=name, state=State.WARN, detail=lost, fix=fix),)
    if seconds > _SLOW_S:
        fix = "take a faster card (class A2) or an SSD; a card that has become slow is often about to fail"
        return (Finding(name=name, state=State.WARN, detail=f"{detail}: slow", fix=fix),)
    return (Finding(name=name, state=State.OK, detail=detail),)


def _write_durably(probe: Path) -> float:
    """Seconds that a durable write of 64 kB takes."""
    began = time.perf_counter()
    try:
        durable.write_bytes(probe, os.urandom(_PROBE_BYTES), point="doctor.probe")
        return time.perf_counter() - began
    finally:
        with contextlib.suppress(OSError):
            probe.unlink(missing_ok=True)


def _standing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists: the home is made at the first start."""
    current = folder.absolute()
    while not current.exists():
        current = current.parent
    return current


def _size_of(file: Path) -> int:
    try:
        return file.stat().st_size
    except OSError:
        return 0


def _size(num_bytes: int) -> str:
    for unit, size in (("GB", 1_000_000_000), ("MB", 1_000_000)):
        if num_bytes >= size:
            return f"{num_bytes / size:.1f} {unit}"
    return f"{num_bytes // 1000} kB"

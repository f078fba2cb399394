"""The camera or folder: does it open, and does it give one frame."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from edge.doctor.types import Finding, State, Subject
from edge.errors import EdgeloopError, MissingExtraError
from edge.sources.address import is_address, public_name
from edge.sources.base import SourceEvents, SourceOptions
from edge.sources.camera import is_local_camera

if TYPE_CHECKING:
    from edge.types import Frame

FRAME_LIMIT_S = 20.0
STUCK_FIX = "unplug the camera and plug it in again; look for it with `v4l2-ctl --list-devices` and in `dmesg`"
_OPEN_LIMIT_S = 8.0


def examine_source(subject: Subject) -> tuple[Finding, ...]:
    """One finding: what the source gives."""
    where = subject.settings.source
    if not where:
        what = "none; pictures come from the kiosk" if subject.settings.kiosk_port else "none named"
        return (Finding(name="source", state=State.SKIPPED, detail=what),)
    if subject.is_running and (is_local_camera(where) or is_address(where)):
        return (Finding(name="source", state=State.SKIPPED, detail=f"an agent is at work with {public_name(where)}"),)
    return (_examine(subject, where),)


def _examine(subject: Subject, where: str) -> Finding:
    trial = _Trial(_OPEN_LIMIT_S)
    began = time.monotonic()
    try:
        frame = _one_frame(subject, where, trial)
    except MissingExtraError as error:
        return Finding(name="source", state=State.FAIL, detail=error.message, fix=error.hint)
    except EdgeloopError as error:
        return Finding(name="source", state=State.FAIL, detail=error.message, fix=error.hint or _fix(where))
    if frame is None:
        reason = trial.reasons[-1] if trial.reasons else f"no frame after {time.monotonic() - began:.0f} s"
        return Finding(name="source", state=State.FAIL, detail=f"{public_name(where)}: {reason}", fix=_fix(where))
    detail = f"{public_name(where)}: {_size(frame)} after {time.monotonic() - began:.1f} s"
    return Finding(name="source", state=State.OK, detail=detail)


def _one_frame(subject: Subject, where: str, trial: _Trial) -> Frame | None:
    """The first frame, or None when none comes in time."""
    from edge.sources.select import open_source

    settings = subject.settings
    options = SourceOptions(
        passes=1,
        max_bytes=settings.max_picture_bytes,
        width=settings.camera_width,
        height=settings.camera_height,
        silence_s=min(settings.silence_s, _OPEN_LIMIT_S),
    )
    events = SourceEvents(unreadable=trial.unreadable, lost=trial.lost)
    source = open_source(where, options, pace=trial, events=events, jitter=lambda: 0.5)
    try:
        return next(source.frames(), None)
    finally:
        source.close()


class _Trial:
    """A `Pace` that lets a source wait for so long in all, but no longer once its camera is gone.

    Attributes:
        reasons: Why there was no frame, oldest first.
    """

    def __init__(self, seconds: float) -> None:
        self.reasons: list[str] = []
        self._until = time.monotonic() + seconds
        self._is_lost = False

    def unreadable(self, name: str, reason: str) -> None:
        self.reasons.append(f"{name}: {reason}")

    def lost(self, reason: str) -> None:
        self.reasons.append(reason)
        self._is_lost = True

    def now(self) -> float:
        return time.time()

    def wait(self, seconds: float) -> bool:
        if not self._is_lost:
            time.sleep(max(0.0, min(seconds, self._until - time.monotonic())))
        return self._is_lost or time.monotonic() >= self._until


def _size(frame: Frame) -> str:
    if isinstance(frame.data, bytes):
        return f"a picture of {len(frame.data) // 1000} kB"
    height, width = frame.data.shape[:2]
    return f"a frame of {width} x {height}"


def _fix(where: str) -> str:
    if is_local_camera(where):
        return f"{STUCK_FIX}; the user must be in the group video"
    if is_address(where):
        return "check address, user and password of the stream with a player, and the network"
    return f"check that {Path(where)} exists, can be read by this user, and holds JPEG, PNG or WebP pictures or a video"

"""Cameras, plugged in or on the network, through OpenCV: V4L2 for the first, FFmpeg for the others."""

from __future__ import annotations

import os
import re
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.sources.address import is_address, public_name
from edge.sources.base import Pace, SourceEvents, SourceOptions
from edge.sources.grabber import GrabError
from edge.sources.newest import NewestFrames
from edge.sources.opencv import load_opencv

if TYPE_CHECKING:
    from edge.types import ByteArray

_NUMBERED = re.compile(r"camera:(\d{1,3})")
_DEVICE = re.compile(r"/dev/(?:video\d{1,3}|v4l/\S+)")
# The library gives up a little before we would leave its thread behind.
_NATIVE_SHARE = 0.9


def is_local_camera(where: str) -> bool:
    """Whether it says `camera:N`, `/dev/videoN`, or a lasting name in `/dev/v4l`."""
    return bool(_NUMBERED.fullmatch(where) or _DEVICE.fullmatch(where))


def open_camera(
    where: str, options: SourceOptions, *, pace: Pace, events: SourceEvents, jitter: Callable[[], float]
) -> NewestFrames:
    """A source over a camera, which need not be there yet.

    Args:
        where: `camera:N`, a device, or an address that `check_address` lets pass.
        options: Size, pace, and when it counts as gone.
        pace: Time of day, and word of the end.
        events: Who is told of lost and found.
        jitter: A random number in [0, 1].

    Raises:
        MissingExtraError: OpenCV is not installed.
    """
    cv2 = load_opencv()

    def connect() -> OpenCvGrabber:
        return NetworkGrabber(cv2, where, options) if is_address(where) else DeviceGrabber(cv2, where, options)

    return NewestFrames(public_name(where), connect, options, pace=pace, events=events, jitter=jitter)


class OpenCvGrabber(ABC):
    """What all `Grabber`s over `cv2.VideoCapture` have in common; a kind of its own says how to connect.

    Args:
        cv2: The module.
        where: What to open; must not appear in errors.
        options: Size and silence.
    """

    def __init__(self, cv2: Any, where: str, options: SourceOptions) -> None:  # noqa: ANN401 - loaded on demand
        self._cv2 = cv2
        self._where = where
        self._options = options
        self._capture: Any = None

    @abstractmethod
    def open(self) -> None:
        """See `Grabber.open`."""

    def grab(self) -> None:
        """See `Grabber.grab`."""
        began = time.monotonic()
        try:
            is_there = self._capture.grab()
        except self._cv2.error as cause:
            raise GrabError("its driver failed") from cause
        if not is_there:
            raise GrabError(self._reason(began, "it broke off"))

    def retrieve(self) -> ByteArray | None:
        """See `Grabber.retrieve`."""
        cv2 = self._cv2
        try:
            is_there, frame = self._capture.retrieve()
            if not is_there or frame is None or frame.dtype != "uint8":
                return None
            is_grey = frame.ndim == 2 or frame.shape[2] == 1
            rgb: ByteArray = cv2.cvtColor(frame, cv2.COLOR_GRAY2RGB if is_grey else cv2.COLOR_BGR2RGB)
        except cv2.error as cause:
            raise GrabError("its driver failed") from cause
        return rgb

    def close(self) -> None:
        """See `Grabber.close`."""
        if self._capture is not None:
            self._capture.release()

    def _capture_of(self, target: str | int, api: int, parameters: list[int], *, problem: str) -> Any:  # noqa: ANN401
        """Opens it.

        Raises:
            GrabError: With `problem`, or that it did not answer in time.
        """
        began = time.monotonic()
        try:
            capture = self._cv2.VideoCapture(target, api, parameters)
        except self._cv2.error as cause:
            raise GrabError(problem) from cause
        if not capture.isOpened():
            capture.release()
            raise GrabError(self._reason(began, problem))
        return capture

    def _reason(self, began: float, problem: str) -> str:
        """What to say of a call that failed: whether it was in vain or took too long."""
        is_timeout = time.monotonic() - began >= self._options.silence_s * _NATIVE_SHARE
        return f"it gave no frame for {self._options.silence_s:g} s" if is_timeout else problem


class NetworkGrabber(OpenCvGrabber):
    """A stream: RTSP, which OpenCV asks for over TCP, or Motion JPEG and others over HTTP."""

    def open(self) -> None:
        """See `Grabber.open`."""
        cv2, timeout_ms = self._cv2, max(1, int(self._options.silence_s * _NATIVE_SHARE * 1000))
        limits = [cv2.CAP_PROP_OPEN_TIMEOUT_MSEC, timeout_ms, cv2.CAP_PROP_READ_TIMEOUT_MSEC, timeout_ms]
        self._capture = self._capture_of(
            self._where,
            cv2.CAP_FFMPEG,
            limits,
            problem="it does not answer, does not let us in, or is no camera: check address, user and password",
        )


class DeviceGrabber(OpenCvGrabber):
    """A camera that is plugged in."""

    def open(self) -> None:
        """See `Grabber.open`."""
        cv2, options = self._cv2, self._options
        target, api = self._target()
        self._capture = capture = self._capture_of(
            target, api, [], problem="it is no camera, or another program has it"
        )
        try:
            if options.width or options.height:
                # Over USB large frames come fast only as JPEG; a camera without it stays with what it has.
                capture.set(cv2.CAP_PROP_FOURCC, cv2.VideoWriter.fourcc(*"MJPG"))
            if options.width:
                capture.set(cv2.CAP_PROP_FRAME_WIDTH, options.width)
            if options.height:
                capture.set(cv2.CAP_PROP_FRAME_HEIGHT, options.height)
            capture.set(cv2.CAP_PROP_BUFFERSIZE, 1)
        except cv2.error as cause:
            raise GrabError("its driver failed") from cause

    def _target(self) -> tuple[str | int, int]:
        """What OpenCV calls the camera, and the way to it."""
        numbered = _NUMBERED.fullmatch(self._where)
        if not sys.platform.startswith("linux"):
            return (int(numbered[1]) if numbered else self._where), self._cv2.CAP_ANY
        path = Path(f"/dev/video{int(numbered[1])}" if numbered else self._where)
        if not os.access(path, os.F_OK):
            raise GrabError(f"there is no {path}")
        if not os.access(path, os.R_OK | os.W_OK):
            raise GrabError(f"no permission to use {path}: add this user to the group video")
        return str(path), self._cv2.CAP_V4L2

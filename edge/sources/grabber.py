"""A camera's own thread: it reads as fast as the camera gives, and keeps the newest frame only."""

from __future__ import annotations

import atexit
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge.errors import EdgeloopError

if TYPE_CHECKING:
    from edge.types import ByteArray

_LAST_WAIT_S = 0.5


class GrabError(EdgeloopError):
    """A camera is gone, or was never there: why, in one line without its address."""


class Grabber(Protocol):
    """One connection to a camera. All calls come from one thread; any may take long, even for ever."""

    def open(self) -> None:
        """Connects.

        Raises:
            GrabError: It is not there, or does not answer.
        """
        ...

    def grab(self) -> None:
        """Waits for the next frame and takes hold of it, as cheaply as can be.

        Raises:
            GrabError: There are no more.
        """
        ...

    def retrieve(self) -> ByteArray | None:
        """The frame grabbed last: uint8 (height, width, 3), RGB, the caller's own; None where it is damaged.

        Raises:
            GrabError: The camera is gone.
        """
        ...

    def close(self) -> None:
        """Lets go of the camera, opened or not."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class GrabbedFrame:
    """A frame and when it came.

    Attributes:
        data: uint8 (height, width, 3), RGB.
        at: Monotonic time in seconds.
    """

    data: ByteArray
    at: float


class SlotReader:
    """Reads one connection in a thread of its own into a single slot; the thread starts at once.

    A native call that never returns keeps its thread, and nothing else: whoever gives up the reader is free at once.

    Args:
        grabber: The connection; opened, read and closed in the thread.
        monotonic: Time in seconds that no clock setting moves.
    """

    def __init__(self, grabber: Grabber, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._grabber = grabber
        self._monotonic = monotonic
        self._changed = threading.Condition()
        self._newest: GrabbedFrame | None = None
        self._num_superseded = 0
        self._wanted_at = 0.0
        self._alive_at = monotonic()
        self._error: Exception | None = None
        self._is_given_up = False
        self.has_frames = False
        self._thread = threading.Thread(target=self._read, name="camera", daemon=True)
        # A thread that returns from C++ into an interpreter that is going away takes the process down (CPython < 3.14).
        atexit.register(self._end_with_process)
        self._thread.start()

    @property
    def is_running(self) -> bool:
        """Whether the thread still lives."""
        return self._thread.is_alive()

    def take(self, timeout_s: float) -> GrabbedFrame | None:
        """The newest frame that was not taken yet; None where none comes in time."""
        with self._changed:
            if self._newest is None and self._error is None and not self._is_given_up:
                self._changed.wait(timeout_s)
            newest, self._newest = self._newest, None
            return newest

    def take_num_superseded(self) -> int:
        """How many frames gave way to newer ones since the last call."""
        with self._changed:
            number, self._num_superseded = self._num_superseded, 0
            return number

    def want_at(self, when: float) -> None:
        """Says that no frame is taken before a monotonic time, so that earlier ones need not be decoded."""
        self._wanted_at = when

    def trouble(self, silence_s: float) -> str:
        """Why the camera is to be taken for gone, in one line; empty while it is well.

        Raises:
            Exception: What the grabber was not meant to raise.
        """
        if isinstance(self._error, GrabError):
            return self._error.message
        if self._error is not None:
            raise self._error
        is_silent = self._monotonic() - self._alive_at > silence_s
        return f"it gave no frame for {silence_s:g} s" if is_silent else ""

    def give_up(self) -> None:
        """Lets the thread end as soon as its call returns. Safe from any thread."""
        with self._changed:
            self._is_given_up = True
            self._changed.notify_all()

    def join(self, timeout_s: float) -> None:
        """Waits for the thread to end; whoever waits in vain is not made to wait again when the process ends."""
        self._thread.join(timeout_s)
        atexit.unregister(self._end_with_process)

    def _read(self) -> None:
        try:
            self._grabber.open()
            self._alive_at = self._monotonic()
            while not self._is_given_up:
                self._grabber.grab()
                self._keep()
        except Exception as error:  # raised in the thread that takes frames
            with self._changed:
                self._error = error
                self._changed.notify_all()
        finally:
            self._grabber.close()
            atexit.unregister(self._end_with_process)

    def _end_with_process(self) -> None:
        self.give_up()
        self._thread.join(_LAST_WAIT_S)

    def _keep(self) -> None:
        """Puts the grabbed frame into the slot, or passes over it where a later one will do."""
        now = self._monotonic()
        if now + 2 * (now - self._alive_at) < self._wanted_at:
            self._alive_at = now
            with self._changed:
                self._num_superseded += 1
            return
        data = self._grabber.retrieve()
        if data is None:
            return
        with self._changed:
            self._alive_at = now
            self._num_superseded += self._newest is not None
            self._newest = GrabbedFrame(data=data, at=now)
            self.has_frames = True
            self._changed.notify_all()

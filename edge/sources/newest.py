"""Frames of a camera, the newest first and only: what is not taken in time gives way, and a lost camera is got back."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator

from edge.sources.base import Pace, SourceEvents, SourceOptions
from edge.sources.grabber import GrabbedFrame, Grabber, SlotReader
from edge.sync.backoff import delay
from edge.types import Frame

MAX_STUCK = 3
"""Threads that hang in a camera's driver; with so many no further connection is tried until one is free."""
_SLICE_S = 0.05
_JOIN_S = 0.5


class NewestFrames:
    """A live `FrameSource` over any camera that a `Grabber` can read.

    Silence, pace and waits go by a clock that nobody sets; `Frame.captured_at` alone is the time of day.

    Args:
        name: What frames call the camera; must not hold a password.
        connect: Makes a grabber for one connection; opens nothing yet.
        options: How fast to hand out frames, and when the camera counts as gone.
        pace: Time of day, and word of the end.
        events: Who is told what happens; in the thread that takes frames.
        jitter: A random number in [0, 1].
        monotonic: Seconds that no clock setting moves.
    """

    is_live = True

    def __init__(
        self,
        name: str,
        connect: Callable[[], Grabber],
        options: SourceOptions,
        *,
        pace: Pace,
        events: SourceEvents,
        jitter: Callable[[], float],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self.current_pass = 1
        self._name = name
        self._connect = connect
        self._options = options
        self._interval_s = 1.0 / options.fps if options.fps > 0 else 0.0
        self._pace = pace
        self._events = events
        self._jitter = jitter
        self._monotonic = monotonic
        self._closed = threading.Event()
        self._reader: SlotReader | None = None
        self._left: list[SlotReader] = []
        self._due = 0.0
        self._connected_at = 0.0
        self._retry_at = 0.0
        self._num_failures = 0
        self._is_lost = False

    def frames(self) -> Iterator[Frame]:
        """Yields the newest frame each time, until the source is closed or `Pace.wait` says stop."""
        sequence = 0
        try:
            while (newest := self._next()) is not None:
                captured_at = self._pace.now() - (self._monotonic() - newest.at)
                yield Frame(data=newest.data, captured_at=captured_at, source=self._name, sequence=sequence)
                sequence += 1
        finally:
            self._leave()

    def close(self) -> None:
        """See `FrameSource.close`. A thread that hangs in a driver is left behind."""
        self._closed.set()
        self._leave()
        deadline = self._monotonic() + _JOIN_S
        left, self._left = self._left, []
        for reader in left:
            reader.join(max(0.0, deadline - self._monotonic()))

    def _next(self) -> GrabbedFrame | None:
        """The next frame to hand out, however long that takes; None at the end."""
        while not self._closed.is_set() and not self._pace.wait(0.0):
            reader = self._reader or self._reconnect()
            if reader is None:
                self._wait_for(self._retry_at)
            elif self._monotonic() < self._due:
                self._wait_for(self._due)
                self._supervise(reader)
            elif (newest := reader.take(_SLICE_S)) is not None:
                self._found(reader)
                return newest
            else:
                self._supervise(reader)
        return None

    def _wait_for(self, when: float) -> None:
        """Waits until then, but only for so long that the end is noticed."""
        self._closed.wait(min(max(0.0, when - self._monotonic()), _SLICE_S))

    def _found(self, reader: SlotReader) -> None:
        now = self._monotonic()
        is_late = now - self._due > self._interval_s
        self._due = (now if is_late else self._due) + self._interval_s
        reader.want_at(self._due)
        if self._is_lost:
            self._is_lost = False
            self._events.back()
        self._tell_superseded(reader)

    def _supervise(self, reader: SlotReader) -> None:
        reason = reader.trouble(self._options.silence_s)
        if not reason:
            return
        now = self._monotonic()
        self._leave()
        self._tell_superseded(reader)
        # A camera that breaks off after each first frame is no reason to begin again with short waits.
        if reader.has_frames and now - self._connected_at > self._options.silence_s:
            self._num_failures = 0
        self._retry_at = now + self._backoff_s()
        self._num_failures += 1
        if not self._is_lost:
            self._is_lost = True
            self._events.lost(reason)

    def _reconnect(self) -> SlotReader | None:
        """Begins the next connection, once it is time for it and not too many hang."""
        now = self._monotonic()
        if now < self._retry_at:
            return None
        self._left = [reader for reader in self._left if reader.is_running]
        if len(self._left) >= MAX_STUCK:
            self._retry_at = now + _SLICE_S
            return None
        self._connected_at = now
        self._reader = SlotReader(self._connect(), monotonic=self._monotonic)
        self._reader.want_at(self._due)
        return self._reader

    def _leave(self) -> None:
        """Gives up the connection; its thread ends when its native call returns."""
        reader, self._reader = self._reader, None
        if reader is not None:
            self._left.append(reader)
            reader.give_up()

    def _tell_superseded(self, reader: SlotReader) -> None:
        number = reader.take_num_superseded()
        if number:
            self._events.superseded(number)

    def _backoff_s(self) -> float:
        options = self._options
        return delay(
            self._num_failures, base_s=options.backoff_base_s, cap_s=options.backoff_cap_s, jitter=self._jitter()
        )

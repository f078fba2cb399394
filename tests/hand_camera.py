"""A camera worked by hand, so that what happens when is up to the test."""

from __future__ import annotations

import queue
import threading

import numpy as np
import numpy.typing as npt

from edge.sources.grabber import GrabError

HANG = "hang"
DAMAGED = "damaged"
_LONG_S = 20.0


class HandCamera:
    """Gives what was put into it, one thing for each grab: a number, DAMAGED, HANG, or an exception.

    Attributes:
        refusals: What the next connections are refused with.
        num_connections: Made so far.
        num_open: Of them not closed.
        num_retrieved: Frames that were decoded.
        released: Lets what hangs go on, and fail.
    """

    def __init__(self) -> None:
        self.refusals: list[Exception] = []
        self.num_connections = 0
        self.num_open = 0
        self.num_retrieved = 0
        self.released = threading.Event()
        self._things: queue.Queue[int | str | Exception] = queue.Queue()
        self._asked = threading.Condition()
        self._num_asked = 0
        self._num_given = 0

    def give(self, *things: int | str | Exception) -> None:
        """Puts things in; numbers become the colour of a frame."""
        self._num_given += len(things)
        for thing in things:
            self._things.put(thing)

    def give_and_wait(self, *things: int | str | Exception) -> None:
        """Puts things in and waits until all were read and the reader asks for more."""
        self.give(*things)
        with self._asked:
            assert self._asked.wait_for(lambda: self._num_asked > self._num_given, timeout=_LONG_S)

    def connect(self) -> _HandGrabber:
        """See `NewestFrames`."""
        self.num_connections += 1
        return _HandGrabber(self)

    def next_thing(self) -> int | str:
        with self._asked:
            self._num_asked += 1
            self._asked.notify_all()
        thing = self._things.get(timeout=_LONG_S)
        if isinstance(thing, Exception):
            raise thing
        if thing == HANG:
            self.released.wait(_LONG_S)
            raise GrabError("came loose")
        return thing


class _HandGrabber:
    def __init__(self, camera: HandCamera) -> None:
        self._camera = camera
        self._thing: int | str = ""
        self._thread: threading.Thread | None = None

    def open(self) -> None:
        self._thread = threading.current_thread()
        self._camera.num_open += 1
        if self._camera.refusals:
            raise self._camera.refusals.pop(0)

    def grab(self) -> None:
        assert self._thread is threading.current_thread()
        self._thing = self._camera.next_thing()

    def retrieve(self) -> npt.NDArray[np.uint8] | None:
        assert self._thread is threading.current_thread()
        self._camera.num_retrieved += 1
        return None if self._thing == DAMAGED else np.full((2, 2, 3), self._thing, np.uint8)

    def close(self) -> None:
        assert self._thread is threading.current_thread()
        self._camera.num_open -= 1

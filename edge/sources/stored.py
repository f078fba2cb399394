"""Frames that are stored somewhere and wait: gone through in order, at a pace, again and again."""

from __future__ import annotations

import threading
from abc import ABC, abstractmethod
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import TYPE_CHECKING

from edge.sources.base import Pace, SourceEvents, SourceOptions
from edge.types import Frame

if TYPE_CHECKING:
    from edge.types import ByteArray

_EMPTY_PASS_WAIT_S = 0.5


class StoredSource(ABC):
    """What every `FrameSource` over stored pictures has in common; a new one says which pictures there are.

    A frame that is late does not make the next ones hurry.

    Args:
        options: How often to go through it, and how fast.
        pace: Time, and waiting that can be cut short.
        events: Who is told of passes and of what is no picture.
        own_fps: Frames a second where `options` set no limit; 0 for as fast as they are taken.
    """

    is_live = False

    def __init__(self, options: SourceOptions, *, pace: Pace, events: SourceEvents, own_fps: float = 0.0) -> None:
        fps = options.fps if options.fps > 0 else own_fps
        self._interval_s = 1.0 / fps if fps > 0 else 0.0
        self._options = options
        self._pace = pace
        self._events = events
        self._closed = threading.Event()
        self.current_pass = 1

    @abstractmethod
    def pictures(self) -> Generator[tuple[str, bytes | ByteArray]]:
        """One pass: name and picture of each, in order; what is no picture is told to `events`."""

    def frames(self) -> Iterator[Frame]:
        """Yields frames until the last pass is over, the source is closed or `Pace.wait` says stop."""
        passes, sequence, due = self._options.passes, 0, self._pace.now()
        while passes == 0 or self.current_pass <= passes:
            before = sequence
            with closing(self.pictures()) as pictures:
                for name, data in pictures:
                    if self._shall_end(max(0.0, min(due - self._pace.now(), self._interval_s))):
                        return
                    captured_at = self._pace.now()
                    is_late = captured_at - due > self._interval_s
                    due = (captured_at if is_late else due) + self._interval_s
                    yield Frame(data=data, captured_at=captured_at, source=name, sequence=sequence)
                    sequence += 1
            if self._closed.is_set():
                return
            self._events.pass_done(self.current_pass)
            self.current_pass += 1
            if self._shall_end(_EMPTY_PASS_WAIT_S if sequence == before and passes == 0 else 0.0):
                return

    def close(self) -> None:
        """See `FrameSource.close`."""
        self._closed.set()

    def _shall_end(self, wait_s: float) -> bool:
        return self._closed.is_set() or self._pace.wait(wait_s) or self._closed.is_set()

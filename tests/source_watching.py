"""What tests of sources of frames use: a pace of two kinds, and events that are written down."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from edge.sources.base import SourceEvents


class WaitingPace:
    """Time that passes only by waiting; says stop after `stop_after` waits."""

    def __init__(self, stop_after: int = 10_000) -> None:
        self.time = 1000.0
        self.left = stop_after

    def now(self) -> float:
        return self.time

    def wait(self, seconds: float) -> bool:
        self.time += seconds
        self.left -= 1
        return self.left < 0


class RealPace:
    """Time as it passes; says stop once `stopped` is set."""

    def __init__(self) -> None:
        self.stopped = threading.Event()

    def now(self) -> float:
        return time.time()

    def wait(self, seconds: float) -> bool:
        return self.stopped.wait(seconds)


@dataclass
class Watcher:
    """What a source told, in order."""

    unreadable: list[tuple[str, str]] = field(default_factory=list)
    passes: list[int] = field(default_factory=list)
    num_superseded: int = 0
    story: list[str] = field(default_factory=list)
    on_lost: Callable[[], None] = lambda: None

    def events(self) -> SourceEvents:
        return SourceEvents(
            unreadable=lambda name, reason: self.unreadable.append((name, reason)),
            pass_done=self.passes.append,
            superseded=self._superseded,
            lost=self._lost,
            back=lambda: self.story.append("back"),
        )

    def _superseded(self, number: int) -> None:
        assert number > 0
        self.num_superseded += number

    def _lost(self, reason: str) -> None:
        assert reason
        assert "\n" not in reason
        self.story.append(f"lost: {reason}")
        self.on_lost()


def camera_threads() -> list[threading.Thread]:
    """The reader threads that still live."""
    return [thread for thread in threading.enumerate() if thread.name == "camera"]

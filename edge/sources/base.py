"""What the agent asks of a source of frames, and what a source tells it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Protocol

from edge.types import Frame


class Pace(Protocol):
    """How a source learns the time and waits."""

    def now(self) -> float:
        """Seconds since the epoch, UTC; may jump."""
        ...

    def wait(self, seconds: float) -> bool:
        """Waits; True when the source shall end."""
        ...


class FrameSource(Protocol):
    """Where frames come from. One thread takes them; `close` may come from any.

    Attributes:
        is_live: Whether the world goes on without us: a frame that is not taken in time gives way to a newer one.
        current_pass: Which pass over the source is under way, from 1; stays 1 where there is no end.
    """

    is_live: bool
    current_pass: int

    def frames(self) -> Iterator[Frame]:
        """Yields frames until the source ends or `Pace.wait` says stop. A live source survives its camera."""
        ...

    def close(self) -> None:
        """Lets go of the device and of threads. Calling it twice is harmless."""
        ...


def _ignore(*_: object) -> None:
    """For those who do not want to know."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceEvents:
    """What a source tells while it works; called in the thread that takes frames.

    Attributes:
        unreadable: Name and reason of what is no picture.
        pass_done: Number of the pass that is over, from 1.
        superseded: How many frames gave way to a newer one since the last call.
        lost: The camera is gone: why, in one line. Told once, until it is back; the source tries again by itself.
        back: The camera is back.
    """

    unreadable: Callable[[str, str], None] = _ignore
    pass_done: Callable[[int], None] = _ignore
    superseded: Callable[[int], None] = _ignore
    lost: Callable[[str], None] = _ignore
    back: Callable[[], None] = _ignore


@dataclass(frozen=True, slots=True, kw_only=True)
class SourceOptions:
    """How a source is to be read.

    Attributes:
        passes: How often to go through a folder or video; 0 means for ever.
        fps: Most frames a second; 0 for no limit: a folder as fast as it is answered, a video at its own pace.
        max_bytes: Larger files are refused.
        width: Wanted width of a camera's frames in pixels, 0 for its own choice.
        height: Wanted height, 0 for its own choice.
        silence_s: A camera that gives no frame for so long is taken for gone.
        backoff_base_s: Wait after a camera was lost.
        backoff_cap_s: Longest wait between two tries to get it back.
    """

    passes: int = 0
    fps: float = 0.0
    max_bytes: int = 32_000_000
    width: int = 0
    height: int = 0
    silence_s: float = 10.0
    backoff_base_s: float = 1.0
    backoff_cap_s: float = 60.0

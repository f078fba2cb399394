"""The picture of a frame as the page shows it: upright, no larger than a screen, as JPEG."""

from __future__ import annotations

import dataclasses
import io
import threading
from typing import TYPE_CHECKING

from edge.image.decode import DEFAULT_LIMITS
from edge.image.orientation import turned
from edge.image.picture import Picture, open_picture

if TYPE_CHECKING:
    from edge.answering import Answer
    from edge.types import Frame

QUALITY = 85


def picture_size(frame: Frame) -> tuple[int, int]:
    """Width and height of the upright picture in pixels; nothing is decoded.

    Raises:
        ImageError: It is no picture.
    """
    return _opened(frame).size


def screen_picture(frame: Frame, *, longest: int) -> bytes:
    """The upright picture as JPEG.

    Args:
        frame: The frame.
        longest: Its longer side in pixels, at most; small pictures stay as they are.

    Raises:
        ImageError: The picture cannot be decoded.
    """
    from PIL.Image import Resampling

    picture = _opened(frame)
    shrink = max(1.0, max(picture.size) / longest)
    stored, _ = picture.pixels(shrink)
    size = tuple(max(1, round(side / shrink)) for side in picture.size)
    upright = turned(stored, picture.turn)
    buffer = io.BytesIO()
    (upright if upright.size == size else upright.resize((size[0], size[1]), Resampling.BILINEAR)).save(
        buffer, format="JPEG", quality=QUALITY
    )
    return buffer.getvalue()


class ScreenPictures:
    """`screen_picture`, which remembers the last one: several screens may show the same frame. Thread-safe.

    Args:
        longest: As in `screen_picture`.
    """

    def __init__(self, *, longest: int) -> None:
        self._longest = longest
        self._lock = threading.Lock()
        self._last: tuple[str, bytes] = ("", b"")

    def of(self, answer: Answer) -> bytes:
        """The picture that was answered for; raises as `screen_picture` does."""
        digest = answer.inference.picture_digest
        with self._lock:
            if self._last[0] != digest:
                self._last = (digest, screen_picture(answer.frame, longest=self._longest))
            return self._last[1]


def _opened(frame: Frame) -> Picture:
    # Whoever answered for it has applied limits already; another setting of them must not hide it from the page.
    data = frame.data
    limits = dataclasses.replace(DEFAULT_LIMITS, max_bytes=len(data)) if isinstance(data, bytes) else DEFAULT_LIMITS
    return open_picture(data, limits=limits)

"""Frames of a video file, one after the other, at the video's own pace or another."""

from __future__ import annotations

from collections.abc import Generator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import ImageError, UsageError
from edge.sources.base import Pace, SourceEvents, SourceOptions
from edge.sources.opencv import load_opencv
from edge.sources.stored import StoredSource

if TYPE_CHECKING:
    from edge.types import ByteArray

_FALLBACK_FPS = 25.0
_MOST_FPS = 240.0


class VideoSource(StoredSource):
    """Every frame of a file, RGB, as often as there are passes; opened anew for each.

    A phone's video is turned as its file says. A file that ends before it should, or vanished, is told as unreadable.

    Args:
        path: The file.
        options: How often, and how fast; by default as fast as the video was made.
        pace: Time, and waiting that can be cut short.
        events: Who is told of passes and of damage.

    Raises:
        UsageError: No such file, or not one frame can be read of it.
        MissingExtraError: OpenCV is not installed.
    """

    def __init__(self, path: Path, options: SourceOptions, *, pace: Pace, events: SourceEvents) -> None:
        self._cv2: Any = load_opencv()
        self._path = path
        try:
            capture = self._open()
            own_fps = _sensible_fps(capture.get(self._cv2.CAP_PROP_FPS))
            is_readable = self._frame(capture) is not None
            capture.release()
        except ImageError as cause:
            raise UsageError(f"{path}: {cause.message}", hint="give --source a video file") from cause
        if not is_readable:
            raise UsageError(f"{path}: no frame of it can be read", hint="it may be damaged, or of an unknown format")
        super().__init__(options, pace=pace, events=events, own_fps=own_fps)

    def pictures(self) -> Generator[tuple[str, ByteArray]]:
        """See `StoredSource.pictures`."""
        try:
            capture = self._open()
        except ImageError as error:
            self._events.unreadable(self._path.name, error.message)
            return
        num_frames = 0
        try:
            promised = capture.get(self._cv2.CAP_PROP_FRAME_COUNT)
            while not self._closed.is_set() and (frame := self._frame(capture)) is not None:
                num_frames += 1
                yield self._path.name, frame
            if not self._closed.is_set() and _is_short(num_frames, promised):
                self._events.unreadable(self._path.name, f"ends after {num_frames} of {int(promised)} frames")
        finally:
            capture.release()

    def _open(self) -> Any:  # noqa: ANN401 - OpenCV is loaded on demand
        if not self._path.is_file():
            raise ImageError("there is no such file")
        try:
            capture = self._cv2.VideoCapture(str(self._path.absolute()), self._cv2.CAP_FFMPEG)
        except (self._cv2.error, UnicodeError) as cause:
            raise ImageError("not a video that can be read") from cause
        if not capture.isOpened():
            raise ImageError("not a video that can be read")
        return capture

    def _frame(self, capture: Any) -> ByteArray | None:  # noqa: ANN401
        """The next frame, or None at the end, be it the right one or not."""
        cv2 = self._cv2
        try:
            is_there, frame = capture.read()
            rgb: ByteArray | None = cv2.cvtColor(frame, cv2.COLOR_BGR2RGB) if is_there else None
        except cv2.error:
            return None
        return rgb


def _sensible_fps(fps: float) -> float:
    """What the file says, unless that is nothing, not a number, or beyond any camera."""
    return fps if 0 < fps <= _MOST_FPS else _FALLBACK_FPS


def _is_short(num_frames: int, promised: float) -> bool:
    """Whether so many are missing that it is not just the estimate that some formats give."""
    return num_frames < 0.95 * promised - 1

"""OpenCV, loaded when a camera or a video is opened, and kept from talking."""

from __future__ import annotations

import os
from collections.abc import Callable
from types import ModuleType

from edge.errors import MissingExtraError

_SILENT = 0


def load_opencv() -> ModuleType:
    """The module `cv2`.

    Its own log and FFmpeg's go to standard error, addresses with passwords among them; both are silenced, unless the
    environment says what they shall tell (`OPENCV_LOG_LEVEL`, `OPENCV_FFMPEG_LOGLEVEL`).

    Raises:
        MissingExtraError: It is not installed.
    """
    # FFmpeg's level can be set in no other way, and only before its first use. -8 is its word for nothing at all.
    os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")
    try:
        import cv2
    except ImportError as cause:  # also where it is built for a desktop whose libraries are missing
        raise MissingExtraError("opencv-python-headless", "camera") from cause
    if "OPENCV_LOG_LEVEL" not in os.environ:
        _log_level_of(cv2)(_SILENT)
    return cv2


def _log_level_of(cv2: ModuleType) -> Callable[[int], object]:
    """The function that sets it, which moved from OpenCV 4 to 5."""
    found: Callable[[int], object] = getattr(cv2, "setLogLevel", None) or cv2.utils.logging.setLogLevel
    return found

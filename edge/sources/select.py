"""From what was asked for to the source of frames: the only place that knows all of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from edge.errors import UsageError
from edge.sources.address import check_address, is_address, public_name
from edge.sources.base import FrameSource, Pace, SourceEvents, SourceOptions

__all__ = ["open_source", "public_name"]

_PICTURES = (".jpg", ".jpeg", ".png", ".webp")
_HINT = "give a folder of pictures, a video file, camera:0, /dev/video0, or an address like rtsp://host/path"


def open_source(
    where: str, options: SourceOptions, *, pace: Pace, events: SourceEvents, jitter: Callable[[], float]
) -> FrameSource:
    """Opens a source of frames.

    Args:
        where: A folder of pictures, a video file, `camera:0`, `/dev/video0`, or the address of a camera that begins
            with `rtsp://`, `rtsps://`, `http://` or `https://`.
        options: How it is to be read.
        pace: Time, and waiting that can be cut short.
        events: Who is told what happens.
        jitter: A random number in [0, 1], so that devices do not march in step.

    Returns:
        The source. A camera need not be there yet.

    Raises:
        UsageError: It is none of these; the message holds no password.
        MissingExtraError: A video or camera, and OpenCV is not installed.
    """
    from edge.sources.camera import is_local_camera, open_camera
    from edge.sources.folder import FolderSource

    if is_address(where):
        check_address(where)
    if is_address(where) or is_local_camera(where):
        return open_camera(where, options, pace=pace, events=events, jitter=jitter)
    if not where.strip():
        raise UsageError("no source of frames", hint=_HINT)
    path = Path(where)
    try:
        is_folder, is_file = path.is_dir(), path.is_file()
    except OSError as cause:
        raise UsageError(f"{public_name(where)} cannot be read: {(cause.strerror or 'failed').lower()}") from cause
    if is_folder:
        return FolderSource(path, options, pace=pace, events=events)
    if is_file and path.suffix.lower() in _PICTURES:
        raise UsageError(f"{path} is a single picture", hint="give the folder it is in")
    if is_file:
        from edge.sources.video import VideoSource

        return VideoSource(path, options, pace=pace, events=events)
    raise UsageError(f"no folder, video or camera {public_name(where)}", hint=_HINT)

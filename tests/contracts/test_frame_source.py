"""What every `FrameSource` promises, held against all of them."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import pytest
from network_camera import CameraScript, http_camera, rtsp_camera
from numbered_pictures import number_of, write_folder, write_video
from source_watching import RealPace, Watcher, camera_threads

from edge.sources.base import FrameSource, SourceOptions
from edge.sources.select import open_source


class Opened:
    """A source, and what steers it."""

    def __init__(self, where: str, **options: float) -> None:
        self.pace, self.watcher = RealPace(), Watcher()
        chosen = SourceOptions(**{"silence_s": 15.0, "fps": 200.0, **options})
        self.source: FrameSource = open_source(
            where, chosen, pace=self.pace, events=self.watcher.events(), jitter=lambda: 0.0
        )


@pytest.fixture(params=["folder", "video", "http", "rtsp"])
def open_(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Callable[..., Opened]]:
    if request.param != "folder":
        pytest.importorskip("cv2", reason="camera: OpenCV is not installed")
    with ExitStack() as stack:
        match request.param:
            case "folder":
                where = str(write_folder(tmp_path / "pictures", range(20)))
            case "video":
                where = str(write_video(tmp_path / "clip.avi", range(20)))
            case scheme:
                camera = http_camera if scheme == "http" else rtsp_camera
                where = f"{scheme}://127.0.0.1:{stack.enter_context(camera(CameraScript())).port}/live"
        opened: list[Opened] = []

        def make(**options: float) -> Opened:
            opened.append(Opened(where, **options))
            return opened[-1]

        yield make
        for one in opened:
            one.source.close()


def test_frames_are_numbered_without_gaps_and_come_in_order(open_: Callable[..., Opened]) -> None:
    opened = open_(passes=1)
    frames = list(islice(opened.source.frames(), 12))
    assert [frame.sequence for frame in frames] == list(range(12))
    numbers = [number_of(frame.data) for frame in frames]
    assert numbers == sorted(set(numbers))
    assert len({frame.source for frame in frames}) == (12 if isinstance(frames[0].data, bytes) else 1)
    assert opened.watcher.story == []
    assert opened.watcher.unreadable == []


def test_only_a_live_source_lets_frames_give_way(open_: Callable[..., Opened]) -> None:
    opened = open_(passes=1, fps=0.0)
    numbers = []
    for frame in islice(opened.source.frames(), 6):
        numbers.append(number_of(frame.data))
        time.sleep(0.05)
    is_whole = numbers == list(range(6))
    assert is_whole is not opened.source.is_live
    assert (opened.watcher.num_superseded > 0) is opened.source.is_live


def test_a_frame_is_dated_by_the_clock_of_the_pace(open_: Callable[..., Opened]) -> None:
    opened = open_()
    opened.pace.now = lambda: 1_000_000.0  # type: ignore[method-assign]
    dates = [frame.captured_at for frame in islice(opened.source.frames(), 3)]
    assert all(999_990.0 < date <= 1_000_000.0 for date in dates)


def test_passes_begin_with_the_first(open_: Callable[..., Opened]) -> None:
    opened = open_(passes=2)
    next(opened.source.frames())
    assert opened.source.current_pass == 1


def test_it_ends_when_the_pace_says_so(open_: Callable[..., Opened]) -> None:
    opened = open_(fps=0.1)
    frames = opened.source.frames()
    next(frames)
    threading.Timer(0.1, opened.pace.stopped.set).start()
    assert list(frames) == []


def test_it_ends_when_it_is_closed_by_another_thread(open_: Callable[..., Opened]) -> None:
    opened = open_(fps=100.0)
    frames = opened.source.frames()
    next(frames)
    threading.Timer(0.1, opened.source.close).start()
    assert all(frame.sequence > 0 for frame in frames)


def test_closing_twice_is_harmless_and_leaves_no_thread(open_: Callable[..., Opened]) -> None:
    opened = open_()
    frames = opened.source.frames()
    next(frames)
    opened.source.close()
    opened.source.close()
    assert list(frames) == []
    assert camera_threads() == []


def test_closing_before_the_first_frame(open_: Callable[..., Opened]) -> None:
    opened = open_()
    opened.source.close()
    assert list(opened.source.frames()) == []
    assert camera_threads() == []


def test_an_iterator_that_is_dropped_holds_nothing(open_: Callable[..., Opened]) -> None:
    opened = open_()
    for frame in opened.source.frames():
        assert frame.sequence == 0
        break
    opened.source.close()
    assert camera_threads() == []

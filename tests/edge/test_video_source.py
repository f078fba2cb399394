"""A video file as a source of frames."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import pytest
from numbered_pictures import number_of, write_video
from source_watching import WaitingPace, Watcher

from edge.errors import UsageError
from edge.sources.base import SourceOptions
from edge.sources.video import VideoSource

pytest.importorskip("cv2", reason="camera: OpenCV is not installed")


def source(path: Path, *, pace: WaitingPace | None = None, **options: float) -> tuple[VideoSource, Watcher]:
    watcher = Watcher()
    chosen = SourceOptions(**{"passes": 1, **options})
    return VideoSource(path, chosen, pace=pace or WaitingPace(), events=watcher.events()), watcher


@pytest.fixture
def video(tmp_path: Path) -> Path:
    return write_video(tmp_path / "clip.avi", range(30), fps=10.0)


def test_every_frame_of_every_pass_comes_in_order_as_rgb(video: Path) -> None:
    frames, watcher = source(video, passes=2)
    got = [(frame.sequence, number_of(frame.data), frame.source) for frame in frames.frames()]
    assert got == [(number, number % 30, "clip.avi") for number in range(60)]
    assert watcher.passes == [1, 2]
    assert watcher.unreadable == []
    assert not frames.is_live


@pytest.mark.parametrize(("fps", "gap"), [(0.0, 0.1), (4.0, 0.25), (50.0, 0.02)])
def test_the_pace_is_its_own_or_the_one_asked_for(video: Path, fps: float, gap: float) -> None:
    frames, _ = source(video, fps=fps)
    times = [frame.captured_at for frame in frames.frames()]
    assert {round(later - earlier, 6) for earlier, later in pairwise(times)} == {gap}


def test_a_frame_belongs_to_whoever_took_it(video: Path) -> None:
    frames, _ = source(video)
    taken = [frame.data for frame in frames.frames()]
    assert [number_of(data) for data in taken] == list(range(30))
    assert all(not isinstance(data, bytes) and data.flags.writeable for data in taken)


def test_a_file_that_was_cut_off_is_told_once_a_pass(video: Path) -> None:
    video.write_bytes(video.read_bytes()[: video.stat().st_size // 2])
    frames, watcher = source(video, passes=2)
    numbers = [number_of(frame.data) for frame in frames.frames()]
    half = len(numbers) // 2
    assert numbers == [*range(half), *range(half)]
    assert 5 < half < 25
    assert watcher.unreadable == [("clip.avi", f"ends after {half} of 30 frames")] * 2


def test_a_file_that_vanishes_is_told_and_waited_for(video: Path) -> None:
    pace = WaitingPace(stop_after=40)
    frames, watcher = source(video, passes=0, pace=pace)
    stream = frames.frames()
    for _ in range(30):
        next(stream)
    video.unlink()
    before = pace.time
    assert list(stream) == []
    assert set(watcher.unreadable) == {("clip.avi", "there is no such file")}
    assert pace.time - before >= 0.5 * len(watcher.unreadable) > 0


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "not a video that can be read"),
        (b"plain text, no video", "not a video that can be read"),
        (b"RIFF" + bytes(500), "not a video that can be read"),
        (None, "there is no such file"),
    ],
)
def test_what_is_no_video_is_refused(data: bytes | None, message: str, tmp_path: Path) -> None:
    path = tmp_path / "clip.avi"
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(UsageError) as caught:
        source(path)
    assert caught.value.message == f"{path}: {message}"
    assert caught.value.hint


def test_a_video_without_a_frame_is_refused(video: Path) -> None:
    data = video.read_bytes()
    video.write_bytes(data[: data.index(b"movi") + 4])
    with pytest.raises(UsageError, match=r"clip\.avi: (no frame of it can be read|not a video)"):
        source(video)


def test_numbers_in_a_name_are_no_pattern(tmp_path: Path) -> None:
    write_video(tmp_path / "clip1.avi", range(3))
    (tmp_path / "clip1.avi").rename(tmp_path / "clip%d.avi")
    frames, _ = source(tmp_path / "clip%d.avi")
    assert len(list(frames.frames())) == 3

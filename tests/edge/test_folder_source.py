import os
from itertools import islice, pairwise

import pytest
from source_watching import WaitingPace, Watcher

from edge.errors import UsageError
from edge.sources.base import SourceOptions
from edge.sources.folder import FolderSource


def source(folder, *, passes=1, fps=0.0, max_bytes=1000, pace=None):
    watcher = Watcher()
    options = SourceOptions(passes=passes, fps=fps, max_bytes=max_bytes)
    return FolderSource(folder, options, pace=pace or WaitingPace(), events=watcher.events()), watcher


@pytest.fixture
def folder(tmp_path):
    for name in ("b/2.jpg", "a.jpg", "b/1.jpg", "c.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(name.encode())
    (tmp_path / ".hidden").write_bytes(b"x")
    (tmp_path / ".git").mkdir()
    (tmp_path / ".git" / "x").write_bytes(b"x")
    return tmp_path


def test_frames_come_sorted_with_sequences_that_never_skip(folder):
    (folder / "b" / "0.jpg").write_bytes(b"")
    (folder / "b" / "9.jpg").write_bytes(b"x" * 1001)
    os.mkfifo(folder / "aa.jpg")
    (folder / "gone.jpg").symlink_to(folder / "nowhere")
    frames, watcher = source(folder, passes=2)
    got = [(frame.sequence, frame.source, bytes(frame.data)) for frame in frames.frames()]
    names = ["a.jpg", "b/1.jpg", "b/2.jpg", "c.png"] * 2
    assert got == [(number, name, name.encode()) for number, name in enumerate(names)]
    bad = {
        "aa.jpg": "not a regular file",
        "b/0.jpg": "the file is empty",
        "b/9.jpg": "larger than 1000 bytes",
        "gone.jpg": "cannot be read: no such file or directory",
    }
    assert watcher.unreadable == list(bad.items()) * 2
    assert watcher.passes == [1, 2]


def test_new_files_join_in_the_next_pass(folder):
    frames, _ = source(folder, passes=2)
    stream = frames.frames()
    first = [frame.source for frame in islice(stream, 4)]
    (folder / "a0.jpg").write_bytes(b"new")
    assert "a0.jpg" not in first
    assert [frame.source for frame in stream] == ["a.jpg", "a0.jpg", "b/1.jpg", "b/2.jpg", "c.png"]


def test_a_file_that_vanishes_is_reported(folder):
    frames, watcher = source(folder)
    stream = frames.frames()
    next(stream)
    (folder / "b" / "1.jpg").unlink()
    assert [frame.source for frame in stream] == ["b/2.jpg", "c.png"]
    assert watcher.unreadable == [("b/1.jpg", "cannot be read: no such file or directory")]


def test_pace_keeps_the_rate_and_does_not_make_up_for_a_pause(folder):
    pace = WaitingPace()
    frames, _ = source(folder, passes=2, fps=4.0, pace=pace)
    times = []
    for frame in frames.frames():
        times.append(frame.captured_at)
        if frame.sequence == 3:
            pace.time += 100.0
    gaps = [round(later - earlier, 6) for earlier, later in pairwise(times)]
    assert gaps == [0.25, 0.25, 0.25, 100.0, 0.25, 0.25, 0.25]


def test_forever_ends_when_told(folder):
    frames, watcher = source(folder, passes=0, pace=WaitingPace(stop_after=52))
    assert sum(1 for _ in frames.frames()) == 42
    assert watcher.passes == list(range(1, 11))


def test_forever_over_nothing_readable_does_not_spin(tmp_path):
    (tmp_path / "a.jpg").write_bytes(b"")
    pace = WaitingPace(stop_after=20)
    frames, watcher = source(tmp_path, passes=0, pace=pace)
    assert list(frames.frames()) == []
    assert pace.time >= 1010.0
    assert len(watcher.passes) == 21


def test_no_folder(tmp_path):
    with pytest.raises(UsageError, match=r"no folder .*none"):
        source(tmp_path / "none")


def test_empty_folder(tmp_path):
    (tmp_path / "deep").mkdir()
    with pytest.raises(UsageError, match="no pictures in"):
        source(tmp_path)


def test_closing_ends_it_before_the_next_frame(folder):
    frames, watcher = source(folder, passes=0)
    got = []
    for frame in frames.frames():
        got.append(frame.source)
        if frame.sequence == 5:
            frames.close()
            frames.close()
    assert len(got) == 6
    assert watcher.passes == [1]

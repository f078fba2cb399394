"""The newest frame wins, a lost camera is got back, and nothing that hangs holds anybody up."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest
from hand_camera import DAMAGED, HANG, HandCamera
from source_watching import RealPace, Watcher, camera_threads

from edge.sources import newest
from edge.sources.base import SourceOptions
from edge.sources.grabber import GrabError, SlotReader
from edge.sources.newest import MAX_STUCK, NewestFrames
from edge.types import Frame

OPTIONS = SourceOptions(silence_s=15.0, backoff_base_s=0.01, backoff_cap_s=0.01)
GONE = GrabError("unplugged")


class Clock:
    """A monotonic clock that is set by hand."""

    def __init__(self) -> None:
        self.time = 0.0

    def __call__(self) -> float:
        return self.time


class Bench:
    """A camera, a source over it, and what it told."""

    def __init__(self, options: SourceOptions = OPTIONS, **more: Callable[[], float]) -> None:
        self.camera = HandCamera()
        self.pace = RealPace()
        self.watcher = Watcher()
        self.source = NewestFrames(
            "camera:7",
            self.camera.connect,
            options,
            pace=self.pace,
            events=self.watcher.events(),
            jitter=lambda: 1.0,
            **more,
        )
        self.frames = self.source.frames()

    def next(self) -> Frame:
        return next(self.frames)


def bench(**changes: float) -> Bench:
    return Bench(replace(OPTIONS, **changes))


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    yield
    for thread in camera_threads():
        thread.join(5)
    assert camera_threads() == []


def colour(frame: Frame) -> int:
    assert not isinstance(frame.data, bytes)
    return int(frame.data[0, 0, 0])


def finish(made: Bench) -> None:
    made.camera.released.set()
    made.camera.give(GONE)
    made.source.close()
    assert list(made.frames) == []


def test_the_newest_wins_and_the_others_are_counted() -> None:
    made = bench()
    made.camera.give(0)
    assert colour(made.next()) == 0
    made.camera.give_and_wait(1, 2, 3, 4, 5)
    frame = made.next()
    assert (colour(frame), frame.sequence, frame.source) == (5, 1, "camera:7")
    assert made.watcher.num_superseded == 4
    made.camera.give_and_wait(6)
    assert (made.next().sequence, made.watcher.num_superseded) == (2, 4)
    assert made.camera.num_retrieved == 7
    finish(made)
    assert made.watcher.story == []
    assert made.source.is_live
    assert made.source.current_pass == 1


def test_the_time_of_day_may_jump_and_a_frame_is_as_old_as_it_is() -> None:
    clock = Clock()
    made = Bench(monotonic=clock)
    made.pace.now = lambda: 1_700_000_000.0  # type: ignore[method-assign]
    made.camera.give(0)
    assert made.next().captured_at == 1_700_000_000.0
    made.camera.give_and_wait(1)
    clock.time += 3.0
    made.pace.now = lambda: 100.0  # type: ignore[method-assign]
    assert made.next().captured_at == 97.0
    finish(made)


def test_a_camera_that_is_not_there_at_first_is_waited_for() -> None:
    made = bench()
    made.camera.refusals = [GrabError(f"refused {number}") for number in range(4)]
    made.camera.give(1)
    assert made.next().sequence == 0
    assert made.watcher.story == ["lost: refused 0", "back"]
    assert made.camera.num_connections == 5
    finish(made)


def test_a_camera_that_breaks_off_is_got_back_and_frames_are_numbered_on() -> None:
    made = bench()
    made.camera.give(1)
    assert made.next().sequence == 0
    made.camera.give(GONE)
    made.camera.give(2)
    frame = made.next()
    assert (colour(frame), frame.sequence) == (2, 1)
    assert made.watcher.story == ["lost: unplugged", "back"]
    finish(made)
    assert made.camera.num_open == 0


def test_the_last_frame_before_the_end_is_handed_out() -> None:
    made = bench()
    made.camera.give(1)
    made.next()
    made.camera.give(2, GONE)
    for thread in camera_threads():
        thread.join(5.0)
    assert colour(made.next()) == 2
    assert made.watcher.story == []
    finish(made)


def test_a_camera_that_hangs_is_left_and_another_connection_is_made() -> None:
    made = bench(silence_s=0.05)
    made.camera.give(HANG, 1)
    assert made.next().sequence == 0
    assert made.watcher.story == ["lost: it gave no frame for 0.05 s", "back"]
    assert made.camera.num_connections == 2
    assert len(camera_threads()) == 2
    finish(made)


def stop_later(made: Bench) -> None:
    """Stops when as many connections were made as may hang, and there was time for more."""
    while made.camera.num_connections < MAX_STUCK:
        time.sleep(0.01)
    time.sleep(0.5)
    made.pace.stopped.set()


def test_threads_that_hang_are_few() -> None:
    made = bench(silence_s=0.2)
    made.camera.give(*[HANG] * MAX_STUCK, 5)
    threading.Thread(target=stop_later, args=(made,)).start()
    assert list(made.frames) == []
    assert made.camera.num_connections == MAX_STUCK
    assert made.watcher.story == ["lost: it gave no frame for 0.2 s"]
    made.pace.stopped.clear()
    made.camera.released.set()
    made.frames = made.source.frames()
    assert colour(made.next()) == 5
    finish(made)


def test_close_and_stop_do_not_wait_for_what_hangs() -> None:
    made = bench()
    made.camera.give(1)
    made.next()
    made.camera.give(HANG)
    threading.Timer(0.1, made.pace.stopped.set).start()
    assert list(made.frames) == []
    made.source.close()
    made.source.close()
    assert len(camera_threads()) == 1
    assert made.watcher.story == []
    made.camera.released.set()


def test_closing_from_another_thread_ends_the_wait_for_a_frame() -> None:
    made = bench()
    threading.Timer(0.1, made.source.close).start()
    assert list(made.frames) == []
    made.camera.give(GONE)
    assert made.watcher.story == []


def test_an_abandoned_iterator_lets_go_of_the_camera() -> None:
    made = bench()
    made.camera.give(1, GONE)
    made.next()
    made.frames.close()  # type: ignore[attr-defined]


def test_frames_a_second_are_limited_and_what_is_passed_over_is_not_decoded() -> None:
    clock = Clock()
    made = Bench(replace(OPTIONS, fps=0.5), monotonic=clock)
    made.camera.give(0)
    assert colour(made.next()) == 0
    for number in range(1, 20):
        clock.time += 0.1
        made.camera.give_and_wait(number)
    assert made.camera.num_retrieved == 3
    clock.time += 0.1
    assert colour(made.next()) == 19
    assert made.watcher.num_superseded == 18
    clock.time += 1.9
    threading.Timer(0.15, made.pace.stopped.set).start()
    made.camera.give(50)
    assert list(made.frames) == []
    made.camera.give(GONE)


def test_a_slow_camera_is_not_slowed_by_the_limit() -> None:
    clock = Clock()
    made = Bench(replace(OPTIONS, fps=0.9), monotonic=clock)
    made.camera.give(0)
    made.next()
    for number in range(1, 5):
        clock.time += 1.0
        made.camera.give_and_wait(number)
        clock.time += 0.2
        assert colour(made.next()) == number
    finish(made)


def test_a_damaged_frame_is_passed_over() -> None:
    made = bench()
    made.camera.give(DAMAGED, DAMAGED, 3)
    frame = made.next()
    assert (colour(frame), frame.sequence) == (3, 0)
    finish(made)


def test_only_damaged_frames_are_silence() -> None:
    made = bench(silence_s=0.05)
    made.camera.give(*[DAMAGED] * 5)
    made.watcher.on_lost = made.pace.stopped.set
    assert list(made.frames) == []
    assert made.watcher.story == ["lost: it gave no frame for 0.05 s"]
    made.camera.give(GONE)


def test_waits_grow_until_frames_have_come_for_a_while(monkeypatch: pytest.MonkeyPatch) -> None:
    attempts = []
    monkeypatch.setattr(newest, "delay", lambda attempt, **_: attempts.append(attempt) or 0.0)
    clock = Clock()
    made = Bench(monotonic=clock)
    made.camera.refusals = [GONE, GONE]
    made.camera.give(1, GONE, 2)
    made.next()
    made.next()
    assert attempts == [0, 1, 2]
    clock.time += 10.0
    made.camera.give_and_wait(3)
    clock.time += 10.0
    made.camera.give(GONE, 4)
    made.next()
    made.next()
    assert attempts == [0, 1, 2, 0]
    assert made.watcher.story == ["lost: unplugged", "back"] * 3
    finish(made)


def test_a_bug_in_a_grabber_comes_out() -> None:
    made = bench()
    made.camera.give(ZeroDivisionError("bug"))
    with pytest.raises(ZeroDivisionError, match="bug"):
        made.next()
    assert made.camera.num_open == 0
    made.source.close()


def test_a_reader_gives_each_frame_once() -> None:
    camera = HandCamera()
    reader = SlotReader(camera.connect())
    camera.give_and_wait(1, 2)
    taken = reader.take(5.0)
    assert taken is not None
    assert reader.take(0.0) is None
    assert (reader.take_num_superseded(), reader.take_num_superseded()) == (1, 0)
    reader.give_up()
    camera.give(GONE)
    reader.join(5.0)
    assert not reader.is_running

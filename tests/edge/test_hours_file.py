"""Statistics that no check-in has told outlive the agent; nothing counts twice, and little is written."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from edge import durable, jsonvalue
from edge.errors import StorageError
from edge.hours_file import MAX_BYTES, OLDEST_HOURS, SAVE_S, HoursFile, SavedHours, read_hours
from edge.statistics import MAX_BUNDLES, MAX_HOURS
from edge.sync.types import BundleHour
from edge.telemetry import Telemetry
from edge.types import Classification, ClassScore, Decision, DecisionReason, Inference, Outcome, Timings
from edge.wire import limits

HOUR_S = 3600.0
FIRST_HOUR = 472_222
A = "a" * 64


class Clock:
    """Both clocks of a device."""

    def __init__(self) -> None:
        self.now = FIRST_HOUR * HOUR_S + 60

    def __call__(self) -> float:
        return self.now

    def go(self, seconds: float) -> None:
        self.now += seconds


class Life:
    """One run of an agent, as far as its statistics go."""

    def __init__(self, home: Path, clock: Clock, run: str) -> None:
        self.telemetry = Telemetry(run=run, clock=clock)
        self.said: list[str] = []
        self.file = HoursFile(
            home / "statistics.json", self.telemetry, say=self.said.append, clock=clock, steady=lambda: clock.now
        )
        self.file.load()

    def answer(self, number: int = 1, bundle: str = A) -> None:
        for _ in range(number):
            self.telemetry.answered(inference(bundle), 1)

    def check_in(self, server: Server | None, *, reply_is_lost: bool = False) -> None:
        hours = self.telemetry.hours(A, 0)[: limits.MAX_HOURS]
        if server is None:
            return
        server.take(hours)
        if not reply_is_lost:
            self.telemetry.reported(hours)


class Server:
    """What it keeps by the page of the wire: of each key the newest word."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int, str], BundleHour] = {}

    def take(self, hours: tuple[BundleHour, ...]) -> None:
        for hour in hours:
            limits.check_hour(hour)
            self.rows[hour.bundle_digest, hour.hour, hour.run] = hour

    @property
    def frames(self) -> int:
        return sum(hour.frames for hour in self.rows.values())


def inference(bundle: str) -> Inference:
    tea = Classification(top=(ClassScore(label="tea", index=0, probability=0.9),), margin=0.5, entropy=0.1)
    return Inference(
        prediction=tea,
        decision=Decision(outcome=Outcome.ACCEPT, confidence=0.9, reason=DecisionReason.CONFIDENT),
        timings=Timings(preprocess_ms=1.0, infer_ms=2.0, postprocess_ms=0.5),
        bundle_digest=bundle,
        artifact="m.tflite",
        picture_digest="c" * 64,
    )


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def writes() -> Iterator[list[str]]:
    """Names of the durable writes."""
    points: list[str] = []
    durable.observe(lambda point: points.append(point) if point.endswith(":before") else None)
    yield points
    durable.observe(None)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "statistics.json"


# What outlives a restart.


def test_a_stop_keeps_what_no_check_in_told(tmp_path: Path, clock: Clock) -> None:
    first = Life(tmp_path, clock, "11111111")
    first.answer(7)
    first.telemetry.failed(A)
    first.telemetry.add(kept=2)
    first.check_in(None)
    first.file.step(last=True)
    second, server = Life(tmp_path, clock, "22222222"), Server()
    second.answer(3)
    second.check_in(server)
    assert {hour.run: hour.frames for hour in server.rows.values()} == {"11111111": 7, "22222222": 3}
    kept = server.rows[A, FIRST_HOUR, "11111111"]
    assert (kept.failed, kept.kept, kept.accepted, kept.classes) == (1, 2, 7, {"tea": 7})
    assert kept.latency_p50_ms > 0
    assert (first.said, second.said) == ([], [])


def test_a_kill_loses_the_last_minutes_at_most(tmp_path: Path, clock: Clock) -> None:
    life = Life(tmp_path, clock, "11111111")
    for _ in range(100):
        life.answer()
        life.check_in(None)
        life.file.step()
        clock.go(10)
    found = Life(tmp_path, clock, "22222222").telemetry.untold()
    assert 100 - SAVE_S / 10 - 1 <= sum(hour.frames for hour in found) < 100


def test_two_days_offline_over_many_restarts_come_home_whole(tmp_path: Path, clock: Clock) -> None:
    server, answered = Server(), 0
    for number in range(40):
        life = Life(tmp_path, clock, f"{number:08x}")
        for _ in range(2):
            life.answer(number + 1)
            answered += number + 1
            clock.go(0.5 * HOUR_S)
            life.file.step()
        life.file.step(last=True)
    life = Life(tmp_path, clock, "ffffffff")
    for _ in range(5):
        life.check_in(server)
        life.file.step()
    assert server.frames == answered
    assert life.telemetry.untold() == ()
    assert list(tmp_path.iterdir()) == []


# What never counts twice.


def test_a_reply_that_was_lost_before_a_restart_counts_nothing_twice(tmp_path: Path, clock: Clock) -> None:
    server, first = Server(), Life(tmp_path, clock, "11111111")
    first.answer(5)
    first.check_in(server, reply_is_lost=True)
    first.file.step(last=True)
    second = Life(tmp_path, clock, "22222222")
    second.answer(2)
    second.check_in(server, reply_is_lost=True)
    second.check_in(server)
    assert server.frames == 7
    assert second.telemetry.untold() == ()


def test_a_kill_right_after_the_server_heard_counts_nothing_twice(tmp_path: Path, clock: Clock) -> None:
    server, first = Server(), Life(tmp_path, clock, "11111111")
    first.answer(5)
    first.file.step(last=True)
    second = Life(tmp_path, clock, "22222222")
    second.check_in(server)  # and it is killed before it touches the file
    third = Life(tmp_path, clock, "33333333")
    third.check_in(server)
    assert server.frames == 5


def test_what_the_server_has_heard_since_is_not_told_again_as_it_was(tmp_path: Path, clock: Clock, path: Path) -> None:
    """A file that said less than the server knows would make the hour smaller."""
    server, life = Server(), Life(tmp_path, clock, "11111111")
    life.answer(5)
    clock.go(SAVE_S)
    life.file.step()
    assert path.exists()
    life.answer(4)
    life.check_in(server)
    life.answer(1)
    life.file.step()
    assert not path.exists()
    Life(tmp_path, clock, "22222222").check_in(server)
    assert server.frames == 9


def test_a_backlog_that_goes_home_in_parts_stays_in_the_file(tmp_path: Path, clock: Clock, path: Path) -> None:
    life, server = Life(tmp_path, clock, "11111111"), Server()
    for _ in range(MAX_HOURS - 1):
        life.answer()
        clock.go(HOUR_S)
    life.file.step(last=True)
    life = Life(tmp_path, clock, "22222222")
    life.answer(3)
    life.check_in(server)
    life.file.step()
    saved = read_hours(path).hours
    assert len(saved) == MAX_HOURS - limits.MAX_HOURS
    assert {hour.run for hour in saved} == {"11111111", "22222222"}, "of the present hour the server has heard nothing"
    life = Life(tmp_path, clock, "33333333")
    life.check_in(server)
    life.file.step()
    assert server.frames == MAX_HOURS - 1 + 3
    assert not path.exists()


# How much is written.


def test_nothing_is_written_while_the_server_is_reached(tmp_path: Path, clock: Clock, writes: list[str]) -> None:
    life, server = Life(tmp_path, clock, "11111111"), Server()
    for second in range(2 * 3600):
        if second % 30 == 0:
            life.answer()
            life.check_in(server)
        life.file.step()
        clock.go(1)
    assert writes == []
    assert list(tmp_path.iterdir()) == []
    assert server.frames == 240


def test_a_road_that_is_away_for_hours_costs_a_write_every_few_minutes(
    tmp_path: Path, clock: Clock, writes: list[str]
) -> None:
    life = Life(tmp_path, clock, "11111111")
    for second in range(3 * 3600):
        if second % 60 == 0:
            life.answer()
            life.check_in(None)
        life.file.step()
        clock.go(1)
    assert len(writes) == pytest.approx(3 * 3600 / SAVE_S, abs=1)
    for _ in range(3600):  # nothing to see, nothing to write
        life.file.step()
        clock.go(1)
    assert len(writes) == pytest.approx(3 * 3600 / SAVE_S, abs=2)


def test_a_check_in_that_is_due_with_a_write_comes_first(tmp_path: Path, clock: Clock, writes: list[str]) -> None:
    life, server = Life(tmp_path, clock, "11111111"), Server()
    for _ in range(5):
        life.answer()
        clock.go(SAVE_S)
        life.check_in(server)
        life.answer()
        life.file.step()
    assert writes == []


def test_rare_check_ins_are_kept_in_between(tmp_path: Path, clock: Clock, writes: list[str], path: Path) -> None:
    life, server = Life(tmp_path, clock, "11111111"), Server()
    for second in range(3600):
        life.answer(second % 60 == 0)
        life.file.step()
        clock.go(1)
    assert read_hours(path).hours
    assert len(writes) <= 3600 / SAVE_S
    life.check_in(server)
    life.file.step()
    assert not [hour for hour in server.rows.values() if hour.frames > 60]
    assert Life(tmp_path, clock, "22222222").telemetry.untold() == ()


# Bounds.


def test_the_file_is_bounded_and_the_oldest_goes(tmp_path: Path, clock: Clock, path: Path) -> None:
    most = MAX_HOURS * MAX_BUNDLES
    full = tuple(
        BundleHour(
            bundle_digest=f"{number % MAX_BUNDLES:064x}",
            hour=FIRST_HOUR + number // MAX_BUNDLES,
            run="11111111",
            frames=3,
            classes={f"product {label}": label for label in range(24)},
        )
        for number in range(most)
    )
    path.write_bytes(saved(digest=jsonvalue.digest_of(full), hours=full))
    clock.go(MAX_HOURS * HOUR_S)
    for number in range(12):
        life = Life(tmp_path, clock, f"{number:08x}")
        life.answer()
        life.file.step(last=True)
        assert life.said == []
    found = read_hours(path).hours
    assert len(found) == most
    assert {hour.hour for hour in found} == set(range(FIRST_HOUR + 3, FIRST_HOUR + MAX_HOURS + 1))
    assert [hour.run for hour in found[-12:]] == [f"{number:08x}" for number in range(12)]
    assert path.stat().st_size < 200_000


def test_more_than_fits_in_memory_is_not_taken_from_a_file(tmp_path: Path, clock: Clock, path: Path) -> None:
    hours = tuple(BundleHour(bundle_digest=A, hour=FIRST_HOUR + n, run="11111111", frames=1) for n in range(400))
    path.write_bytes(saved(digest=jsonvalue.digest_of(hours), hours=hours))
    found = Life(tmp_path, clock, "22222222").telemetry.untold()
    assert [hour.hour for hour in found] == list(range(FIRST_HOUR + 400 - MAX_HOURS, FIRST_HOUR + 400))


def test_hours_that_no_server_takes_any_more_are_dropped(tmp_path: Path, clock: Clock, path: Path) -> None:
    first = Life(tmp_path, clock, "11111111")
    first.answer()
    clock.go(HOUR_S)
    first.answer()
    first.file.step(last=True)
    clock.go(OLDEST_HOURS * HOUR_S)
    second = Life(tmp_path, clock, "22222222")
    assert [hour.hour for hour in second.telemetry.untold()] == [FIRST_HOUR + 1]
    clock.go(2 * HOUR_S)
    second.file.step(last=True)
    assert not path.exists()


def test_a_clock_that_begins_in_1970_drops_nothing(tmp_path: Path, clock: Clock) -> None:
    first = Life(tmp_path, clock, "11111111")
    first.answer(3)
    first.file.step(last=True)
    lost = Clock()
    lost.now = 12.0
    assert [hour.frames for hour in Life(tmp_path, lost, "22222222").telemetry.untold()] == [3]


# Damage.


def saved(**changes: object) -> bytes:
    hours = (BundleHour(bundle_digest=A, hour=FIRST_HOUR, run="11111111", frames=3),)
    whole = SavedHours(format_version=1, digest=jsonvalue.digest_of(hours), hours=hours)
    return jsonvalue.canonical_bytes(replace(whole, **changes))


def unsound(**changes: object) -> bytes:
    """A file whose digest is right, with an hour that no check-in could carry."""
    hours = (replace(BundleHour(bundle_digest=A, hour=FIRST_HOUR, run="11111111", frames=3), **changes),)
    return saved(digest=jsonvalue.digest_of(hours), hours=hours)


DAMAGED = {
    "empty": b"",
    "cut off": saved()[:-20],
    "no JSON": b"\x00" * 4096,
    "another kind": b"[]",
    "a field is missing": b'{"format_version": 1, "hours": []}',
    "a bit": saved().replace(b'"frames":3', b'"frames":7'),
    "a newer version": saved(format_version=2),
    "deep": b"[" * 100_000,
    "too large": b" " * (MAX_BYTES + 1),
    "a run that is none": unsound(run="x"),
    "too few bins": unsound(confidence=(1,)),
    "a count below nothing": unsound(frames=-1),
    "half a character": saved(digest="0" * 64).replace(b'"classes":{}', b'"classes":{"\\ud800":1}'),
}


@pytest.mark.parametrize("content", DAMAGED.values(), ids=DAMAGED)
def test_a_damaged_file_is_set_aside_and_stops_nobody(tmp_path: Path, clock: Clock, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    life, server = Life(tmp_path, clock, "22222222"), Server()
    assert (tmp_path / "statistics.damaged.json").read_bytes() == content
    assert not path.exists()
    (line,) = life.said
    assert line.startswith(
        "the statistics of earlier runs are lost, their file is set aside as statistics.damaged.json: statistics.json"
    )
    assert "\n" not in line
    assert len(line) < 500
    life.answer(2)
    life.check_in(server)
    assert server.frames == 2
    life.answer()
    life.file.step(last=True)
    assert [hour.frames for hour in Life(tmp_path, clock, "33333333").telemetry.untold()] == [3]


def test_a_sound_file_is_what_the_damaged_ones_are_made_of(tmp_path: Path, clock: Clock, path: Path) -> None:
    path.write_bytes(saved())
    life = Life(tmp_path, clock, "22222222")
    assert [(hour.run, hour.frames) for hour in life.telemetry.untold()] == [("11111111", 3)]
    path.write_bytes(saved().replace(b'"hours":[{', b'"hours":[{"later":1,'))
    assert Life(tmp_path, clock, "22222222").said, "its digest was taken without the field"


def test_fields_of_a_newer_writer_are_passed_over(tmp_path: Path, clock: Clock, path: Path) -> None:
    value = json.loads(saved())
    value["hours"][0]["later"] = 1
    value["digest"] = jsonvalue.digest_of(value["hours"])
    path.write_text(json.dumps(value))
    life = Life(tmp_path, clock, "22222222")
    assert (life.said, [hour.frames for hour in life.telemetry.untold()]) == ([], [3])


def test_a_file_that_cannot_be_read_or_moved_stops_nobody(tmp_path: Path, clock: Clock, path: Path) -> None:
    path.mkdir()
    life = Life(tmp_path, clock, "11111111")
    assert life.said == ["the statistics of earlier runs cannot be read: is a directory"]
    life.answer()
    life.file.step(last=True)
    assert "are not saved: cannot write" in life.said[-1]


# A disk that fails.


def failing(target: Path) -> Callable[..., None]:
    def write_bytes(path: Path, data: bytes, **_: object) -> None:
        raise StorageError(f"cannot write {path}: no space left on device", hint="free some space")

    return write_bytes


def test_a_write_that_fails_is_tried_again_minutes_later(
    tmp_path: Path, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life = Life(tmp_path, clock, "11111111")
    with monkeypatch.context() as broken:
        broken.setattr(durable, "write_bytes", failing(path))
        for _ in range(int(2.5 * SAVE_S)):
            life.answer()
            life.file.step()
            clock.go(1)
    assert len(life.said) == 2
    assert all("the statistics of this device are not saved: cannot write" in line for line in life.said)
    clock.go(SAVE_S)
    life.file.step()
    assert sum(hour.frames for hour in read_hours(path).hours) == int(2.5 * SAVE_S)


def test_a_file_that_the_server_has_overtaken_goes_also_when_no_other_can_be_written(
    tmp_path: Path, clock: Clock, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    life, server = Life(tmp_path, clock, "11111111"), Server()
    for _ in range(limits.MAX_HOURS + 4):
        life.answer()
        clock.go(HOUR_S)
    life.file.step()
    monkeypatch.setattr(durable, "write_bytes", failing(path))
    life.check_in(server)
    life.file.step()
    assert not path.exists()
    monkeypatch.undo()
    clock.go(SAVE_S)
    life.file.step()
    assert len(read_hours(path).hours) == 4, "what is left of the backlog was still in memory"


@pytest.mark.faults
def test_a_full_disk_keeps_the_file_that_is_there(tmp_path: Path, clock: Clock) -> None:
    folder = tmp_path / "disk"
    folder.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)], check=True)  # noqa: S607
    try:
        life = Life(folder, clock, "11111111")
        life.answer(2)
        clock.go(SAVE_S)
        life.file.step()
        with contextlib.suppress(OSError), (folder / "filler").open("wb", buffering=0) as file:
            while True:
                file.write(os.urandom(1024))
        life.answer(5)
        clock.go(SAVE_S)
        life.file.step()
        assert "no space left on device" in life.said[-1]
        assert [hour.frames for hour in read_hours(folder / "statistics.json").hours] == [2]
        (folder / "filler").unlink()
        life.file.step(last=True)
        assert [hour.frames for hour in read_hours(folder / "statistics.json").hours] == [7]
        assert [item.name for item in folder.iterdir()] == ["statistics.json"]
    finally:
        subprocess.run(["umount", str(folder)], check=True)  # noqa: S607


class Killed(BaseException):
    """Stands for the end of the process."""


@pytest.mark.parametrize("point", ["before", "written", "after"])
def test_a_kill_while_it_is_written_leaves_the_old_or_the_new(tmp_path: Path, clock: Clock, point: str) -> None:
    first = Life(tmp_path, clock, "11111111")
    first.answer(2)
    first.file.step(last=True)
    first.answer(3)

    def kill(reached: str) -> None:
        if reached == f"statistics:{point}":
            raise Killed

    durable.observe(kill)
    try:
        with pytest.raises(Killed):
            first.file.step(last=True)
    finally:
        durable.observe(None)
    second = Life(tmp_path, clock, "22222222")
    assert [hour.frames for hour in second.telemetry.untold()] == [5 if point == "after" else 2]
    assert second.said == []


def test_both_threads_may_go_on_at_a_time(tmp_path: Path) -> None:
    """As in the agent: frames and check-ins while the file is written."""
    import threading

    telemetry, server, stop = Telemetry(run="11111111", clock=time.time), Server(), threading.Event()
    file = HoursFile(
        tmp_path / "statistics.json", telemetry, say=lambda line: None, clock=time.time, steady=lambda: 0.0
    )

    def tell() -> None:
        while not stop.is_set():
            hours = telemetry.hours(A, 0)
            server.take(hours)
            telemetry.reported(hours)

    thread = threading.Thread(target=tell)
    thread.start()
    for _ in range(100):
        telemetry.answered(inference(A), 1)
        file.step(last=True)
    stop.set()
    thread.join(10)
    telemetry_left = telemetry.hours(A, 0)
    server.take(telemetry_left)
    telemetry.reported(telemetry_left)
    file.step(last=True)
    assert server.frames == 100
    assert not (tmp_path / "statistics.json").exists()

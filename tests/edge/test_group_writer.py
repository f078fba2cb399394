"""Samples kept in the background: in groups, patient with a failing disk, never in a camera's way."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

import pytest
from sample_values import make_sample

from edge import writer as writer_module
from edge.errors import StorageError
from edge.outbox.base import PutOutcome, Sample
from edge.outbox.memory import MemoryOutbox
from edge.writer import GROUP, GroupWriter


class Disk(MemoryOutbox):
    """A real outbox whose disk can be slow, or fail."""

    def __init__(self) -> None:
        super().__init__()
        self.groups: list[int] = []
        self.error = ""
        self.open = threading.Event()
        self.open.set()
        self.reached = threading.Event()

    def put_many(self, samples: Sequence[Sample], *, now: float) -> tuple[PutOutcome, ...]:
        self.reached.set()
        self.open.wait(10)
        if self.error:
            raise StorageError(self.error)
        if any(sample.metadata.label == "cannot be written" for sample in samples):
            raise ValueError("no number")
        self.groups.append(len(samples))
        return super().put_many(samples, now=now)


class Bench:
    def __init__(self, **options: int) -> None:
        self.disk = Disk()
        self.outcomes: list[PutOutcome] = []
        self.failures: list[str] = []
        self.dropped = 0
        self.writer = GroupWriter(
            self.disk,
            clock=lambda: 5.0,
            settled=self.outcomes.extend,
            failed=self.failures.append,
            dropped=self._drop,
            **options,
        )
        self.writer.start()

    def _drop(self, number: int) -> None:
        self.dropped += number

    def until(self, condition: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 10
        while not condition():
            assert time.monotonic() < deadline, "never happened"
            time.sleep(0.005)


@pytest.fixture
def make() -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def make_one(**options: int) -> Bench:
        made.append(Bench(**options))
        return made[-1]

    yield make_one
    for bench in made:
        bench.disk.open.set()
        bench.writer.stop(timeout_s=5)


def of_value(number: int, value: float) -> Sample:
    sample = make_sample(number)
    return replace(sample, metadata=replace(sample.metadata, value=value))


def test_what_waits_is_written_together(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.disk.open.clear()
    bench.writer.hand_over(make_sample(0))
    bench.until(bench.disk.reached.is_set)
    for number in range(1, 33):
        assert bench.writer.hand_over(make_sample(number))
    assert bench.outcomes == []  # nothing is acknowledged before it is durable
    bench.disk.open.set()
    bench.until(lambda: len(bench.outcomes) == 33)
    assert bench.disk.groups == [1, GROUP, GROUP]
    assert bench.disk.stats().pending == 33


def test_the_same_sample_waits_once(make: Callable[..., Bench]) -> None:
    bench = make()
    bench.disk.open.clear()
    for _ in range(3):
        assert bench.writer.hand_over(make_sample(1))
    bench.until(bench.disk.reached.is_set)
    assert bench.writer.hand_over(make_sample(1))
    bench.disk.open.set()
    assert bench.writer.stop(timeout_s=5) == 0
    assert bench.disk.groups == [1]


def test_a_failing_disk_is_tried_again_and_nothing_is_lost(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 0.01)
    bench = make()
    bench.disk.error = "the disk is full"
    for number in range(5):
        bench.writer.hand_over(make_sample(number))
    bench.until(lambda: len(bench.failures) >= 3)
    assert bench.outcomes == []
    bench.disk.error = ""
    bench.until(lambda: len(bench.outcomes) == 5)
    assert [entry.digest for entry in bench.disk.entries()] == [make_sample(number).digest for number in range(5)]
    assert bench.dropped == 0


def test_too_much_sheds_the_least_valuable(make: Callable[..., Bench]) -> None:
    bench = make(max_samples=3)
    bench.disk.open.clear()
    bench.writer.hand_over(of_value(0, 0.0))
    bench.until(bench.disk.reached.is_set)  # this one is under way
    taken = [bench.writer.hand_over(of_value(number, value)) for number, value in enumerate((0.5, 0.2, 0.9, 0.4), 1)]
    assert taken == [True, True, True, True]
    assert not bench.writer.hand_over(of_value(9, 0.1))
    assert bench.dropped == 2
    bench.disk.open.set()
    assert bench.writer.stop(timeout_s=5) == 0
    assert sorted(entry.metadata.value for entry in bench.disk.entries()) == [0.0, 0.4, 0.5, 0.9]


def test_bytes_are_bounded_too(make: Callable[..., Bench]) -> None:
    size = len(make_sample(0).payload)
    bench = make(max_bytes=2 * size)
    bench.disk.open.clear()
    bench.writer.hand_over(make_sample(0))
    bench.until(bench.disk.reached.is_set)
    for number in range(1, 6):
        bench.writer.hand_over(make_sample(number))
    assert bench.dropped >= 3
    bench.disk.open.set()


def test_a_stop_writes_what_waits_and_says_what_it_could_not(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "LINGER_S", 60.0)
    bench = make()
    bench.writer.hand_over(make_sample(0))
    assert bench.writer.stop(timeout_s=5) == 0
    assert bench.disk.stats().pending == 1
    other = make()
    other.disk.error = "remount it"
    for number in range(3):
        other.writer.hand_over(make_sample(number))
    assert other.writer.stop(timeout_s=5) == 3


def test_a_sample_that_cannot_be_written_down_does_not_end_the_others(make: Callable[..., Bench]) -> None:
    bench = make()
    bad = make_sample(1)
    bench.writer.hand_over(replace(bad, metadata=replace(bad.metadata, label="cannot be written")))
    bench.until(lambda: bench.dropped == 1)
    assert bench.failures == ["samples cannot be kept: ValueError: no number"]
    bench.writer.hand_over(make_sample(2))
    bench.until(lambda: bench.outcomes == [PutOutcome.KEPT])


def test_room_that_comes_back_while_it_rests_is_used_at_the_stop(
    make: Callable[..., Bench], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(writer_module, "RETRY_S", 60.0)
    bench = make()
    bench.disk.error = "the disk is full"
    bench.writer.hand_over(make_sample(1))
    bench.until(lambda: bench.failures)
    bench.disk.error = ""
    assert bench.writer.stop(timeout_s=5) == 0
    assert bench.disk.stats().pending == 1
    assert not bench.writer.hand_over(make_sample(2))


def test_one_sample_larger_than_all_that_may_wait_does_not_end_it(make: Callable[..., Bench]) -> None:
    bench = make(max_bytes=len(make_sample(0).payload))
    assert not bench.writer.hand_over(make_sample(1, size_bytes=1000))
    assert bench.dropped == 1
    bench.writer.hand_over(make_sample(2))
    bench.until(lambda: bench.outcomes == [PutOutcome.KEPT])

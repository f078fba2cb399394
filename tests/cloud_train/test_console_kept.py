"""Answers that are kept: how old they may get, who waits, and that a page never shows another fleet's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from cloud_train.api.kept import Kept
from edge.errors import StorageError


class Gatherer:
    """Counts how often it was asked, and by which thread's behalf."""

    def __init__(self) -> None:
        self.asked: list[tuple[str, float]] = []
        self.behind: list[Callable[[], None]] = []
        self.takes_s = self.elapsed_s = 0.0

    def __call__(self, key: str, now: float) -> int:
        self.asked.append((key, now))
        self.elapsed_s += self.takes_s
        return len(self.asked)

    def kept(self, *, most: int = 3) -> Kept[str, int]:
        return Kept(
            self,
            fresh_s=5.0,
            stale_s=30.0,
            most=most,
            in_background=self.behind.append,
            monotonic=lambda: self.elapsed_s,
        )


def test_what_is_fresh_is_not_gathered_again() -> None:
    gatherer = Gatherer()
    kept = gatherer.kept()
    answers = [kept.get("a", now=now) for now in (100.0, 101.0, 105.0)]
    assert [(one.at, one.value) for one in answers] == [(100.0, 1)] * 3
    assert gatherer.behind == []


def test_what_is_old_is_shown_and_gathered_once_behind_the_page() -> None:
    gatherer = Gatherer()
    kept = gatherer.kept()
    kept.get("a", now=100.0)
    assert [kept.get("a", now=106.0).value for _ in range(3)] == [1, 1, 1]
    assert len(gatherer.behind) == 1
    gatherer.behind.pop()()
    assert (kept.get("a", now=107.0).at, kept.get("a", now=107.0).value) == (106.0, 2)
    assert kept.get("a", now=112.0).value == 2
    assert len(gatherer.behind) == 1


@pytest.mark.parametrize(("takes_s", "fresh_s"), [(0.1, 5.0), (0.25, 10.0), (60.0, 15.0)])
def test_what_takes_long_is_gathered_less_often(takes_s: float, fresh_s: float) -> None:
    gatherer = Gatherer()
    gatherer.takes_s = takes_s
    kept = gatherer.kept()
    kept.get("a", now=100.0)
    kept.get("a", now=100.0 + fresh_s)
    assert gatherer.behind == []
    kept.get("a", now=100.1 + fresh_s)
    assert len(gatherer.behind) == 1


@pytest.mark.parametrize("now", [130.1, 99.0], ids=["too old", "from the future"])
def test_what_is_stale_is_not_shown(now: float) -> None:
    gatherer = Gatherer()
    kept = gatherer.kept()
    kept.get("a", now=100.0)
    assert kept.peek("a", now=now) is None
    assert (kept.get("a", now=now).at, kept.get("a", now=now).value) == (now, 2)


def test_a_look_does_not_wait() -> None:
    gatherer = Gatherer()
    kept = gatherer.kept()
    assert kept.peek("a", now=1.0) is None
    assert gatherer.asked == []
    gatherer.behind.pop()()
    found = kept.peek("a", now=2.0)
    assert found is not None
    assert (found.at, found.value) == (1.0, 1)


def test_the_oldest_goes_when_there_are_many() -> None:
    gatherer = Gatherer()
    kept = gatherer.kept(most=2)
    for key in "abca":
        kept.get(key, now=1.0)
    assert [key for key, _ in gatherer.asked] == ["a", "b", "c", "a"]
    kept.get("c", now=1.0)
    assert len(gatherer.asked) == 4


def test_of_many_who_wait_one_gathers() -> None:
    begun, go_on, asked = threading.Event(), threading.Event(), []

    def slow(key: str, now: float) -> int:
        asked.append(key)
        begun.set()
        assert go_on.wait(20)
        return 7

    kept: Kept[str, int] = Kept(slow, fresh_s=5.0, stale_s=30.0, most=3, in_background=lambda work: None)
    with ThreadPoolExecutor(6) as pool:
        waiting = [pool.submit(kept.get, "a", now=1.0) for _ in range(6)]
        assert begun.wait(20)
        go_on.set()
        assert {one.result(20).value for one in waiting} == {7}
    assert asked == ["a"]


def test_a_failure_is_told_and_not_kept() -> None:
    failing = [True]

    def gather(key: str, now: float) -> int:
        if failing:
            raise StorageError("the database is away")
        return 1

    behind: list[Callable[[], None]] = []
    kept: Kept[str, int] = Kept(gather, fresh_s=5.0, stale_s=30.0, most=3, in_background=behind.append)
    with pytest.raises(StorageError):
        kept.get("a", now=1.0)
    assert kept.peek("a", now=1.0) is None
    with pytest.raises(StorageError):
        behind.pop()()
    failing.clear()
    assert kept.peek("a", now=1.0) is None
    assert len(behind) == 1
    assert kept.get("a", now=1.0).value == 1

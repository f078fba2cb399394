"""Small things in the background: in order, bounded, done at the end."""

from __future__ import annotations

import threading

import pytest

from edge.errands import Errands


def test_in_the_foreground_a_task_is_done_at_once() -> None:
    done: list[int] = []
    errands = Errands("test", in_background=False)
    errands.do(lambda: done.append(1))
    assert done == [1]
    errands.stop(timeout_s=1)


def test_in_the_background_nobody_waits_and_all_is_done_in_order() -> None:
    done: list[int] = []
    standing_still = threading.Event()
    errands = Errands("test", in_background=True)
    errands.do(lambda: standing_still.wait(10) and None)
    for number in range(100):
        errands.do(lambda number=number: done.append(number))
    assert done == []
    standing_still.set()
    errands.stop(timeout_s=10)
    assert done == list(range(100))


@pytest.mark.parametrize(("in_turn", "expected"), [(False, [2, 3, 4]), (True, [3, 4, 0, 1, 2])])
def test_what_does_not_fit_is_given_up_oldest_first_or_done_in_turn(in_turn: bool, expected: list[int]) -> None:
    done: list[int] = []
    begun, standing_still = threading.Event(), threading.Event()
    errands = Errands("test", in_background=True, most_waiting=3, in_turn=in_turn)

    def stand_still() -> None:
        begun.set()
        standing_still.wait(10)

    errands.do(stand_still)
    assert begun.wait(10)
    for number in range(5):
        errands.do(lambda number=number: done.append(number))
    standing_still.set()
    errands.stop(timeout_s=10)
    assert done == expected


def test_a_stop_gives_up_after_its_time() -> None:
    standing_still = threading.Event()
    errands = Errands("test", in_background=True)
    errands.do(lambda: standing_still.wait(10) and None)
    errands.stop(timeout_s=0.05)
    standing_still.set()

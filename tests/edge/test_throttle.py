"""Bytes under a rate, by a clock of the test's own."""

from __future__ import annotations

import threading

import pytest

from edge.sync.throttle import Throttle


class Clock:
    def __init__(self) -> None:
        self.now = 100.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


def throttle(rate: float) -> tuple[Throttle, Clock]:
    clock = Clock()
    return Throttle(rate, clock=clock, sleep=clock.sleep), clock


def test_the_rate_is_kept_over_many_pieces() -> None:
    limited, clock = throttle(1000)
    for _ in range(50):
        limited.spend(400)
    assert clock.now - 100.0 == pytest.approx(20.0, abs=1.0)


def test_an_idle_hour_saves_up_one_second_only() -> None:
    limited, clock = throttle(1000)
    clock.now += 3600
    before = clock.now
    limited.spend(5000)
    assert clock.now - before == pytest.approx(4.0)


def test_nothing_waits_without_a_rate() -> None:
    limited, clock = throttle(0)
    limited.spend(10**9)
    assert clock.slept == []
    assert limited.piece_bytes(1000) == 1000


def test_somebody_is_told_all_along_that_it_waits() -> None:
    limited, clock = throttle(100)
    told: list[float] = []
    limited.spend(1000, waiting=lambda: told.append(clock.now))
    assert len(told) >= 30
    assert max(clock.slept) <= 0.25


def test_pieces_go_in_about_a_second() -> None:
    assert [throttle(rate)[0].piece_bytes(262_144) for rate in (1, 8_000, 10**7)] == [4096, 8_000, 262_144]


def test_the_end_cuts_a_wait_short() -> None:
    limited = Throttle(1.0)
    waiter = threading.Thread(target=limited.spend, args=(1000,))
    waiter.start()
    limited.end()
    waiter.join(5)
    assert not waiter.is_alive()

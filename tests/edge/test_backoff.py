"""The wait doubles, is capped, and is spread by jitter."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.sync.backoff import delay


def test_doubles_up_to_the_cap() -> None:
    waits = [delay(attempt, base_s=1.0, cap_s=30.0, jitter=1.0) for attempt in range(8)]
    assert waits == [1.0, 2.0, 4.0, 8.0, 16.0, 30.0, 30.0, 30.0]


def test_jitter_takes_away_at_most_half() -> None:
    assert delay(3, base_s=1.0, cap_s=30.0, jitter=0.0) == 4.0
    assert delay(3, base_s=1.0, cap_s=30.0, jitter=0.5) == 6.0


def test_a_year_of_failures_is_still_a_number() -> None:
    assert delay(10**9, base_s=0.001, cap_s=600.0, jitter=1.0) == 600.0


@given(st.integers(0, 10_000), st.floats(1e-3, 1e3), st.floats(1.0, 1e6), st.floats(0.0, 1.0), st.floats(0.0, 1.0))
def test_stays_in_its_bounds_and_grows(attempt: int, base_s: float, factor: float, low: float, high: float) -> None:
    cap_s = base_s * factor
    wait = delay(attempt, base_s=base_s, cap_s=cap_s, jitter=low)
    assert min(base_s, cap_s) / 2 <= wait <= cap_s
    assert wait <= delay(attempt, base_s=base_s, cap_s=cap_s, jitter=max(low, high))
    assert wait <= delay(attempt + 1, base_s=base_s, cap_s=cap_s, jitter=low)


def test_two_devices_that_fail_together_do_not_come_back_together() -> None:
    draws = [index / 100 for index in range(100)]
    waits = [delay(4, base_s=1.0, cap_s=60.0, jitter=jitter) for jitter in draws]
    assert all(later > sooner for sooner, later in itertools.pairwise(waits))


@pytest.mark.parametrize(
    "arguments",
    [
        {"attempt": -1},
        {"base_s": 0.0},
        {"base_s": math.nan},
        {"cap_s": 0.5},
        {"cap_s": math.inf},
        {"jitter": -0.1},
        {"jitter": 1.1},
    ],
)
def test_nonsense_is_refused(arguments: dict[str, float]) -> None:
    with pytest.raises(ValueError, match="no backoff for"):
        delay(**{"attempt": 0, "base_s": 1.0, "cap_s": 2.0, "jitter": 0.5, **arguments})

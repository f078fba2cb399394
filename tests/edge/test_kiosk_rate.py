from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.kiosk.rate import Allowance, Bucket, Rates, take

TEN = Allowance(per_second=2.0, burst=10.0)


def spend(allowance: Allowance, moments: list[float]) -> list[float]:
    bucket, waits = None, []
    for now in moments:
        bucket, wait_s = take(bucket, allowance, now=now)
        waits.append(wait_s)
    return waits


def test_a_burst_passes_and_the_next_one_is_told_how_long_to_wait() -> None:
    waits = spend(TEN, [5.0] * 12)
    assert waits[:10] == [0.0] * 10
    assert waits[10:] == [pytest.approx(0.5)] * 2


def test_after_the_wait_it_passes_and_not_before() -> None:
    assert spend(TEN, [0.0] * 10 + [0.49])[-1] == pytest.approx(0.01)
    assert spend(TEN, [0.0] * 10 + [0.5])[-1] == 0.0


def test_a_pause_fills_no_more_than_the_burst() -> None:
    waits = spend(TEN, [0.0] * 10 + [1e9] * 11)
    assert waits[10:20] == [0.0] * 10
    assert waits[20] > 0


def test_a_refused_request_costs_nothing() -> None:
    bucket = Bucket(left=0.0, at=0.0)
    for _ in range(100):
        bucket, _ = take(bucket, TEN, now=0.1)
    assert take(bucket, TEN, now=0.5)[1] == 0.0


def test_a_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket, wait_s = take(Bucket(left=0.0, at=10.0), TEN, now=3.0)
    assert wait_s == pytest.approx(0.5)
    assert bucket == Bucket(left=0.0, at=3.0)


@given(
    gaps=st.lists(st.floats(0, 3), min_size=1, max_size=200),
    per_second=st.floats(0.1, 50),
    burst=st.floats(1, 20),
)
def test_never_more_than_the_burst_and_what_came_back_since(gaps: list[float], per_second: float, burst: float) -> None:
    moments = [sum(gaps[: at + 1]) for at in range(len(gaps))]
    waits = spend(Allowance(per_second=per_second, burst=burst), moments)
    passed = [now for now, wait_s in zip(moments, waits, strict=True) if wait_s == 0]
    for first in range(len(passed)):
        for last in range(first, len(passed)):
            assert last - first + 1 <= burst + (passed[last] - passed[first]) * per_second + 1e-6


def test_callers_do_not_spend_each_others_allowance() -> None:
    rates = Rates(Allowance(per_second=1.0, burst=1.0))
    assert rates.wait_s("a", now=0.0) == 0.0
    assert rates.wait_s("a", now=0.0) > 0
    assert rates.wait_s("b", now=0.0) == 0.0


def test_the_caller_that_was_away_longest_is_forgotten_first() -> None:
    rates = Rates(Allowance(per_second=0.001, burst=1.0), max_callers=2)
    for caller in ("a", "b", "a", "c"):
        rates.wait_s(caller, now=0.0)
    assert rates.wait_s("a", now=0.0) > 0
    assert rates.wait_s("b", now=0.0) == 0.0


@pytest.mark.parametrize(("per_second", "burst"), [(0.0, 5.0), (-1.0, 5.0), (1.0, 0.5), (float("nan"), 5.0)])
def test_an_allowance_that_allows_nothing_is_refused(per_second: float, burst: float) -> None:
    with pytest.raises(ValueError, match="an allowance needs"):
        Allowance(per_second=per_second, burst=burst)

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle.manifest import KeepBudget
from edge.keep.budget import NOTHING_SPENT, Spending, Used, Window, has_room

SPANS = {"minute": 60.0, "hour": 3600.0, "day": 86400.0}


def kept(budget: KeepBudget, frames: list[tuple[float, int, bool]]) -> list[tuple[float, int, bool]]:
    """Plays frames of (time, size, reserve) through the budget."""
    spending, done = NOTHING_SPENT, []
    for now, size, reserve in frames:
        if has_room(spending, budget, now=now, size_bytes=size, reserve=reserve):
            spending = spending.added(now, size)
            done.append((now, size, reserve))
    return done


def most_in(span_s: float, frames: list[tuple[float, int, bool]]) -> tuple[int, int]:
    """Greatest count and greatest bytes in any span that ends at a frame; the oracle, with a list of all times."""
    spans = [[size for then, size, _ in frames if now - span_s < then <= now] for now, _, _ in frames]
    return max(map(len, spans), default=0), max(map(sum, spans), default=0)


STEPS = st.one_of(
    st.floats(0, 10), st.floats(0, 600), st.floats(0, 20_000), st.sampled_from([5.0, 60.0, 300.0, 3600.0])
)
FRAMES = st.lists(st.tuples(STEPS, st.integers(0, 1000), st.booleans()), max_size=60)
LIMITS = st.integers(0, 12)
BYTES = st.integers(0, 5000)


@settings(max_examples=300)
@given(
    start=st.floats(0, 2e9),
    steps=FRAMES,
    budget=st.builds(
        KeepBudget,
        per_minute=LIMITS,
        per_hour=LIMITS,
        per_day=LIMITS,
        bytes_per_minute=BYTES,
        bytes_per_hour=BYTES,
        bytes_per_day=BYTES,
    ),
)
def test_no_span_ever_holds_more_than_the_budget(
    start: float, steps: list[tuple[float, int, bool]], budget: KeepBudget
) -> None:
    frames, now = [], start
    for step, size, reserve in steps:
        now += step
        frames.append((now, size, reserve))
    done = kept(budget, frames)
    for name, span_s in SPANS.items():
        count, size_bytes = most_in(span_s, done)
        assert count <= getattr(budget, f"per_{name}") or getattr(budget, f"per_{name}") == 0
        assert size_bytes <= getattr(budget, f"bytes_per_{name}") or getattr(budget, f"bytes_per_{name}") == 0


def test_no_limit_keeps_all() -> None:
    frames = [(number / 100, 10**9, True) for number in range(500)]
    assert kept(KeepBudget(), frames) == frames


@pytest.mark.parametrize(("name", "span_s"), SPANS.items())
def test_room_comes_back_at_most_a_twelfth_late(name: str, span_s: float) -> None:
    budget = KeepBudget(**{f"per_{name}": 2})
    spending = NOTHING_SPENT.added(1000.0, 1).added(1001.0, 1)
    for share, room in ((0.0, False), (0.5, False), (0.99, False), (1 + 1 / 12, True)):
        assert has_room(spending, budget, now=1001.0 + span_s * share, size_bytes=1, reserve=False) is room


def test_bytes_count_the_sample_that_asks() -> None:
    budget = KeepBudget(bytes_per_hour=100)
    assert has_room(NOTHING_SPENT, budget, now=0, size_bytes=100, reserve=False)
    assert not has_room(NOTHING_SPENT, budget, now=0, size_bytes=101, reserve=False)
    spent = NOTHING_SPENT.added(0, 60)
    assert has_room(spent, budget, now=1, size_bytes=40, reserve=False)
    assert not has_room(spent, budget, now=1, size_bytes=41, reserve=False)


@pytest.mark.parametrize(("limit", "ruled"), [(1, 1), (2, 1), (5, 4), (10, 9), (11, 9), (100, 90)])
def test_a_tenth_is_left_to_others(limit: int, ruled: int) -> None:
    budget = KeepBudget(per_day=limit)
    assert len(kept(budget, [(number, 1, True) for number in range(2 * limit)])) == ruled
    frames = [(number, 1, number < 2 * limit) for number in range(4 * limit)]
    assert len(kept(budget, frames)) == limit


def test_windows_stay_small() -> None:
    spending, largest = NOTHING_SPENT, 0
    for number in range(20_000):
        spending = spending.added(number * 7.3, 1)
        largest = max(largest, *(len(window.buckets) for window in windows(spending)))
    assert largest <= 13


def windows(spending: Spending) -> tuple[Window, ...]:
    return spending.minute, spending.hour, spending.day


def test_a_clock_set_back_blocks_for_two_spans_at_most() -> None:
    window = Window(span_s=60.0).added(1000.0, 5)
    assert window.used(950.0) == Used(count=1, size_bytes=5)
    assert window.used(900.0) == Used(count=0, size_bytes=0)
    assert window.added(900.0, 7).used(900.0) == Used(count=1, size_bytes=7)
    jumping = Window(span_s=60.0)
    for now in (1000.0, 950.0, 1060.0, 1000.0, 990.0, 1050.0) * 50:
        jumping = jumping.added(now, 1)
    assert len(jumping.buckets) <= 25

"""Ranges of activations: counting in one pass, and clipping where that costs less than it saves."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.calibrate import watched_ranges
from converters.ranges import GrowingHistogram, Range, TailTracker
from converters.types import CalibrationRange
from edge.errors import EdgeloopError

LEVELS = 255
PARTS = st.lists(st.lists(st.integers(-3000, 3000), min_size=1, max_size=40), min_size=1, max_size=12)


def squared_error(values: np.ndarray, low: float, high: float) -> float:
    """What int8 really costs: every value to the nearest of 256 steps, those outside to the ends."""
    low, high = min(low, 0.0), max(high, 0.0)
    step = (high - low) / LEVELS
    held = np.round((np.clip(values, low, high) - low) / step) * step + low
    return float(((values - held) ** 2).mean())


def clipped(values: np.ndarray) -> tuple[Range, Range]:
    """The whole range, and what is left of it."""
    whole = Range(low=float(values.min()), high=float(values.max()))
    histogram = GrowingHistogram()
    for part in np.array_split(values.astype(np.float32), 7):
        histogram.see(part)
    return whole, histogram.clipped(whole)


def heavy_tailed(rng: np.random.Generator) -> np.ndarray:
    return np.concatenate([rng.normal(size=20_000), rng.uniform(20, 60, size=4) * rng.choice([-1, 1], size=4)])


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.lists(st.integers(-3000, 3000), min_size=1, max_size=40), min_size=1, max_size=12), st.integers(0, 8)
)
def test_counts_survive_growth_exactly(parts, exponent):
    histogram = GrowingHistogram()
    for place, part in enumerate(parts):  # later parts are larger, so that the bins have to grow
        histogram.see(np.array(part, dtype=np.float32) * 2.0 ** (exponent * place))
    seen = np.concatenate([np.array(part) * 2.0 ** (exponent * place) for place, part in enumerate(parts)])
    seen = seen[seen != 0]
    if not seen.size:
        assert histogram._counts is None
        return
    places = np.floor(seen / histogram._width)
    assert -1024 <= places.min() <= places.max() < 1024
    wanted = np.bincount(places.astype(int) + 1024, minlength=2048)
    np.testing.assert_array_equal(histogram._counts, wanted)


def test_clipping_beats_the_whole_range_of_a_tensor_with_rare_outliers():
    values = np.concatenate([np.random.default_rng(4).normal(size=400_000), [-60.0, 50.0]])
    whole, found = clipped(values)
    assert whole.low < found.low < found.high < whole.high
    exact, clip = (squared_error(values, one.low, one.high) for one in (whole, found))
    assert clip < 0.8 * exact


def test_clipping_is_as_good_as_trying_every_range():
    values = heavy_tailed(np.random.default_rng(5))
    whole, found = clipped(values)
    shares = np.linspace(1.0, 0.25, 41)
    best = min(squared_error(values, low * whole.low, high * whole.high) for low in shares for high in shares)
    assert squared_error(values, found.low, found.high) <= 1.02 * best


@pytest.mark.parametrize(("low", "high"), [(-1.0, 1.0), (0.0, 6.0), (-3.0, 0.0), (2.0, 5.0)])
def test_nothing_is_cut_off_a_uniform_tensor(low, high):
    whole, found = clipped(np.random.default_rng(6).uniform(low, high, size=50_000))
    assert found == Range(low=min(whole.low, 0.0), high=max(whole.high, 0.0))


def test_a_rectified_tensor_is_clipped_at_its_upper_end_alone():
    rng = np.random.default_rng(7)
    values = np.maximum(heavy_tailed(rng), 0)
    whole, found = clipped(values)
    assert (whole.low, found.low) == (0.0, 0.0)
    assert found.high < whole.high


@pytest.mark.parametrize("value", [0.0, 3.5])
def test_a_constant_tensor_keeps_its_range(value):
    whole, found = clipped(np.full(100, value))
    assert found == whole


def watch(name: str, *pictures: np.ndarray):
    for picture in pictures:
        yield {"quiet": np.ones(4, dtype=np.float32), name: picture.astype(np.float32)}


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", list(CalibrationRange))
def test_a_value_that_is_no_number_in_a_later_picture_is_refused_by_name(bad, kind):
    fine, spoiled = np.arange(6.0), np.array([1.0, 2.0, bad, 3.0])
    with pytest.raises(EdgeloopError, match="activations of 'stem/relu' are not finite numbers") as caught:
        watched_ranges(watch("stem/relu", fine, fine, spoiled, fine), 4, (kind,))
    assert caught.value.hint


def test_one_pass_gives_every_kind_what_a_pass_of_its_own_gives():
    rng = np.random.default_rng(8)
    pictures = [heavy_tailed(rng) for _ in range(3)]
    together = watched_ranges(watch("x", *pictures), 3, tuple(CalibrationRange))
    for kind in CalibrationRange:
        assert together[kind] == watched_ranges(watch("x", *pictures), 3, (kind,))[kind]
    exact, wide, narrow = (
        together[kind]["x"] for kind in (CalibrationRange.EXACT, CalibrationRange.P99_999, CalibrationRange.P99_99)
    )
    assert (exact.low, exact.high) == (np.float32(min(map(np.min, pictures))), np.float32(max(map(np.max, pictures))))
    assert exact.low <= wide.low < narrow.low < narrow.high < wide.high <= exact.high


@settings(deadline=None)
@given(
    st.lists(st.lists(st.floats(-1e3, 1e3, width=32), min_size=5, max_size=5), min_size=1, max_size=20),
    st.sampled_from([0.0, 0.05, 0.2, 0.49]),
    st.sampled_from([0.0, 0.02, 0.2]),
)
def test_any_smaller_share_than_the_trackers_is_cut_exactly(parts, most, share):
    tracker = TailTracker(share=most, total=5 * len(parts))
    for part in parts:
        tracker.see(np.array(part, dtype=np.float32))
    share = min(share, most)
    ordered, cut = np.sort(np.array(parts, dtype=np.float32), axis=None), int(share * 5 * len(parts))
    assert tracker.range(share) == Range(low=float(ordered[cut]), high=float(ordered[-1 - cut]))

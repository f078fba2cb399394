from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest

from converters.examples import TrueBox
from converters.foreign.verdict import judge_imported, wilson_interval
from converters.metrics import paired_drop, score_of
from converters.precision import ScoredPicture, overlap, score_picture
from converters.tallies import MeanTally, PrecisionTally
from converters.types import Estimate
from edge.bundle.manifest import QualityLimits, Verdict
from edge.types import Box, Detection


def box(left: float, top: float, right: float, bottom: float) -> Box:
    return Box(left=left, top=top, right=right, bottom=bottom)


def thing(index: int, score: float, place: Box) -> Detection:
    return Detection(box=place, label=str(index), index=index, score=score)


def average_precision(right: Sequence[bool], num: int) -> float:
    """Of one class, in [0, 1]; the surest hit first, each in a picture of its own."""
    pictures = [ScoredPicture(hits=((0, 1 - place / 100, one),), wanted=()) for place, one in enumerate(right)]
    return mean_average_precision([*pictures, ScoredPicture(hits=(), wanted=(0,) * num)])


def mean_average_precision(pictures: Sequence[ScoredPicture]) -> float:
    return float(PrecisionTally(pictures).points(np.ones((1, len(pictures)), dtype=np.int64))[0]) / 100


A, B, NEAR_A = box(0, 0, 10, 10), box(20, 0, 30, 10), box(1, 0, 11, 10)


@given(right=st.integers(0, 50), more=st.integers(0, 50))
def test_wilson_is_wilson(right, more):
    num = right + more or 1
    found = wilson_interval(right, num)
    interval = binomtest(right, num).proportion_ci(0.95, method="wilson")
    assert found.value == pytest.approx(100 * right / num, abs=1e-5)
    assert (found.lower, found.upper) == pytest.approx((100 * interval.low, 100 * interval.high), abs=1e-4)


def test_the_area_under_a_curve_that_was_reckoned_by_hand():
    # Recall 1/4, 1/4, 2/4, 2/4, 3/4; best precision from there on 1, 2/3, 2/3, 3/5, 3/5.
    right = [True, False, True, False, True]
    assert average_precision(right, 4) == pytest.approx(0.25 * 1 + 0.25 * 2 / 3 + 0.25 * 3 / 5)
    assert average_precision([], 4) == 0


@given(st.lists(st.booleans(), min_size=1, max_size=30), st.integers(0, 10))
def test_average_precision_against_its_definition(right, missed):
    num = sum(right) + missed or 1
    curve = [(sum(right[: n + 1]) / num, sum(right[: n + 1]) / (n + 1)) for n in range(len(right))]
    area, before = 0.0, 0.0
    for position, (recall, _) in enumerate(curve):
        area += (recall - before) * max(precision for _, precision in curve[position:])
        before = recall
    assert average_precision(right, num) == pytest.approx(area)


def test_a_second_box_on_the_same_thing_is_wrong():
    scored = score_picture([thing(0, 0.9, NEAR_A), thing(0, 0.8, A)], [TrueBox(index=0, box=A)])
    assert scored.hits == ((0, 0.9, True), (0, 0.8, False))


@pytest.mark.parametrize(
    ("found", "right"),
    [
        (thing(0, 0.5, A), True),
        (thing(1, 0.5, A), False),
        (thing(0, 0.5, B), False),
        (thing(0, 0.5, box(0, 0, 10, 5)), True),
        (thing(0, 0.5, box(0, 0, 10, 4.9)), False),
    ],
)
def test_class_and_overlap_decide(found, right):
    assert score_picture([found], [TrueBox(index=0, box=A)]).hits == ((found.index, 0.5, right),)


def test_difficult_things_count_neither_way():
    truths = [TrueBox(index=0, box=A, difficult=True), TrueBox(index=0, box=B)]
    scored = score_picture([thing(0, 0.9, A), thing(0, 0.8, B)], truths)
    assert (scored.hits, scored.wanted) == (((0, 0.8, True),), (0,))


def test_classes_weigh_the_same_and_surer_detections_come_first_over_all_pictures():
    pictures = [
        ScoredPicture(hits=((0, 0.9, True), (1, 0.3, True)), wanted=(0, 1)),
        ScoredPicture(hits=((1, 0.6, False),), wanted=(1,)),
        ScoredPicture(hits=((2, 0.9, False),), wanted=()),
    ]
    assert mean_average_precision(pictures) == pytest.approx((1.0 + 0.5 * 0.5) / 2)
    assert mean_average_precision([ScoredPicture(hits=(), wanted=())]) == 0


@given(st.tuples(*[st.floats(0, 20)] * 4), st.tuples(*[st.floats(0, 20)] * 4))
def test_overlap_is_symmetric(first, second):
    one, other = (box(min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)) for x1, y1, x2, y2 in (first, second))
    value = overlap(one, other)
    assert 0 <= value <= 1 + 1e-9
    assert overlap(other, one) == pytest.approx(value)


def test_intervals_are_the_same_every_time_and_hold_the_figure():
    rng = np.random.default_rng(3)
    pictures = [
        ScoredPicture(hits=((0, float(rng.random()), bool(rng.random() < 0.7)),), wanted=(0,)) for _ in range(40)
    ]
    first = score_of(PrecisionTally(pictures))
    assert first == score_of(PrecisionTally(pictures))
    assert first.lower < first.value < first.upper
    same = paired_drop(PrecisionTally(pictures), PrecisionTally(pictures), exact=True)
    assert same == Estimate(value=0.0, lower=0.0, upper=0.0)


def test_a_drop_that_was_never_seen_has_the_exact_bound():
    drop = paired_drop(MeanTally([True] * 50), MeanTally([True] * 50))
    assert (drop.value, drop.lower) == (0.0, 0.0)
    assert drop.upper == pytest.approx(100 * (1 - 0.025 ** (1 / 50)))


GOOD, BAD, WIDE = (
    Estimate(value=95, lower=92, upper=97),
    Estimate(value=80, lower=76, upper=84),
    Estimate(value=91, lower=85, upper=95),
)


@pytest.mark.parametrize(
    ("score", "drop", "least", "size", "verdict"),
    [
        (GOOD, None, 90.0, 1, Verdict.PASS),
        (WIDE, None, 90.0, 1, Verdict.UNDECIDED),
        (BAD, None, 90.0, 1, Verdict.FAIL),
        (GOOD, None, 90.0, 11, Verdict.FAIL),
        (BAD, Estimate(value=0.5, lower=0, upper=2), None, 1, Verdict.PASS),
        (BAD, Estimate(value=0.5, lower=0, upper=3), None, 1, Verdict.UNDECIDED),
        (GOOD, Estimate(value=1.5, lower=1, upper=2), None, 1, Verdict.FAIL),
        (GOOD, Estimate(value=0.5, lower=0, upper=3), 90.0, 1, Verdict.UNDECIDED),
        (BAD, Estimate(value=0.5, lower=0, upper=2), 90.0, 1, Verdict.FAIL),
    ],
)
def test_the_rule(score, drop, least, size, verdict):
    limits = QualityLimits(max_size_bytes=10)
    assert judge_imported(score, drop, min_points=least, size_bytes=size, limits=limits)[0] is verdict


@settings(max_examples=50)
@given(value=st.floats(0, 100), lower=st.floats(0, 100), least=st.floats(0, 100))
def test_a_better_score_never_has_a_worse_verdict(value, lower, least):
    order = [Verdict.FAIL, Verdict.UNDECIDED, Verdict.PASS]
    low = min(lower, value)
    better = Estimate(value=min(100, value + 1), lower=min(100, low + 1), upper=100)
    verdicts = [
        judge_imported(one, None, min_points=least, size_bytes=1, limits=QualityLimits())[0]
        for one in (Estimate(value=value, lower=low, upper=100), better)
    ]
    assert order.index(verdicts[1]) >= order.index(verdicts[0])

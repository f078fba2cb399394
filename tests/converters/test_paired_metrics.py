"""Every metric against what it means, worked out here by plain loops over pictures that really are repeated."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters.compare import unseen_bound
from converters.examples import LabelledPicture, TrueBox
from converters.metrics import agreement, draws, metric_of, paired_drop, score_of, tally
from converters.precision import overlap
from converters.tallies import F1Tally, MeanTally
from converters.types import Estimate
from edge.bundle.manifest import QualityLimits, Task
from edge.errors import UsageError
from edge.types import (
    Attribute,
    Attributes,
    Box,
    Classification,
    ClassScore,
    Detection,
    Detections,
    Match,
    Matches,
    Prediction,
    Text,
)

PLACES = [Box(left=x, top=y, right=x + 10, bottom=y + 10) for y in (0, 20) for x in (0, 20, 40)]
Truths = Sequence[LabelledPicture]


def picture(**truth: object) -> LabelledPicture:
    return LabelledPicture(digest="0" * 64, path=Path("never.png"), **truth)


def classified(label: str) -> Classification:
    return Classification(top=(ClassScore(label=label, index=0, probability=0.9),), margin=0.8, entropy=0.1)


def matched(label: str, *, known: bool = True) -> Matches:
    return Matches(top=(Match(label=label, similarity=0.9),), known=known, confidence=0.9, margin=1.0, novelty=0.1)


def headed(**labels: str) -> Attributes:
    heads = tuple(Attribute(name=name, classification=classified(label)) for name, label in labels.items())
    return Attributes(heads=heads, confidence=0.8)


def read(text: str) -> Text:
    return Text(text=text, confidence=0.9)


def seen(*things: tuple[int, float, Box]) -> Detections:
    items = [Detection(box=box, label=str(index), index=index, score=score) for index, score, box in things]
    return Detections(items=tuple(sorted(items, key=lambda item: -item.score)))


def repeated(items: Sequence, draw: Sequence[int]) -> list:
    return [item for item, times in zip(items, draw, strict=True) for _ in range(times)]


def top1(said: Sequence[Prediction], truths: Truths) -> float:
    return 100 * sum(one.headline.label == truth.label for one, truth in zip(said, truths, strict=True)) / len(truths)


def macro_f1(said: Sequence[Prediction], truths: Truths) -> float:
    names = [one.headline.label if getattr(one, "known", True) else "" for one in said]
    total = []
    for label in {truth.label for truth in truths}:
        right = sum(name == label == truth.label for name, truth in zip(names, truths, strict=True))
        total.append(2 * right / (names.count(label) + sum(truth.label == label for truth in truths)))
    return 100 * sum(total) / len(total)


def attributes(said: Sequence[Prediction], truths: Truths) -> float:
    shares = []
    for one, truth in zip(said, truths, strict=True):
        told = {head.name: head.classification.top[0].label for head in one.heads}
        shares.append(sum(told[name] == label for name, label in truth.attributes) / len(truth.attributes))
    return 100 * sum(shares) / len(shares)


def count(said: Sequence[Prediction], truths: Truths) -> float:
    off = things = 0
    for one, truth in zip(said, truths, strict=True):
        for index in range(9):
            wanted = sum(box.index == index and not box.difficult for box in truth.boxes)
            off += abs(sum(item.index == index for item in one.items) - wanted)
            things += wanted
    return 100 * max(0.0, 1 - off / max(things, 1))


def ap50(said: Sequence[Prediction], truths: Truths) -> float:
    """Greedy matching picture by picture, then the area under the stepwise envelope, class by class."""
    areas = []
    for index in range(9):
        wanted = sum(box.index == index and not box.difficult for truth in truths for box in truth.boxes)
        if not wanted:
            continue
        hits = []
        for one, truth in zip(said, truths, strict=True):
            left = [box for box in truth.boxes if box.index == index]
            used = [False] * len(left)
            for item in (item for item in one.items if item.index == index):
                best = max(range(len(left)), key=lambda i: overlap(item.box, left[i].box), default=None)
                if best is None or overlap(item.box, left[best].box) < 0.5:
                    hits.append((item.score, False))
                elif not left[best].difficult:
                    hits.append((item.score, not used[best]))
                    used[best] = True
        hits.sort(key=lambda hit: -hit[0])
        points = [
            (sum(right for _, right in hits[: n + 1]) / wanted, sum(right for _, right in hits[: n + 1]) / (n + 1))
            for n in range(len(hits))
        ]
        area, before = 0.0, 0.0
        for place, (recall, _) in enumerate(points):
            area += (recall - before) * max(precision for _, precision in points[place:])
            before = recall
        areas.append(area)
    return 100 * sum(areas) / len(areas) if areas else 0.0


labels = st.sampled_from("abc")
of_classes = st.tuples(labels.map(classified), labels.map(lambda label: picture(label=label)))
of_matches = st.tuples(
    st.builds(lambda label, known: matched(label, known=known), labels, st.booleans()),
    labels.map(lambda label: picture(label=label)),
)
of_heads = st.tuples(
    st.builds(lambda one, other: headed(colour=one, size=other), labels, labels),
    st.builds(
        lambda one, other, both: picture(attributes=(("colour", one), ("size", other))[: 1 + both]),
        labels,
        labels,
        st.booleans(),
    ),
)
# Positions are all that a score is made of: no two boxes of one class are equally sure.
of_boxes = st.tuples(
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.sampled_from([0, 2, 6])), max_size=5),
    st.lists(st.tuples(st.integers(0, 2), st.integers(0, 5), st.booleans()), max_size=4, unique_by=lambda it: it[:2]),
)


def boxes_of(rows: list) -> tuple[list[Detections], list[LabelledPicture]]:
    numbers = itertools.count(1)
    said = [
        seen(*((index, 1 - next(numbers) * 37 % 101 / 101, shifted(PLACES[place], by)) for index, place, by in found))
        for found, _ in rows
    ]
    truths = [
        picture(boxes=tuple(TrueBox(index=index, box=PLACES[place], difficult=hard) for index, place, hard in wanted))
        for _, wanted in rows
    ]
    return said, truths


def shifted(box: Box, by: float) -> Box:
    return Box(left=box.left + by, top=box.top, right=box.right + by, bottom=box.bottom)


def draws_of(num: int):
    one = st.lists(st.integers(0, 3), min_size=num, max_size=num).filter(any)
    return st.lists(one, min_size=1, max_size=3)


def check(metric: str, oracle, said: Sequence[Prediction], truths: Truths, data) -> None:
    drawn = data.draw(draws_of(len(truths)))
    found = tally(metric, said, truths).points(np.array(drawn, dtype=np.int64))
    assert found.shape == (len(drawn),)
    for draw, points in zip(drawn, found, strict=True):
        assert points == pytest.approx(oracle(repeated(said, draw), repeated(truths, draw)), abs=1e-6)


@settings(deadline=None)
@given(st.lists(of_classes, min_size=1, max_size=8), st.data())
def test_top1_is_the_share_of_right_answers(rows, data):
    check("top1", top1, [one for one, _ in rows], [truth for _, truth in rows], data)


@settings(deadline=None)
@given(st.lists(of_classes | of_matches, min_size=1, max_size=8), st.data())
def test_macro_f1_is_the_mean_over_the_classes_that_are_there(rows, data):
    check("macro_f1", macro_f1, [one for one, _ in rows], [truth for _, truth in rows], data)


@settings(deadline=None)
@given(st.lists(of_heads, min_size=1, max_size=6), st.data())
def test_attributes_is_the_share_of_right_heads(rows, data):
    check("attributes", attributes, [one for one, _ in rows], [truth for _, truth in rows], data)


@settings(deadline=None)
@given(st.lists(of_boxes, min_size=1, max_size=5), st.data())
def test_count_is_one_minus_the_share_that_is_off(rows, data):
    check("count", count, *boxes_of(rows), data)


@settings(max_examples=200, deadline=None)
@given(st.lists(of_boxes, min_size=1, max_size=5), st.data())
def test_average_precision_over_repeated_pictures(rows, data):
    check("ap50", ap50, *boxes_of(rows), data)


def test_macro_f1_is_that_of_scikit_learn():
    from sklearn.metrics import f1_score

    rng = np.random.default_rng(0)
    said, truths = rng.choice(list("abcd"), size=200), rng.choice(list("abc"), size=200)
    found = F1Tally(list(said), list(truths)).points(np.ones((1, 200), dtype=np.int64))[0]
    wanted = f1_score(truths, said, labels=["a", "b", "c"], average="macro", zero_division=0)
    assert found == pytest.approx(100 * wanted)


def test_text_is_right_to_the_last_character():
    said = [read(text) for text in ("abc", "abd", "", "")]
    truths = [picture(label=label) for label in ("abc", "abc", "", "a")]
    found = tally("text", said, truths)
    assert found.points(np.array([[1, 1, 1, 1], [0, 3, 0, 1]]))[:].tolist() == [50.0, 0.0]
    assert found.each.tolist() == [1, 0, 1, 0]


def test_a_match_that_is_not_known_names_nothing():
    found = tally("top1", [matched("a"), matched("a", known=False)], [picture(label="a")] * 2)
    assert found.each.tolist() == [1, 0]


def test_many_draws_of_a_detector_are_worked_on_in_parts():
    said, truths = boxes_of([([(0, 0, 0), (0, 1, 6)], [(0, 0, False), (0, 1, False)])] * 7)
    found, drawn = tally("ap50", said, truths), draws(7, resamples=450)
    one_by_one = [found.points(draw[None])[0] for draw in drawn]
    np.testing.assert_allclose(found.points(drawn), one_by_one, rtol=1e-12)


@pytest.mark.parametrize(
    ("metric", "prediction"),
    [("ap50", classified("a")), ("count", matched("a")), ("attributes", classified("a"))],
)
def test_a_metric_of_other_answers_is_refused(metric, prediction):
    with pytest.raises(UsageError, match=r"was asked for, but the answers are (Classification|Matches)"):
        tally(metric, [prediction], [picture(label="a", attributes=(("a", "b"),))])


FITTING = {
    Task.CLASSIFY: ("top1", "macro_f1"),
    Task.TABULAR: ("top1", "macro_f1"),
    Task.MATCH: ("top1", "macro_f1"),
    Task.ATTRIBUTES: ("attributes",),
    Task.TEXT: ("text",),
    Task.DETECT: ("ap50", "count"),
}
METRICS = ("top1", "macro_f1", "ap50", "count", "attributes", "text")


@pytest.mark.parametrize("task", FITTING)
@pytest.mark.parametrize("metric", METRICS)
def test_a_task_takes_its_own_metrics_and_no_others(task, metric):
    limits = QualityLimits(metric=metric)
    assert metric_of(QualityLimits(), task) == FITTING[task][0]
    if metric in FITTING[task]:
        assert metric_of(limits, task) == metric
        return
    with pytest.raises(UsageError, match=f"metric '{metric}' does not fit a bundle with task '{task.value}'") as caught:
        metric_of(limits, task)
    assert caught.value.hint == f"there are {', '.join(FITTING[task])}"


def test_a_draw_is_as_many_pictures_as_there_are():
    drawn = draws(30)
    assert drawn.shape == (2000, 30)
    assert set(drawn.sum(axis=1)) == {30}
    assert drawn.mean(axis=0) == pytest.approx(np.ones(30), abs=0.1)
    np.testing.assert_array_equal(drawn, draws(30))
    assert not np.array_equal(drawn, draws(30, seed=1))


def test_the_interval_of_a_drop_is_that_of_drawing_pairs_one_by_one():
    rng = np.random.default_rng(3)
    before, after = rng.random(150) < 0.9, rng.random(150) < 0.8
    found = paired_drop(MeanTally(before), MeanTally(after))
    chosen = rng.integers(0, 150, size=(20_000, 150))
    differences = 100 * (before[chosen].mean(axis=1) - after[chosen].mean(axis=1))
    assert found.value == pytest.approx(100 * (before.mean() - after.mean()), abs=1e-5)
    assert (found.lower, found.upper) == pytest.approx(tuple(np.quantile(differences, [0.025, 0.975])), abs=0.7)


worths = st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=40)


@settings(deadline=None)
@given(worths, st.integers(0, 3))
def test_properties_of_a_drop(rows, seed):
    before, after = (MeanTally([float(row[side]) for row in rows]) for side in (0, 1))
    drop, back = paired_drop(before, after, exact=True, seed=seed), paired_drop(after, before, exact=True, seed=seed)
    assert drop == paired_drop(before, after, exact=True, seed=seed)
    assert drop.lower <= drop.upper
    assert (drop.value, drop.lower, drop.upper) == pytest.approx((-back.value, -back.upper, -back.lower), abs=2e-6)
    careful = paired_drop(before, after, seed=seed)
    assert (careful.value, careful.lower) == (drop.value, drop.lower)
    if any(one and not other for one, other in rows):
        assert careful == drop
    else:  # nothing got worse: what was never seen may still happen
        assert careful.upper == pytest.approx(max(drop.upper, drop.value + 100 * unseen_bound(len(rows))), abs=1e-5)


def test_equal_answers_lose_nothing():
    rows = [1.0, 0.0, 1.0, 1.0]
    assert paired_drop(MeanTally(rows), MeanTally(rows), exact=True) == Estimate(value=0.0, lower=0.0, upper=0.0)
    assert str(paired_drop(MeanTally(rows), MeanTally(rows)).value) == "0.0"


def test_a_score_lies_in_its_interval_and_more_pictures_narrow_it():
    few, many = (score_of(MeanTally([1.0, 1.0, 0.0, 1.0] * times)) for times in (5, 200))
    assert few.value == many.value == 75.0
    assert few.lower < many.lower < 75.0 < many.upper < few.upper


@pytest.mark.parametrize(
    ("before", "after", "share"),
    [
        ([classified("a"), classified("b")], [classified("a"), classified("a")], 0.5),
        ([matched("a"), matched("a")], [matched("a"), matched("a", known=False)], 0.5),
        ([matched("a", known=False)], [matched("b", known=False)], 1.0),
        (
            [Text(text="ab", confidence=0.9)] * 4,
            [Text(text="ab", confidence=0.1)] * 3 + [Text(text="", confidence=1)],
            0.75,
        ),
        ([headed(colour="a", size="b")] * 2, [headed(colour="a", size="b"), headed(colour="a", size="c")], 0.75),
        ([seen()], [seen()], 1.0),
        ([seen((0, 0.9, PLACES[0]))], [seen()], 0.0),
        ([seen((0, 0.9, PLACES[0]))], [seen((0, 0.5, shifted(PLACES[0], 3)))], 1.0),
        ([seen((0, 0.9, PLACES[0]))], [seen((0, 0.5, shifted(PLACES[0], 4)))], 0.0),
        ([seen((0, 0.9, PLACES[0]))], [seen((1, 0.9, PLACES[0]))], 0.0),
        ([seen((0, 0.9, PLACES[0]))], [seen((0, 0.9, PLACES[0]), (0, 0.8, PLACES[0]))], 2 / 3),
        (
            [seen((0, 0.9, PLACES[0]), (1, 0.8, PLACES[1])), seen((2, 0.9, PLACES[3]))],
            [seen((0, 0.9, PLACES[0])), seen((2, 0.9, PLACES[3]))],
            0.8,
        ),
    ],
)
def test_agreement_is_the_share_of_answers_that_stand(before, after, share):
    assert agreement(before, after) == pytest.approx(share)
    assert agreement(after, before) == pytest.approx(share)
    assert agreement(before, before) == 1.0

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from report_values import digest_of, made_report

from cloud_train.evaluation.metrics import (
    accuracy,
    class_rows,
    confusion,
    macro_f1,
    paired_gain,
    wilson_interval,
)
from cloud_train.types import PictureResult, Split
from edge.errors import UsageError


def _results(*pairs: tuple[str, str]) -> list[PictureResult]:
    return [
        PictureResult(digest=digest_of(str(number)), truth=truth, predicted=said, confidence=0.5, outcome="accept")
        for number, (truth, said) in enumerate(pairs)
    ]


LABELS = st.sampled_from("abc")
PAIRS = st.lists(st.tuples(LABELS, LABELS), min_size=1, max_size=60)


@pytest.mark.parametrize(
    ("right", "num", "lower", "upper"),
    [(50, 100, 40.383, 59.617), (81, 263, 25.530, 36.620), (0, 10, 0.0, 27.754), (10, 10, 72.246, 100.0)],
)
def test_wilson_against_published_values(right: int, num: int, lower: float, upper: float) -> None:
    """Newcombe (1998), Statistics in Medicine 17:857, table I, and the closed form."""
    found = wilson_interval(right, num)
    assert found.value == pytest.approx(100 * right / num)
    assert (found.lower, found.upper) == (pytest.approx(lower, abs=0.01), pytest.approx(upper, abs=0.01))


def test_wilson_of_nothing() -> None:
    assert dataclasses.astuple(wilson_interval(0, 0)) == (0.0, 0.0, 100.0)


@given(st.integers(1, 2000).flatmap(lambda num: st.tuples(st.integers(0, num), st.just(num))))
def test_wilson_holds_the_figure(pair: tuple[int, int]) -> None:
    found = wilson_interval(*pair)
    assert 0 <= found.lower <= found.value <= found.upper <= 100


@settings(deadline=None)
@given(PAIRS)
def test_scores_agree_with_scikit_learn(pairs: list[tuple[str, str]]) -> None:
    from sklearn.metrics import confusion_matrix, f1_score, precision_recall_fscore_support

    results, labels = _results(*pairs), list("abc")
    truth, said = [pair[0] for pair in pairs], [pair[1] for pair in pairs]
    rows = class_rows(results, labels)
    precision, recall, f1, num = precision_recall_fscore_support(truth, said, labels=labels, zero_division=0)
    assert [row.num for row in rows] == list(num)
    assert [row.recall for row in rows] == pytest.approx(list(100 * recall))
    assert [row.precision for row in rows] == pytest.approx(list(100 * precision))
    assert [row.f1 for row in rows] == pytest.approx(list(100 * f1))
    assert macro_f1(rows) == pytest.approx(100 * f1_score(truth, said, labels=labels, average="macro", zero_division=0))
    np.testing.assert_array_equal(confusion(results, labels), confusion_matrix(truth, said, labels=labels))
    assert accuracy(results).value == pytest.approx(100 * np.mean([one == other for one, other in pairs]))


def test_confusion_leaves_strangers_out() -> None:
    counts = confusion(_results(("a", "a"), ("a", "x"), ("y", "a")), ["a", "b"])
    assert counts.tolist() == [[1, 0], [0, 0]]


def test_no_class_at_all() -> None:
    assert macro_f1(()) == 0.0


def test_gain_is_paired() -> None:
    champion = made_report("one", lambda label: 0.6)
    better = dataclasses.replace(
        champion, pictures=tuple(dataclasses.replace(one, predicted=one.truth) for one in champion.pictures)
    )
    gain = paired_gain(champion, better)
    assert gain.value == pytest.approx(100 - champion.accuracy.value)
    assert 0 < gain.lower < gain.value < gain.upper < 100
    same = paired_gain(champion, champion)
    assert (same.value, same.lower, same.upper) == (0, 0, 0)
    assert paired_gain(better, champion).value == pytest.approx(-gain.value)


def test_gain_depends_on_the_seed_only() -> None:
    reports = made_report("one", lambda label: 0.6), made_report("two", lambda label: 0.7)
    assert paired_gain(*reports, seed=1) == paired_gain(*reports, seed=1)
    assert paired_gain(*reports, seed=1) != paired_gain(*reports, seed=2)


def test_other_pictures_cannot_be_compared() -> None:
    first = made_report("one", lambda label: 0.6)
    fewer = dataclasses.replace(first, pictures=first.pictures[1:])
    relabelled = dataclasses.replace(
        first, pictures=(dataclasses.replace(first.pictures[0], truth="?"), *first.pictures[1:])
    )
    for other in (fewer, relabelled):
        with pytest.raises(UsageError, match="not about the same test pictures"):
            paired_gain(first, other)
    with pytest.raises(UsageError, match="cannot compare the test with the val split"):
        paired_gain(first, dataclasses.replace(first, split=Split.VAL))
    empty = dataclasses.replace(first, pictures=())
    with pytest.raises(UsageError, match="0 differ"):
        paired_gain(empty, empty)

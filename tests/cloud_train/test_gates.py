from __future__ import annotations

import dataclasses

import pytest
from report_values import LABELS, made_report

from cloud_train.evaluation.gates import GateLimits, judge_gates
from cloud_train.evaluation.metrics import accuracy, class_rows, macro_f1
from cloud_train.types import EvalReport
from edge.errors import UsageError

CHAMPION = made_report("champion", lambda label: 0.75)


def _changed(report: EvalReport, wrong: dict[str, int] | None = None, right: int = 0) -> EvalReport:
    """The champion with so many right answers of a class made wrong, and so many wrong ones made right."""
    left = dict(wrong or {})
    pictures = []
    for one in report.pictures:
        if one.predicted == one.truth and left.get(one.truth, 0) > 0:
            left[one.truth] -= 1
            one = dataclasses.replace(one, predicted="?")
        elif one.predicted != one.truth and right > 0 and one.truth not in left:
            right -= 1
            one = dataclasses.replace(one, predicted=one.truth)
        pictures.append(one)
    assert right == 0
    assert not any(left.values())
    rows = class_rows(pictures, LABELS)
    return dataclasses.replace(
        report, pictures=tuple(pictures), classes=rows, accuracy=accuracy(pictures), macro_f1=macro_f1(rows)
    )


def test_a_better_one_passes() -> None:
    result = judge_gates(CHAMPION, _changed(CHAMPION, right=40))
    assert result.passed
    assert result.gain.value == pytest.approx(100 * 40 / 320)
    assert [reason.split(":")[:2] for reason in result.reasons] == [
        ["pictures", " ok"],
        ["gain", " ok"],
        ["classes", " ok"],
    ]


def test_the_same_one_passes() -> None:
    assert judge_gates(CHAMPION, CHAMPION).passed


def test_a_worse_one_fails_by_name() -> None:
    result = judge_gates(CHAMPION, _changed(CHAMPION, dict.fromkeys(LABELS, 3)))
    assert not result.passed
    assert any(reason.startswith("gain: failed: -9.4 [") for reason in result.reasons)


def test_a_mean_below_nothing_fails_even_inside_the_noise() -> None:
    worse = _changed(CHAMPION, {"honey": 1})
    assert not judge_gates(CHAMPION, worse).passed
    assert judge_gates(CHAMPION, worse, limits=GateLimits(min_gain=-1.0)).passed


def test_a_gain_that_could_be_a_loss_fails() -> None:
    """Ten right answers made wrong, ten wrong ones made right: the mean is 0, the lower bound is not above -1."""
    result = judge_gates(CHAMPION, _changed(CHAMPION, dict.fromkeys(LABELS[:5], 1), right=5))
    assert result.gain.value == 0
    assert result.gain.lower < -1
    assert not result.passed


def test_a_class_that_collapses_fails_whatever_the_mean() -> None:
    result = judge_gates(CHAMPION, _changed(CHAMPION, {"honey": 12}, right=50))
    assert result.gain.lower > 0
    assert not result.passed
    assert [reason for reason in result.reasons if "failed" in reason] == [
        reason for reason in result.reasons if reason.startswith("class honey: failed: -37.5 [")
    ]
    assert all("\n" not in reason for reason in result.reasons)


def test_noise_in_a_small_class_does_not_block() -> None:
    """Of twelve pictures two are lost: more than 15 points, yet the interval reaches 0."""
    small = made_report("small", lambda label: 1.0, per_class=12)
    challenger = _changed(small, {"honey": 2})
    result = judge_gates(small, challenger, limits=GateLimits(min_gain=-5, min_gain_lower=-10))
    assert result.passed
    assert any(reason.startswith("class honey: ok: -16.7 [") for reason in result.reasons)


def test_a_tiny_class_is_not_held_to_it() -> None:
    tiny = made_report("tiny", lambda label: 1.0, per_class=9)
    result = judge_gates(tiny, _changed(tiny, {"honey": 9}), limits=GateLimits(min_gain=-50, min_gain_lower=-50))
    assert result.passed
    assert "none of 0 known classes" in result.reasons[-1]


def test_other_pictures_are_an_error_not_a_verdict() -> None:
    with pytest.raises(UsageError, match="not about the same test pictures"):
        judge_gates(CHAMPION, dataclasses.replace(CHAMPION, pictures=CHAMPION.pictures[:-1]))


def test_a_first_release_must_beat_the_commonest_class() -> None:
    first = judge_gates(None, CHAMPION)
    assert first.passed
    assert first.gain.value == 0
    assert first.reasons[0] == "champion: ok: none, this is the first release"
    blind = _changed(
        CHAMPION, {row.label: round(row.num * row.recall / 100) for row in CHAMPION.classes if row.label != "honey"}
    )
    assert not judge_gates(None, blind).passed
    with pytest.raises(UsageError, match="on no picture"):
        judge_gates(None, dataclasses.replace(CHAMPION, pictures=()))

from __future__ import annotations

import math

import numpy as np
import pytest
import reference_answers as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle.manifest import Activation, OutputKind, OutputSpec
from edge.errors import BackendError
from edge.postprocess.tabular import tabular
from edge.types import Classification, RawOutputs

LABELS = ("healthy", "rust", "blight")
NONE, SIGMOID, SOFTMAX = Activation.NONE, Activation.SIGMOID, Activation.SOFTMAX


def member(name: str, activation: Activation = NONE, **changes: object) -> OutputSpec:
    fields = {"kind": OutputKind.PROBABILITIES, "shape": (1, len(LABELS))} | changes
    return OutputSpec(name=name, activation=activation, **fields)


def answered(*members: tuple[list[float], OutputSpec], top_k: int = 5) -> Classification:
    by_name = {spec.name: np.array([values], dtype=np.float32) for values, spec in members}
    return tabular(RawOutputs(by_name=by_name), [spec for _, spec in members], LABELS, top_k=top_k)


def chances(answer: Classification) -> list[float]:
    return [score.probability for score in sorted(answer.top, key=lambda score: score.index)]


def test_one_member_of_probabilities_is_taken_as_it_is() -> None:
    assert chances(answered(([0.25, 0.5, 0.25], member("forest")))) == [0.25, 0.5, 0.25]


def test_votes_are_divided_by_their_sum() -> None:
    answer = answered(([1, 3, 4], member("forest")))
    assert chances(answer) == [0.125, 0.375, 0.5]
    assert answer.headline.label == "blight"
    assert answer.margin == 0.125


def test_weights_are_shares() -> None:
    first, second = [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]
    answer = answered((first, member("a", weight=3.0)), (second, member("b", weight=1.0)))
    assert chances(answer) == [0.75, 0.25, 0.0]
    same = answered((first, member("a", weight=6.0)), (second, member("b", weight=2.0)))
    assert chances(same) == chances(answer)


def test_a_member_with_large_numbers_weighs_no_more() -> None:
    answer = answered(([300, 0, 0], member("votes")), ([0.0, 1.0, 0.0], member("probabilities")))
    assert chances(answer) == [0.5, 0.5, 0.0]
    assert answer.headline.label == "healthy"


def test_activations() -> None:
    assert chances(answered(([0, 0, 0], member("svm", SIGMOID)))) == pytest.approx([1 / 3] * 3)
    peaked = answered(([math.log(6), math.log(3), 0], member("boosted", SOFTMAX)))
    assert chances(peaked) == pytest.approx([0.6, 0.3, 0.1])
    logits = answered(([math.log(6), math.log(3), 0], member("net", kind=OutputKind.LOGITS)))
    assert chances(logits) == pytest.approx([0.6, 0.3, 0.1])
    one_of_each = answered(([2, 0, -2], member("net", SIGMOID, kind=OutputKind.LOGITS)))
    odds = [1 / (1 + math.exp(-value)) for value in (2, 0, -2)]
    assert chances(one_of_each) == pytest.approx([value / sum(odds) for value in odds])
    assert chances(answered(([1, 1, 2], member("scores", kind=OutputKind.SCORES)))) == [0.25, 0.25, 0.5]


def test_huge_margins_do_not_overflow() -> None:
    with np.errstate(all="raise", under="ignore"):
        assert chances(answered(([3e38, -3e38, -3e38], member("svm", SIGMOID)))) == [1.0, 0.0, 0.0]


def test_outputs_of_other_kinds_are_passed_over() -> None:
    other = member("features", kind=OutputKind.EMBEDDING)
    assert chances(answered(([9, 9, 9], other), ([0, 0, 1], member("forest")))) == [0, 0, 1]
    with pytest.raises(BackendError, match="no output holds class scores"):
        answered(([9, 9, 9], other))


@pytest.mark.parametrize(
    ("values", "activation", "message"),
    [
        ([0.5, -0.5, 1], NONE, r"output 'svm' holds the score -0.5, scores are not negative \(say in 'activation'"),
        ([0, 0, 0], NONE, "output 'svm' gives every class the score 0"),
        ([-3e38, -3e38, -3e38], SIGMOID, "output 'svm' gives every class the score 0"),
        ([0, math.nan, 0], NONE, "output 'svm' holds NaN or infinity"),
        ([0, math.inf, 0], SOFTMAX, "output 'svm' holds NaN or infinity"),
        ([1, 2], NONE, "output 'svm' has 2 values for 3 labels"),
    ],
)
def test_bad_scores_are_refused(values: list[float], activation: Activation, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        answered(([1, 1, 1], member("good")), (values, member("svm", activation)))


def test_a_missing_member_is_named() -> None:
    outputs = RawOutputs(by_name={"a": np.ones((1, 3), np.float32)})
    with pytest.raises(BackendError, match="output 'b' is missing, the model gives a"):
        tabular(outputs, [member("a"), member("b")], LABELS)


@given(
    rows=st.lists(
        st.tuples(
            st.lists(st.floats(0.125, 8, width=32), min_size=3, max_size=3),
            st.sampled_from(Activation),
            st.floats(0.25, 4),
            st.floats(0.01, 100),
        ),
        min_size=1,
        max_size=5,
    )
)
@settings(max_examples=100, deadline=None)
def test_equals_the_definition(rows: list[tuple[list[float], Activation, float, float]]) -> None:
    specs = [member(f"m{at}", row[1], temperature=row[2], weight=row[3]) for at, row in enumerate(rows)]
    found = answered(*((row[0], spec) for row, spec in zip(rows, specs, strict=True)))
    assert chances(found) == pytest.approx(
        reference.ensemble([(row[0], row[1].value, row[2], row[3]) for row in rows]), abs=1e-9
    )
    assert sum(chances(found)) == pytest.approx(1)

from __future__ import annotations

import math

import numpy as np
import pytest
import reference_answers as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle.manifest import OutputKind, OutputSpec
from edge.errors import BackendError
from edge.postprocess.classify import best_first, classify, softmax
from edge.types import Classification, RawOutputs


def spec(count: int, temperature: float = 1.0) -> OutputSpec:
    return OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, count), temperature=temperature)


def classified(logits: list[float], *, temperature: float = 1.0, top_k: int = 5) -> Classification:
    outputs = RawOutputs(by_name={"logits": np.array([logits], dtype=np.float32)})
    labels = [f"class-{index}" for index in range(len(logits))]
    return classify(outputs, spec(len(logits), temperature), labels, top_k=top_k)


def test_known_values() -> None:
    result = classified([math.log(6), math.log(3), math.log(1)])
    assert [score.label for score in result.top] == ["class-0", "class-1", "class-2"]
    assert [score.probability for score in result.top] == pytest.approx([0.6, 0.3, 0.1])
    assert result.margin == pytest.approx(0.3)
    expected = -(0.6 * math.log(0.6) + 0.3 * math.log(0.3) + 0.1 * math.log(0.1)) / math.log(3)
    assert result.entropy == pytest.approx(expected)


def test_temperature_divides_logits() -> None:
    assert classified([2.0, 0.0], temperature=2.0).top[0].probability == pytest.approx(1 / (1 + math.exp(-1)))
    cold, warm = classified([2.0, 0.0], temperature=0.5), classified([2.0, 0.0], temperature=4.0)
    assert cold.top[0].probability > warm.top[0].probability
    assert cold.entropy < warm.entropy


def test_top_k_and_ties_keep_the_labels_order() -> None:
    result = classified([1.0, 2.0, 2.0, 2.0], top_k=2)
    assert [score.index for score in result.top] == [1, 2]
    assert result.margin == 0.0
    assert len(classified([1.0, 2.0], top_k=0).top) == 1


def test_one_class() -> None:
    result = classified([-3.0])
    assert (result.top[0].probability, result.margin, result.entropy) == (1.0, 1.0, 0.0)


def test_huge_logits_do_not_overflow() -> None:
    result = classified([3e38, -3e38, 0.0])
    assert result.top[0].probability == 1.0
    assert result.entropy == 0.0


@given(
    logits=st.lists(st.floats(-1e4, 1e4, width=32), min_size=1, max_size=30),
    temperature=st.floats(0.01, 100),
)
@settings(max_examples=200, deadline=None)
def test_always_a_distribution(logits: list[float], temperature: float) -> None:
    result = classified(logits, temperature=temperature, top_k=len(logits))
    probabilities = [score.probability for score in result.top]
    assert sum(probabilities) == pytest.approx(1.0)
    assert probabilities == sorted(probabilities, reverse=True)
    assert sorted(score.index for score in result.top) == list(range(len(logits)))
    assert 0 <= result.margin <= 1
    assert 0 <= result.entropy <= 1
    # Logits closer than a double can tell apart after the exponential are a tie.
    assert logits[result.top[0].index] == pytest.approx(max(logits), abs=1e-12)


def test_softmax_of_many_rows() -> None:
    probabilities = softmax(np.array([[0, 0], [1, 0]], dtype=np.float32), 1.0)
    assert probabilities.dtype == np.float64
    assert probabilities.sum(axis=-1) == pytest.approx([1, 1])
    assert probabilities[0, 0] == 0.5


def test_output_missing_misshapen_or_not_finite() -> None:
    outputs = RawOutputs(by_name={"scores": np.zeros((1, 2), np.float32)})
    with pytest.raises(BackendError, match="output 'logits' is missing, the model gives scores"):
        classify(outputs, spec(2), ["a", "b"])
    with pytest.raises(BackendError, match="output 'logits' is missing, the model gives none"):
        classify(RawOutputs(by_name={}), spec(2), ["a", "b"])
    outputs = RawOutputs(by_name={"logits": np.zeros((1, 3), np.float32)})
    with pytest.raises(BackendError, match="output 'logits' has 3 values for 2 labels"):
        classify(outputs, spec(3), ["a", "b"])
    for bad in (math.nan, math.inf, -math.inf):
        with pytest.raises(BackendError, match="output 'logits' holds NaN or infinity"):
            classified([0.0, bad])


def probable(values: list[float], *, temperature: float = 1.0, top_k: int = 5) -> Classification:
    outputs = RawOutputs(by_name={"p": np.array([values], dtype=np.float32)})
    kind = OutputKind.PROBABILITIES
    made = OutputSpec(name="p", kind=kind, shape=(1, len(values)), temperature=temperature)
    return classify(outputs, made, [f"class-{index}" for index in range(len(values))], top_k=top_k)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([0.25, 0.75], [0.25, 0.75]),
        ([0.5, 0.25], [0.5, 0.25]),  # what a quantized softmax lost stays lost
        ([0.75, 0.75], [0.5, 0.5]),
        ([0.5, 0.5009765625], [0.5, 0.5009765625]),  # within the rounding of a softmax
        ([1.0009765625, 0.0], [1.0, 0.0]),
        ([1.0], [1.0]),
    ],
)
def test_probabilities_are_divided_only_where_they_sum_to_more_than_one(
    values: list[float], expected: list[float]
) -> None:
    found = probable(values)
    assert [score.probability for score in sorted(found.top, key=lambda score: score.index)] == expected


def test_another_temperature_of_probabilities_is_that_of_their_softmax() -> None:
    logits = [2.0, -1.0, 0.5, 30.0]
    probabilities = [float(np.float32(value)) for value in reference.softmax(logits)]
    found = probable(probabilities, temperature=3.0)
    assert [score.probability for score in found.top] == pytest.approx(
        [score.probability for score in classified(logits, temperature=3.0).top], rel=1e-5
    )
    zero = probable([1.0, 0.0], temperature=0.5)
    assert [score.probability for score in zero.top] == [1.0, 0.0]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([0.5, -0.5], r"output 'p' holds -0.5, probabilities are 0 to 1 \(if these are logits, the output's kind is"),
        ([4.0, 0.0], "output 'p' holds 4, probabilities are 0 to 1"),
        ([0.0, 0.0], "output 'p' gives every class the probability 0"),
        ([0.0, math.nan], "output 'p' holds NaN or infinity"),
    ],
)
def test_what_is_no_probability_is_refused(values: list[float], message: str) -> None:
    with pytest.raises(BackendError, match=message):
        probable(values)


@given(
    scores=st.lists(st.integers(0, 6), min_size=1, max_size=40),
    count=st.integers(1, 45),
)
@settings(max_examples=200, deadline=None)
def test_best_first_is_a_stable_sort(scores: list[int], count: int) -> None:
    expected = sorted(range(len(scores)), key=lambda at: -scores[at])[:count]
    assert best_first(np.array(scores, dtype=np.float32), count) == expected
    assert best_first(np.array([-math.inf if score == 0 else score for score in scores]), count) == expected


@given(logits=st.lists(st.floats(-50, 50, width=32), min_size=1, max_size=12), temperature=st.floats(0.1, 10))
@settings(max_examples=100, deadline=None)
def test_equals_the_definition(logits: list[float], temperature: float) -> None:
    expected = reference.classification(reference.softmax(logits, temperature), [str(at) for at in range(len(logits))])
    found = classified(logits, temperature=temperature)
    assert found.margin == pytest.approx(expected["margin"], abs=1e-9)
    assert found.entropy == pytest.approx(expected["entropy"], abs=1e-9)
    assert [score.probability for score in found.top] == pytest.approx(
        [item["probability"] for item in expected["top"]]
    )

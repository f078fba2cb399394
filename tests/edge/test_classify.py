from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle.manifest import OutputKind, OutputSpec
from edge.errors import BackendError
from edge.postprocess.classify import classify, softmax
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

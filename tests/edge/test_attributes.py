from __future__ import annotations

import numpy as np
import pytest
import reference_answers as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import jsonvalue
from edge.bundle.manifest import OutputKind, OutputSpec
from edge.errors import BackendError
from edge.postprocess.classify import attributes, classify
from edge.types import RawOutputs

COLOURS = ("red", "green", "blue")


def head(name: str, labels: tuple[str, ...] = (), *, count: int = 3, temperature: float = 1.0) -> OutputSpec:
    return OutputSpec(name=name, kind=OutputKind.LOGITS, shape=(1, count), labels=labels, temperature=temperature)


def raw(**arrays: list[float]) -> RawOutputs:
    return RawOutputs(by_name={name: np.array([values], dtype=np.float32) for name, values in arrays.items()})


def test_each_head_has_its_labels_and_its_temperature() -> None:
    specs = [head("form", ("round", "oval"), count=2, temperature=2.0), head("colour")]
    outputs = raw(colour=[0, 3, 1], form=[1, 5])
    answer = attributes(outputs, specs, COLOURS)
    assert [item.name for item in answer.heads] == ["form", "colour"]
    assert answer.heads[0].classification == classify(outputs, specs[0], ("round", "oval"))
    assert answer.heads[1].classification == classify(outputs, specs[1], COLOURS)
    first, second = (item.classification.top[0].probability for item in answer.heads)
    assert answer.confidence == first * second
    assert answer.headline.label == "oval / green"
    assert answer.headline.margin == min(item.classification.margin for item in answer.heads)


def test_top_k_is_of_each_head() -> None:
    answer = attributes(raw(a=[0, 1, 2], b=[2, 1, 0]), [head("a"), head("b")], COLOURS, top_k=2)
    assert [[score.label for score in item.classification.top] for item in answer.heads] == [
        ["blue", "green"],
        ["red", "green"],
    ]


def test_outputs_of_other_kinds_are_passed_over() -> None:
    features = OutputSpec(name="features", kind=OutputKind.EMBEDDING, shape=(1, 2))
    answer = attributes(raw(features=[float("nan"), 0], a=[0, 1, 2]), [features, head("a")], COLOURS)
    assert len(answer.heads) == 1
    with pytest.raises(BackendError, match=r"no output holds logits or probabilities \(give one output"):
        attributes(raw(features=[1, 0]), [features], COLOURS)


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (raw(a=[0, 1, 2]), "output 'b' is missing, the model gives a"),
        (raw(a=[0, 1, 2], b=[0, 1]), "output 'b' has 2 values for 3 labels"),
        (raw(a=[0, 1, float("inf")], b=[0, 1, 2]), "output 'a' holds NaN or infinity"),
    ],
)
def test_a_bad_head_is_named(outputs: RawOutputs, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        attributes(outputs, [head("a"), head("b")], COLOURS)


@given(
    values=st.lists(st.lists(st.floats(-20, 20, width=32), min_size=3, max_size=3), min_size=1, max_size=4),
    temperature=st.floats(0.1, 10),
)
@settings(max_examples=60, deadline=None)
def test_equals_the_definition(values: list[list[float]], temperature: float) -> None:
    specs = [head(f"head {at}", temperature=temperature) for at in range(len(values))]
    outputs = raw(**{f"head {at}": row for at, row in enumerate(values)})
    found = attributes(outputs, specs, COLOURS)
    answers = [reference.classification(reference.softmax(row, temperature), COLOURS) for row in values]
    expected = reference.attributes([(spec.name, answer) for spec, answer in zip(specs, answers, strict=True)])
    assert found.confidence == pytest.approx(expected["confidence"], rel=1e-9)
    for mine, other in zip(jsonvalue.to_json(found)["heads"], expected["heads"], strict=True):
        for key in ("margin", "entropy"):
            assert mine["classification"][key] == pytest.approx(other["classification"][key], abs=1e-9)

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prediction_values import (
    POLICY,
    attributes,
    classification,
    counted,
    counts,
    detection,
    detections,
    matches,
    text,
)

from edge.bundle.manifest import ClassDecision, DecisionPolicy
from edge.decide import decide, decide_item
from edge.types import CropAnswer, Decision, DecisionReason, Outcome, Prediction

ACCEPT, CONFIRM, UNKNOWN = Outcome.ACCEPT, Outcome.CONFIRM, Outcome.UNKNOWN
CONFIDENT, LOW, SMALL = DecisionReason.CONFIDENT, DecisionReason.LOW_CONFIDENCE, DecisionReason.SMALL_MARGIN
NOT_RECOGNISED, NOTHING = DecisionReason.NOT_RECOGNISED, DecisionReason.NOTHING_FOUND
STRICT = replace(
    POLICY, class_thresholds=(ClassDecision(label="adult dose", accept_confidence=0.99, confirm_confidence=0.9),)
)


@pytest.mark.parametrize(
    ("confidence", "margin", "outcome", "reason"),
    [
        (1.0, 1.0, Outcome.ACCEPT, DecisionReason.CONFIDENT),
        (0.8, 0.3, Outcome.ACCEPT, DecisionReason.CONFIDENT),
        (0.8, 0.29, Outcome.CONFIRM, DecisionReason.SMALL_MARGIN),
        (0.79, 0.5, Outcome.CONFIRM, DecisionReason.LOW_CONFIDENCE),
        (0.4, 0.0, Outcome.CONFIRM, DecisionReason.LOW_CONFIDENCE),
        (0.39, 0.3, Outcome.UNKNOWN, DecisionReason.NOT_RECOGNISED),
        (0.0, 0.0, Outcome.UNKNOWN, DecisionReason.NOT_RECOGNISED),
    ],
)
def test_thresholds(confidence: float, margin: float, outcome: Outcome, reason: DecisionReason) -> None:
    decision = decide(classification("a", confidence, margin, entropy=0.5), POLICY)
    assert (decision.outcome, decision.reason, decision.confidence) == (outcome, reason, confidence)


def test_equal_thresholds_leave_no_confirm_by_confidence() -> None:
    policy = DecisionPolicy(accept_confidence=0.5, confirm_confidence=0.5, accept_margin=0.0)
    outcomes = {decide(classification("a", value / 100, 0.0), policy).outcome for value in range(101)}
    assert outcomes == {Outcome.ACCEPT, Outcome.UNKNOWN}


def test_policy_out_of_order_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="confirm_confidence <= accept_confidence"):
        DecisionPolicy(accept_confidence=0.3, confirm_confidence=0.5)


@pytest.mark.parametrize(
    ("prediction", "expected"),
    [
        (matches("cola", 0.9, 0.4), (ACCEPT, CONFIDENT, 0.9)),
        (matches("cola", 0.9, 0.2), (CONFIRM, SMALL, 0.9)),
        (matches("cola", 0.6, 0.4), (CONFIRM, LOW, 0.6)),
        (matches("cola", 0.9, 0.4, known=False), (UNKNOWN, NOT_RECOGNISED, 0.9)),
        (text("AB12", 0.9), (ACCEPT, CONFIDENT, 0.9)),
        (text("AB12", 0.9, in_lexicon=False), (CONFIRM, NOT_RECOGNISED, 0.9)),
        (text("AB12", 0.6, in_lexicon=False), (CONFIRM, LOW, 0.6)),
        (text("AB12", 0.3, in_lexicon=False), (UNKNOWN, NOT_RECOGNISED, 0.3)),
        (text("AB12", 0.9, 0.1), (CONFIRM, SMALL, 0.9)),
        (text("", 0.8, in_lexicon=False), (ACCEPT, NOTHING, 0.8)),
        (text("", 0.79), (CONFIRM, NOTHING, 0.79)),
        (attributes(classification("a", 0.9, 0.5), classification("b", 0.9, 0.5)), (ACCEPT, CONFIDENT, 0.81)),
        (attributes(classification("a", 0.9, 0.5), classification("b", 0.9, 0.2)), (CONFIRM, SMALL, 0.81)),
        (attributes(classification("a", 0.8, 0.5), classification("b", 0.8, 0.5)), (CONFIRM, LOW, 0.64)),
        (attributes(classification("a", 0.6, 0.5), classification("b", 0.6, 0.5)), (UNKNOWN, NOT_RECOGNISED, 0.36)),
        (detections(), (ACCEPT, NOTHING, 1.0)),
        (detections(nearest_miss=0.2), (ACCEPT, NOTHING, 0.8)),
        (detections(nearest_miss=0.21), (CONFIRM, NOTHING, 0.79)),
        (detections(detection("a", 0.9)), (ACCEPT, CONFIDENT, 0.9)),
        (detections(detection("a", 0.9), detection("b", 0.5)), (CONFIRM, LOW, 0.5)),
        (detections(detection("a", 0.9), detection("b", 0.3), nearest_miss=0.2), (UNKNOWN, NOT_RECOGNISED, 0.3)),
        (counts(), (ACCEPT, NOTHING, 1.0)),
        (counts(nearest_miss=0.24), (CONFIRM, NOTHING, 0.76)),
    ],
)
def test_every_kind_of_prediction(prediction: Prediction, expected: tuple[Outcome, DecisionReason, float]) -> None:
    decision = decide(prediction, POLICY)
    assert (decision.outcome, decision.reason) == expected[:2]
    assert decision.confidence == pytest.approx(expected[2])


def test_a_class_may_have_thresholds_of_its_own() -> None:
    assert decide(classification("adult dose", 0.95), POLICY).outcome is ACCEPT
    assert decide(classification("adult dose", 0.95), STRICT).outcome is CONFIRM
    assert decide(classification("adult dose", 0.89), STRICT).outcome is UNKNOWN
    assert decide(classification("adult dose", 0.99), STRICT).outcome is ACCEPT
    assert decide(classification("child dose", 0.85), STRICT).outcome is ACCEPT


def test_the_item_of_the_strictest_class_decides_not_the_lowest_score() -> None:
    found = detections(detection("adult dose", 0.89), detection("child dose", 0.7))
    assert decide(found, POLICY) == Decision(outcome=CONFIRM, confidence=0.7, reason=LOW)
    assert decide(found, STRICT) == Decision(outcome=UNKNOWN, confidence=0.89, reason=NOT_RECOGNISED)


def test_a_head_with_thresholds_of_its_own_is_judged_alone_too() -> None:
    sure = attributes(classification("adult dose", 0.95), classification("round", 1.0))
    assert decide(sure, POLICY).outcome is ACCEPT
    assert decide(sure, STRICT) == Decision(outcome=CONFIRM, confidence=0.95, reason=LOW)
    joint = replace(
        POLICY, class_thresholds=(ClassDecision(label="a / b", accept_confidence=0.5, confirm_confidence=0.1),)
    )
    unsure = attributes(classification("a", 0.75), classification("b", 0.75))
    assert decide(unsure, POLICY).outcome is CONFIRM
    assert decide(unsure, joint).outcome is ACCEPT


@pytest.mark.parametrize(
    ("answers", "expected"),
    [
        ([matches("cola", 0.95), matches("tea", 0.9)], (ACCEPT, 0.9)),
        ([matches("cola", 0.95), matches("tea", 0.6)], (CONFIRM, 0.6)),
        ([matches("cola", 0.85, known=False), matches("tea", 0.6)], (UNKNOWN, 0.85)),
        ([matches("cola", 0.6), matches("tea", 0.55)], (CONFIRM, 0.55)),
    ],
)
def test_a_counted_picture_is_as_sure_as_its_worst_item(
    answers: list[CropAnswer], expected: tuple[Outcome, float]
) -> None:
    items = [counted(detection("bottle", 0.5 + place / 10), answer) for place, answer in enumerate(answers)]
    decision = decide(counts(*items), POLICY)
    assert (decision.outcome, decision.confidence) == expected


def test_only_the_first_answer_decides_an_item() -> None:
    item = counted(detection("bottle", 0.9), matches("cola", 0.95), text("", 0.1))
    assert (item.decision.outcome, item.label) == (ACCEPT, "cola")


@given(
    scores=st.lists(st.floats(0, 1), min_size=1, max_size=6),
    accept=st.floats(0, 1),
    share=st.floats(0, 1),
)
def test_one_more_thing_never_makes_a_picture_surer(scores: list[float], accept: float, share: float) -> None:
    policy = DecisionPolicy(accept_confidence=accept, confirm_confidence=accept * share, accept_margin=0.0)
    order = [ACCEPT, CONFIRM, UNKNOWN]
    outcomes = []
    for number in range(1, len(scores) + 1):
        found = detections(*(detection("a", score) for score in scores[:number]))
        outcomes.append(order.index(decide(found, policy).outcome))
        assert decide(found, policy).confidence == found.headline.confidence
    assert outcomes == sorted(outcomes)


@given(confidence=st.floats(0, 1), margin=st.floats(0, 1))
def test_a_crop_is_decided_as_a_picture_would_be(confidence: float, margin: float) -> None:
    answer = classification("a", confidence, margin)
    assert decide_item(answer, POLICY) == decide(answer, POLICY)

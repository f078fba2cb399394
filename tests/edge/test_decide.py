from __future__ import annotations

import pytest

from edge.bundle.manifest import DecisionPolicy
from edge.decide import decide
from edge.types import Classification, ClassScore, DecisionReason, Outcome

POLICY = DecisionPolicy(accept_confidence=0.8, confirm_confidence=0.4, accept_margin=0.3)


def prediction(confidence: float, margin: float) -> Classification:
    return Classification(top=(ClassScore(label="a", index=0, probability=confidence),), margin=margin, entropy=0.5)


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
    decision = decide(prediction(confidence, margin), POLICY)
    assert (decision.outcome, decision.reason, decision.confidence) == (outcome, reason, confidence)


def test_equal_thresholds_leave_no_confirm_by_confidence() -> None:
    policy = DecisionPolicy(accept_confidence=0.5, confirm_confidence=0.5, accept_margin=0.0)
    outcomes = {decide(prediction(value / 100, 0.0), policy).outcome for value in range(101)}
    assert outcomes == {Outcome.ACCEPT, Outcome.UNKNOWN}


def test_policy_out_of_order_cannot_be_made() -> None:
    with pytest.raises(ValueError, match="confirm_confidence <= accept_confidence"):
        DecisionPolicy(accept_confidence=0.3, confirm_confidence=0.5)

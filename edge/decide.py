"""Accept, ask, or name nothing: a pure function of the prediction and the bundle's policy."""

from __future__ import annotations

from edge.bundle.manifest import DecisionPolicy
from edge.types import Decision, DecisionReason, Outcome, Prediction


def decide(prediction: Prediction, policy: DecisionPolicy) -> Decision:
    """What the device does with one prediction.

    Thresholds are inclusive: a confidence equal to `accept_confidence` accepts.

    Args:
        prediction: What the model sees.
        policy: The bundle's thresholds.
    """
    confidence = prediction.top[0].probability
    if confidence < policy.confirm_confidence:
        outcome, reason = Outcome.UNKNOWN, DecisionReason.NOT_RECOGNISED
    elif confidence < policy.accept_confidence:
        outcome, reason = Outcome.CONFIRM, DecisionReason.LOW_CONFIDENCE
    elif prediction.margin < policy.accept_margin:
        outcome, reason = Outcome.CONFIRM, DecisionReason.SMALL_MARGIN
    else:
        outcome, reason = Outcome.ACCEPT, DecisionReason.CONFIDENT
    return Decision(outcome=outcome, confidence=confidence, reason=reason)

"""Accept, ask, or name nothing: a pure function of the prediction and the bundle's policy.

What is compared is the `headline` of a prediction. A picture with several things in it is as sure as its least sure
thing: every one is decided by the thresholds of its own class, and the worst decision is the picture's.
"""

from __future__ import annotations

from collections.abc import Iterable

from edge.bundle.manifest import ClassDecision, DecisionPolicy
from edge.types import (
    Attributes,
    Counts,
    CropAnswer,
    Decision,
    DecisionReason,
    Detections,
    Headline,
    Matches,
    Outcome,
    Prediction,
    Text,
)

_SEVERITY = {Outcome.ACCEPT: 0, Outcome.CONFIRM: 1, Outcome.UNKNOWN: 2}


def decide(prediction: Prediction, policy: DecisionPolicy) -> Decision:
    """What the device does with one prediction.

    Thresholds are inclusive: a confidence equal to `accept_confidence` accepts. Things found in a picture: the worst
    of their decisions. Nothing found: ACCEPT when the nearest miss was far enough from being found, else CONFIRM.

    Args:
        prediction: What the model sees; the items of `Counts` carry their own decisions (`decide_item`).
        policy: The bundle's thresholds.
    """
    match prediction:
        case Detections(items=()) | Counts(items=()):
            return _nothing_found(prediction.headline.confidence, policy)
        case Detections():
            lines = (Headline(label=item.label, confidence=item.score) for item in prediction.items)
            return _worst(_by_thresholds(line, policy) for line in lines)
        case Counts():
            return _worst(item.decision for item in prediction.items)
        case _:
            return decide_item(prediction, policy)


def decide_item(answer: CropAnswer, policy: DecisionPolicy) -> Decision:
    """What the device does with one answer about a whole picture or about one crop of it.

    By the thresholds of its best class, and beyond them: a match that the gallery does not know is UNKNOWN however
    similar; a reading that the lexicon does not hold is CONFIRM at best; an empty reading is judged as nothing found;
    a head of several whose class has thresholds of its own is also judged alone.

    Args:
        answer: What one network says.
        policy: The bundle's thresholds.
    """
    line = answer.headline
    decision = _by_thresholds(line, policy)
    match answer:
        case Matches(known=False):
            return _unknown(line.confidence)
        case Text(text=""):
            return _nothing_found(line.confidence, policy)
        case Text(in_lexicon=False) if decision.outcome is Outcome.ACCEPT:
            return _decision(Outcome.CONFIRM, line.confidence, DecisionReason.NOT_RECOGNISED)
        case Attributes():
            return _worst([decision, *_strict_heads(answer, policy)])
        case _:
            return decision


def _strict_heads(answer: Attributes, policy: DecisionPolicy) -> Iterable[Decision]:
    """Decisions on those heads whose best class has thresholds of its own."""
    lines = (head.classification.headline for head in answer.heads)
    return (_by_thresholds(line, policy) for line in lines if _own_thresholds(line.label, policy) is not None)


def _by_thresholds(line: Headline, policy: DecisionPolicy) -> Decision:
    thresholds = _own_thresholds(line.label, policy) or policy
    if line.confidence < thresholds.confirm_confidence:
        return _unknown(line.confidence)
    if line.confidence < thresholds.accept_confidence:
        return _decision(Outcome.CONFIRM, line.confidence, DecisionReason.LOW_CONFIDENCE)
    if line.margin < policy.accept_margin:
        return _decision(Outcome.CONFIRM, line.confidence, DecisionReason.SMALL_MARGIN)
    return _decision(Outcome.ACCEPT, line.confidence, DecisionReason.CONFIDENT)


def _own_thresholds(label: str, policy: DecisionPolicy) -> ClassDecision | None:
    return next((item for item in policy.class_thresholds if item.label == label), None)


def _nothing_found(confidence: float, policy: DecisionPolicy) -> Decision:
    outcome = Outcome.ACCEPT if confidence >= policy.accept_confidence else Outcome.CONFIRM
    return _decision(outcome, confidence, DecisionReason.NOTHING_FOUND)


def _unknown(confidence: float) -> Decision:
    return _decision(Outcome.UNKNOWN, confidence, DecisionReason.NOT_RECOGNISED)


def _worst(decisions: Iterable[Decision]) -> Decision:
    """UNKNOWN before CONFIRM before ACCEPT, then the least sure; of equals the first."""
    return min(decisions, key=lambda decision: (-_SEVERITY[decision.outcome], decision.confidence))


def _decision(outcome: Outcome, confidence: float, reason: DecisionReason) -> Decision:
    return Decision(outcome=outcome, confidence=confidence, reason=reason)

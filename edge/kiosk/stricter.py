"""A caller's own threshold: what is less sure is not recognised, whatever the bundle's policy says. Pure."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edge.decide import decide
from edge.pipeline import count
from edge.types import Counts, Detections, Inference

if TYPE_CHECKING:
    from edge.bundle.policy import DecisionPolicy


def stricter_policy(policy: DecisionPolicy, threshold: float) -> DecisionPolicy:
    """The policy with no threshold for naming something below a given one.

    Args:
        policy: The bundle's.
        threshold: Least confidence that a name needs, in [0, 1].
    """
    return replace(
        policy,
        confirm_confidence=max(policy.confirm_confidence, threshold),
        accept_confidence=max(policy.accept_confidence, threshold),
        class_thresholds=tuple(
            replace(
                item,
                confirm_confidence=max(item.confirm_confidence, threshold),
                accept_confidence=max(item.accept_confidence, threshold),
            )
            for item in policy.class_thresholds
        ),
    )


def judge_again(inference: Inference, policy: DecisionPolicy) -> Inference:
    """The same answer, decided by another policy; of a pipeline every thing anew, and the numbers with them."""
    prediction = inference.prediction
    if isinstance(prediction, Counts):
        found = Detections(
            items=tuple(item.detection for item in prediction.items), nearest_miss=prediction.nearest_miss
        )
        prediction = count(found, [item.answers for item in prediction.items], policy)
    return replace(inference, prediction=prediction, decision=decide(prediction, policy))

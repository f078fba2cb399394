"""The rules that ask for a sample: one function each, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TypeAlias

from edge.bundle.manifest import KeepPolicy
from edge.keep.context import KeepContext
from edge.keep.ledger import KeepLedger
from edge.keep.scores import disagrees, greatest_entropy, labels, least_margin, novelty, threshold_distance
from edge.types import Inference, KeepReason, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """All that a rule may look at.

    Attributes:
        inference: What the engine said.
        policy: The bundle's rules.
        context: What is known of the bundle beside them.
        ledger: What was kept lately.
        now: Seconds since the epoch.
    """

    inference: Inference
    policy: KeepPolicy
    context: KeepContext
    ledger: KeepLedger
    now: float


Rule: TypeAlias = tuple[KeepReason, Callable[[Question], bool]]


def _unknown(question: Question) -> bool:
    return question.policy.keep_unknown and question.inference.decision.outcome is Outcome.UNKNOWN


def _low_confidence(question: Question) -> bool:
    return question.inference.decision.confidence < question.policy.below_confidence


def _small_margin(question: Question) -> bool:
    return least_margin(question.inference.prediction) < question.policy.below_margin


def _high_entropy(question: Question) -> bool:
    return greatest_entropy(question.inference.prediction) > question.policy.above_entropy


def _near_threshold(question: Question) -> bool:
    threshold, near = question.context.score_threshold, question.policy.near_threshold
    return threshold is not None and threshold_distance(question.inference.prediction, threshold) < near


def _disagreement(question: Question) -> bool:
    return question.policy.disagreement and disagrees(question.inference.prediction, question.context)


def _novel(question: Question) -> bool:
    found = novelty(question.inference.prediction)
    return found is not None and found > question.policy.above_novelty


def _rare(question: Question) -> bool:
    policy, ledger = question.policy, question.ledger
    named = labels(question.inference).intersection(policy.rare_classes)
    return any(ledger.rare_kept(label, question.now) < policy.rare_per_day for label in named)


RULES: tuple[Rule, ...] = (
    (KeepReason.NOT_RECOGNISED, _unknown),
    (KeepReason.LOW_CONFIDENCE, _low_confidence),
    (KeepReason.SMALL_MARGIN, _small_margin),
    (KeepReason.HIGH_ENTROPY, _high_entropy),
    (KeepReason.NEAR_THRESHOLD, _near_threshold),
    (KeepReason.DISAGREEMENT, _disagreement),
    (KeepReason.NOVEL, _novel),
    (KeepReason.RARE_CLASS, _rare),
)

"""Is this sample worth a second look: a pure function of the inference and the bundle's policy."""

from __future__ import annotations

from edge.bundle.manifest import KeepPolicy
from edge.types import Inference, KeepReason, KeepVerdict, Outcome

_DRAW_DIGITS = 13
_DRAW_RANGE = 1 << 4 * _DRAW_DIGITS


def judge(inference: Inference, policy: KeepPolicy) -> KeepVerdict:
    """Whether to keep a sample, and how much a label for it would teach.

    The random floor is drawn from the picture's digest: the same picture is always drawn the same way, on every
    device, and nobody can tell from its content which way.

    Args:
        inference: What the engine said.
        policy: The bundle's rules.
    """
    reason = _reason(inference, policy)
    return KeepVerdict(keep=reason is not KeepReason.NOT_NEEDED, reason=reason, value=_value(inference))


def _reason(inference: Inference, policy: KeepPolicy) -> KeepReason:
    if policy.keep_unknown and inference.decision.outcome is Outcome.UNKNOWN:
        return KeepReason.NOT_RECOGNISED
    if inference.decision.confidence < policy.below_confidence:
        return KeepReason.LOW_CONFIDENCE
    if inference.prediction.margin < policy.below_margin:
        return KeepReason.SMALL_MARGIN
    if _draw(inference.picture_digest) < policy.random_fraction:
        return KeepReason.RANDOM_FLOOR
    return KeepReason.NOT_NEEDED


def _value(inference: Inference) -> float:
    """The larger of what margin and entropy say: 0 for a certain answer, 1 for no idea."""
    return min(1.0, max(0.0, 1.0 - inference.prediction.margin, inference.prediction.entropy))


def _draw(digest: str) -> float:
    """A number in [0, 1) that only the digest decides; exact in float64."""
    return int(digest[:_DRAW_DIGITS], 16) / _DRAW_RANGE

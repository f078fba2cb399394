"""Challenger against champion on the frozen test split: may it be published? Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from cloud_train.evaluation.metrics import check_same_pictures, paired_difference
from cloud_train.types import ClassScoreRow, EvalReport, GateResult, Interval
from edge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class GateLimits:
    """What a challenger must hold. In points.

    Attributes:
        min_gain: The mean paired gain must not be below this.
        min_gain_lower: The lower 95 % bound of the gain must be above this (non-inferiority).
        max_class_loss: No class may lose more than this, unless its interval reaches 0.
        min_class_pictures: Only classes with so many test pictures are held to it.
    """

    min_gain: float = 0.0
    min_gain_lower: float = -1.0
    max_class_loss: float = 15.0
    min_class_pictures: int = 10


DEFAULT_LIMITS = GateLimits()


def judge_gates(
    champion: EvalReport | None, challenger: EvalReport, *, limits: GateLimits = DEFAULT_LIMITS, seed: int = 0
) -> GateResult:
    """Holds a challenger against the champion.

    Args:
        champion: What is published now; None for a first release, which only has to beat the commonest class.
        challenger: What wants to be published.
        limits: What it must hold.
        seed: Of the bootstrap.

    Raises:
        UsageError: The two were not evaluated on the same pictures, or the challenger on none.
    """
    if champion is None:
        return _judge_first(challenger)
    check_same_pictures(champion, challenger)
    gain = paired_difference(champion.pictures, challenger.pictures, seed=seed)
    rules = [_gain_rule(gain, limits), *_class_rules(champion, challenger, limits, seed)]
    reasons = [(True, f"pictures: ok: the same {len(challenger.pictures)} {challenger.split.value} pictures"), *rules]
    return GateResult(passed=all(ok for ok, _ in reasons), gain=gain, reasons=tuple(line for _, line in reasons))


def _judge_first(challenger: EvalReport) -> GateResult:
    """A first release: better than naming the commonest class, beyond chance."""
    if not challenger.pictures:
        raise UsageError("the challenger was evaluated on no picture", hint="make a snapshot with a test split")
    accuracy, floor = challenger.accuracy, challenger.majority_baseline
    ok = accuracy.lower > floor
    detail = (
        f"accuracy {accuracy.value:.1f} % (lower bound {accuracy.lower:.1f}), the commonest class gives {floor:.1f} %"
    )
    reasons = ("champion: ok: none, this is the first release", f"baseline: {_word(ok)}: {detail}")
    return GateResult(passed=ok, gain=Interval(value=0.0, lower=0.0, upper=0.0), reasons=reasons)


def _gain_rule(gain: Interval, limits: GateLimits) -> tuple[bool, str]:
    ok = gain.value >= limits.min_gain and gain.lower > limits.min_gain_lower
    allowed = f"needs at least {limits.min_gain:+.1f} with a lower bound above {limits.min_gain_lower:+.1f}"
    return ok, f"gain: {_word(ok)}: {format_gain(gain)} points; {allowed}"


def _class_rules(
    champion: EvalReport, challenger: EvalReport, limits: GateLimits, seed: int
) -> Iterator[tuple[bool, str]]:
    """One line for each class that lost too much, or one line for all when none did."""
    held = [row for row in champion.classes if row.recall > 0 and row.num >= limits.min_class_pictures]
    losses = [loss for row in held if (loss := _class_loss(row, champion, challenger, limits, seed))]
    yield from losses
    if not losses:
        yield True, f"classes: ok: none of {len(held)} known classes lost more than {limits.max_class_loss:.0f} points"


def _class_loss(
    row: ClassScoreRow, champion: EvalReport, challenger: EvalReport, limits: GateLimits, seed: int
) -> tuple[bool, str] | None:
    """A class that lost more than allowed, or None; only a loss beyond chance fails."""
    pairs = [pair for pair in zip(champion.pictures, challenger.pictures, strict=True) if pair[0].truth == row.label]
    change = paired_difference([old for old, _ in pairs], [new for _, new in pairs], seed=seed)
    if change.value >= -limits.max_class_loss:
        return None
    ok = change.upper >= 0
    return ok, f"class {row.label}: {_word(ok)}: {format_gain(change)} points on {row.num} pictures"


def format_gain(gain: Interval) -> str:
    """A signed figure with its interval: `+3.1 [+0.4, +5.9]`."""
    return f"{gain.value:+.1f} [{gain.lower:+.1f}, {gain.upper:+.1f}]"


def _word(ok: bool) -> str:
    return "ok" if ok else "failed"

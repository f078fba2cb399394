"""The rule of a rollout: advance, wait, halt or finish. Pure. Stated for people in docs/operations.md."""

from __future__ import annotations

import enum
import math
from collections.abc import Iterator
from dataclasses import dataclass

from cloud_train.fleet.health import BundleHealth
from cloud_train.fleet.intervals import Estimate, minus, newcombe, t_quantile, wilson
from cloud_train.fleet_types import HealthLimits, Ring, Rollout, RolloutKind, RolloutState

CERTAIN = 0.999
"""One-sided level at which a figure that is too bad halts a rollout at once."""
LIKELY = 0.95
"""One-sided level at which a figure is taken for good enough, and at which doubt is settled at the end of a ring."""
SPARE_CRASHES = 0.02
"""Unclean starts a device and hour that are forgiven besides those of the old bundle: one in two days."""

_MANY_SILENT = 10  # fewer may be one shop that closed for the night: these hold the rollout up, and halt it late


class Action(enum.Enum):
    """What is to be done with a rollout."""

    ADVANCE = "advance"
    WAIT = "wait"
    HALT = "halt"
    FINISH = "finish"


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What the rule says.

    Attributes:
        action: What is to be done.
        reason: One line with the figures that decided.
    """

    action: Action
    reason: str


class Mark(enum.Enum):
    """FINE lets the rollout go on; BAD halts it; DOUBT waits, and LEANING halts it when the waiting ends."""

    FINE = "fine"
    DOUBT = "doubt"
    LEANING = "leaning"
    BAD = "bad"


@dataclass(frozen=True, slots=True, kw_only=True)
class Check:
    """One figure against its limit.

    Attributes:
        mark: What it came to.
        line: The figures, for people.
        is_hard: Whether it counts in an A/B comparison too, where rates may differ.
    """

    mark: Mark
    line: str
    is_hard: bool = False


def judge(rollout: Rollout, new: BundleHealth, old: BundleHealth, now: float) -> Verdict:
    """Says what is to be done with a rollout.

    Args:
        rollout: Where it stands.
        new: How the new bundle fares since the present ring began.
        old: How the old one fares, made comparable (`cloud_train.fleet.health`).
        now: Seconds since the epoch, UTC.
    """
    if rollout.state is not RolloutState.RUNNING:
        return Verdict(action=Action.WAIT, reason=rollout.state.value.replace("_", " "))
    checks = tuple(checks_of(rollout.plan.limits, new, old))
    compares = rollout.kind is RolloutKind.AB
    for check in checks:
        if check.mark is Mark.BAD and (check.is_hard or not compares):
            return Verdict(action=Action.HALT, reason=check.line)
    if compares:
        return Verdict(action=Action.WAIT, reason=f"comparing: {new.devices} devices with B, {old.devices} with A")
    ring, minutes = rollout.plan.rings[rollout.ring], (now - rollout.ring_since) / 60
    name = f"ring {rollout.ring + 1} of {len(rollout.plan.rings)}"
    if lacks := _lacks(ring, new, minutes):
        return Verdict(action=Action.WAIT, reason=f"{name}: {lacks}")
    return _settle(rollout, checks, name, is_late=minutes >= ring.max_minutes)


def checks_of(limits: HealthLimits, new: BundleHealth, old: BundleHealth) -> Iterator[Check]:
    """Every figure against its limit, the hardest first."""
    yield _failed(limits, new)
    yield _looping(limits, new, old)
    yield _crashes(limits, new, old)
    yield _errors(limits, new)
    yield _silent(limits, new, old)
    yield _latency(limits, new, old)
    if new.accept_change.is_known and old.accept_change.is_known:
        yield _changes("accept rate", old.accept_change, new.accept_change, limits.max_accept_drop, falls=True)
        yield _changes("unknown rate", new.unknown_change, old.unknown_change, limits.max_unknown_rise, falls=False)
    else:
        yield _points("accept rate", old.accept, new.accept, limits.max_accept_drop, old, falls=True)
        yield _points("unknown rate", new.unknown, old.unknown, limits.max_unknown_rise, old, falls=False)


def _settle(rollout: Rollout, checks: tuple[Check, ...], name: str, *, is_late: bool) -> Verdict:
    """What follows where nothing is certainly bad and there is evidence enough."""
    doubts = tuple(check for check in checks if check.mark in (Mark.DOUBT, Mark.LEANING))
    leaning = next((check for check in doubts if check.mark is Mark.LEANING), None)
    if doubts and not is_late:
        return Verdict(action=Action.WAIT, reason=f"{name}: in doubt: {(leaning or doubts[0]).line}")
    if leaning is not None:
        return Verdict(action=Action.HALT, reason=f"{leaning.line}, and waiting did not help")
    figures = "; ".join(check.line for check in (doubts or checks[-2:]))
    said = f"{name}: {'time is up without a sign of harm' if doubts else 'healthy'}: {figures}"
    is_last = rollout.ring + 1 >= len(rollout.plan.rings)
    return Verdict(action=Action.FINISH if is_last else Action.ADVANCE, reason=said)


def _lacks(ring: Ring, new: BundleHealth, minutes: float) -> str:
    """What must still be seen in this ring; empty for nothing. A ring that nobody is in asks for time alone."""
    if minutes < ring.min_minutes:
        return f"{minutes:.0f} of {ring.min_minutes:.0f} minutes"
    wanted = min(ring.min_devices, new.standing.due)
    if new.devices < wanted:
        return f"{new.devices} of {wanted} devices have answered frames with the new bundle"
    if wanted and new.frames < ring.min_frames:
        return f"{new.frames} of {ring.min_frames} frames were answered with the new bundle"
    return ""


def _failed(limits: HealthLimits, new: BundleHealth) -> Check:
    failed, tried = new.standing.failed, new.standing.tried
    line = f"it failed on {failed} of {tried} devices that tried it (limit {limits.max_failed_devices:g} %)"
    return Check(mark=_hard_share(failed, tried, limits.max_failed_devices / 100), line=line, is_hard=True)


def _looping(limits: HealthLimits, new: BundleHealth, old: BundleHealth) -> Check:
    base = old.looping / old.devices if old.devices else 0.0
    line = f"{new.looping} of {new.devices} devices crash again and again (old bundle {base:.2%})"
    mark = _hard_share(new.looping, max(new.devices, new.looping), limits.max_failed_devices / 100 + base)
    return Check(mark=mark, line=line, is_hard=True)


def _hard_share(hits: int, total: int, limit: float) -> Mark:
    """A share of devices of which each is a failure in itself: two suffice, or one where it is all there is."""
    if not hits or hits / total <= limit:
        return Mark.FINE
    is_certain = hits == total or (hits >= 2 and wilson(hits, total)[0] > limit)
    return Mark.BAD if is_certain else Mark.LEANING


def _crashes(limits: HealthLimits, new: BundleHealth, old: BundleHealth) -> Check:
    gap, freedom = minus(new.crashes, old.crashes, factor=limits.max_crash_ratio)
    line = (
        f"{new.crashes.value:.3f} unclean starts a device and hour, {_beside(old.crashes, '.3f')}"
        f" (limit {limits.max_crash_ratio:g} times, and {SPARE_CRASHES:g})"
    )
    mark = _mark(gap, freedom, SPARE_CRASHES, nothing=0.0)
    enough = new.crashing >= 3
    return Check(mark=Mark.LEANING if mark is Mark.BAD and not enough else mark, line=line, is_hard=True)


def _errors(limits: HealthLimits, new: BundleHealth) -> Check:
    limit = limits.max_error_rate / 100
    line = f"the model failed on {new.errors.value:.2%} of the frames (limit {limits.max_error_rate:g} %)"
    return Check(mark=_mark(new.errors, new.errors.devices - 1, limit, nothing=limit), line=line, is_hard=True)


def _silent(limits: HealthLimits, new: BundleHealth, old: BundleHealth) -> Check:
    mine, other, limit = new.standing, old.standing, limits.max_silent_rise / 100
    line = (
        f"{mine.silent} of {mine.seen} devices fell silent, {other.silent} of {other.seen} with the old bundle"
        f" (limit +{limits.max_silent_rise:g} points)"
    )
    if not mine.silent:
        return Check(mark=Mark.FINE, line=line, is_hard=True)
    gap = mine.silent / mine.seen - (other.silent / other.seen if other.seen else 0.0)
    sure = newcombe(mine.silent, mine.seen, other.silent, other.seen, level=CERTAIN)[0] if other.seen else -1.0
    likely = newcombe(mine.silent, mine.seen, other.silent, other.seen, level=LIKELY)[0] if other.seen else gap
    if mine.silent >= _MANY_SILENT and sure > limit:
        return Check(mark=Mark.BAD, line=line, is_hard=True)
    return Check(mark=Mark.LEANING if gap > limit and likely > 0 else Mark.FINE, line=line, is_hard=True)


def _latency(limits: HealthLimits, new: BundleHealth, old: BundleHealth) -> Check:
    before, after, limit = old.latency_p90_ms, new.latency_p90_ms, math.log(limits.max_latency_ratio)
    if new.slowdown.is_known:
        line = (
            f"latency p90 {math.exp(new.slowdown.value):.2f} times that of the old bundle on the same"
            f" {new.slowdown.devices} devices (limit {limits.max_latency_ratio:g} times)"
        )
        return Check(mark=_mark(new.slowdown, new.slowdown.devices - 1, limit, nothing=0.0), line=line)
    line = (
        f"latency p90 {after.value:.0f} ms, {_beside(before, '.0f', ' ms')}, {old.basis}"
        f" (limit {limits.max_latency_ratio:g} times)"
    )
    if before.value <= 0 or after.value <= 0:
        return Check(mark=Mark.DOUBT, line=line)
    gap, freedom = minus(_log(after), _log(before))
    return Check(mark=_mark(gap, freedom, limit, nothing=0.0), line=line)


def _points(name: str, high: Estimate, low: Estimate, limit: float, old: BundleHealth, *, falls: bool) -> Check:
    new, before = (low, high) if falls else (high, low)
    line = (
        f"{name} {new.value:.1%}, {_beside(before, '.1%')}, {old.basis} (limit {'-' if falls else '+'}{limit:g} points)"
    )
    gap, freedom = minus(high, low)
    return Check(mark=_mark(gap, freedom, limit / 100, nothing=0.0), line=line)


def _changes(name: str, high: Estimate, low: Estimate, limit: float, *, falls: bool) -> Check:
    """Each device against itself, and that against the same of the other side."""
    new, before = (low, high) if falls else (high, low)
    line = (
        f"{name} {100 * new.value:+.1f} points since before on the same {new.devices} devices,"
        f" {100 * before.value:+.1f} with the old bundle (limit {'-' if falls else '+'}{limit:g} points)"
    )
    gap, freedom = minus(high, low)
    return Check(mark=_mark(gap, freedom, limit / 100, nothing=0.0), line=line)


def _mark(gap: Estimate, freedom: float, limit: float, *, nothing: float) -> Mark:
    """Where a harm lies: beyond its limit for certain, probably within it, or neither.

    Args:
        gap: The harm, larger for worse.
        freedom: Degrees of freedom of its error.
        limit: The largest that is allowed.
        nothing: The harm that means that both bundles are alike.
    """
    if not gap.is_known:
        return Mark.DOUBT
    likely = t_quantile(LIKELY, freedom) * gap.error
    if gap.value - t_quantile(CERTAIN, freedom) * gap.error > limit:
        return Mark.BAD
    if gap.value + likely <= limit:
        return Mark.FINE
    return Mark.LEANING if gap.value > limit and gap.value - likely > nothing else Mark.DOUBT


def _beside(old: Estimate, form: str, unit: str = "") -> str:
    return f"{old.value:{form}}{unit} with the old bundle" if old.devices else "no old bundle to hold it against"


def _log(value: Estimate) -> Estimate:
    """The logarithm of a positive figure, by the delta method."""
    return Estimate(value=math.log(value.value), error=value.error / value.value, devices=value.devices)

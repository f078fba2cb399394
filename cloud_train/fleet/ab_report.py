"""Two bundles side by side: what an A/B comparison has found. Pure but for `ab_report`, which reads.

Devices were drawn, not frames, so the device is the unit: every rate is a ratio of sums over devices, its interval is
the jackknife's over devices (`cloud_train.fleet.health`), differences are Welch's. Both bundles are seen in the same
hours.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from cloud_train.fleet.health import NOBODY, BundleHealth, new_health, ratio_of
from cloud_train.fleet.intervals import Estimate, minus, t_quantile
from cloud_train.fleet.sides import Sides, sides_of
from cloud_train.fleet.watch import WatchParts
from cloud_train.fleet_types import Rollout
from cloud_train.store.answered import Answered, AnsweredSamples
from cloud_train.types import Interval

_LEVEL = 0.975
_HOUR_S = 3600.0


@dataclass(frozen=True, slots=True, kw_only=True)
class AbFigure:
    """One figure of both bundles.

    Attributes:
        name: What it is.
        unit: `%` or `ms`, of all its numbers; differences of `%` are in points.
        a: Of bundle A, with its 95 % interval.
        b: Of bundle B.
        difference: B minus A.
        is_clear: Whether the interval of the difference leaves out 0.
    """

    name: str
    unit: str
    a: Interval
    b: Interval
    difference: Interval
    is_clear: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class AbReport:
    """What a comparison has found so far.

    Attributes:
        rollout: The comparison.
        hours: Since it began.
        devices: Devices with A and with B that answered frames.
        frames: Frames that these answered.
        figures: Rates, latency, and accuracy where people answered enough.
        answered: Samples of A and of B that people answered.
        notes: What to know before believing it.
    """

    rollout: Rollout
    hours: float
    devices: tuple[int, int]
    frames: tuple[int, int]
    figures: tuple[AbFigure, ...]
    answered: tuple[int, int]
    notes: tuple[str, ...]


def ab_report(rollout: Rollout, parts: WatchParts, answers: AnsweredSamples, *, now: float) -> AbReport:
    """Compares the two bundles of a comparison by what devices and people have said since it began.

    Args:
        rollout: The comparison; running or ended.
        parts: Where devices and hours are.
        answers: What people answered.
        now: Seconds since the epoch, UTC.
    """
    until = now if rollout.ended_at is None else min(now, rollout.ended_at)
    devices = parts.roster.devices(rollout.channel, is_default=rollout.channel == parts.default_channel)
    sides = sides_of(rollout, devices)
    first, last = int(rollout.started_at // _HOUR_S), int(until // _HOUR_S)
    a, b = (
        new_health(parts.hours.figures(digest, _names(sides, name), since=first, until=last), NOBODY)
        for name, digest in (("A", rollout.base_digest), ("B", rollout.bundle_digest))
    )
    said = tuple(
        _only(answers.of(digest, since=rollout.started_at), _names(sides, name))
        for name, digest in (("A", rollout.base_digest), ("B", rollout.bundle_digest))
    )
    return compared(rollout, a, b, said[0], said[1], now=until)


def compared(
    rollout: Rollout,
    a: BundleHealth,
    b: BundleHealth,
    of_a: Sequence[Answered],
    of_b: Sequence[Answered],
    *,
    now: float,
) -> AbReport:
    """The report of figures that are gathered. Pure."""
    accuracy = tuple(ratio_of([(one.right, one.samples) for one in some], share=True) for some in (of_a, of_b))
    rows = (
        ("accepted", "%", a.accept, b.accept),
        ("to be confirmed", "%", a.confirm, b.confirm),
        ("unknown", "%", a.unknown, b.unknown),
        ("model failed", "%", a.errors, b.errors),
        ("latency p90", "ms", a.latency_p90_ms, b.latency_p90_ms),
        ("right, of answered samples", "%", *accuracy),
    )
    return AbReport(
        rollout=rollout,
        hours=(now - rollout.started_at) / _HOUR_S,
        devices=(a.devices, b.devices),
        frames=(a.frames, b.frames),
        figures=tuple(
            _figure(name, unit, of_a, of_b) for name, unit, of_a, of_b in rows if of_a.devices and of_b.devices
        ),
        answered=(sum(one.samples for one in of_a), sum(one.samples for one in of_b)),
        notes=tuple(_notes(a, b, accuracy)),
    )


def report_lines(report: AbReport) -> list[str]:
    """The report as people read it."""
    rollout = report.rollout
    lines = [
        f"A/B {rollout.rollout_id} on channel {rollout.channel}: {report.hours:.1f} hours, {rollout.state.value}",
        f"{'':28} {'A ' + rollout.base_digest[:12]:>24} {'B ' + rollout.bundle_digest[:12]:>24}   B - A",
        f"{'devices':28} {report.devices[0]:>24,} {report.devices[1]:>24,}",
        f"{'frames':28} {report.frames[0]:>24,} {report.frames[1]:>24,}",
        f"{'samples people answered':28} {report.answered[0]:>24,} {report.answered[1]:>24,}",
    ]
    for one in report.figures:
        mark = "  clear" if one.is_clear else ""
        lines.append(f"{one.name:28} {_told(one.a):>24} {_told(one.b):>24}   {_told(one.difference)} {one.unit}{mark}")
    return [*lines, *report.notes]


def report_value(report: AbReport) -> dict[str, Any]:
    """The report for JSON; an interval that is not known has no bounds."""

    def bounded(value: Interval) -> dict[str, float | None]:
        known = math.isfinite(value.upper)
        return {"value": value.value, "lower": value.lower if known else None, "upper": value.upper if known else None}

    figures = [
        {
            "name": one.name,
            "unit": one.unit,
            "a": bounded(one.a),
            "b": bounded(one.b),
            "difference": bounded(one.difference),
            "is_clear": one.is_clear,
        }
        for one in report.figures
    ]
    plain = {name: getattr(report, name) for name in ("rollout", "hours", "devices", "frames", "answered", "notes")}
    return {**plain, "figures": figures}


def _notes(a: BundleHealth, b: BundleHealth, accuracy: Sequence[Estimate]) -> list[str]:
    notes = ["intervals hold 95 %; the device is the unit (jackknife), differences by Welch"]
    if min(a.devices, b.devices) < 10:
        notes.append("fewer than 10 devices on a side: the intervals are wide, and rest on few")
    if all(one.devices for one in accuracy):
        notes.append("answered samples are those that devices kept, mostly doubtful ones: compare them, no more")
    return notes


def _figure(name: str, unit: str, a: Estimate, b: Estimate) -> AbFigure:
    scale = 100.0 if unit == "%" else 1.0
    gap, freedom = minus(b, a)
    half = t_quantile(_LEVEL, freedom) * gap.error if gap.is_known else math.inf
    difference = Interval(value=scale * gap.value, lower=scale * (gap.value - half), upper=scale * (gap.value + half))
    return AbFigure(
        name=name,
        unit=unit,
        a=_interval(a, scale, unit),
        b=_interval(b, scale, unit),
        difference=difference,
        is_clear=difference.lower > 0 or difference.upper < 0,
    )


def _interval(estimate: Estimate, scale: float, unit: str) -> Interval:
    half = estimate.margin(_LEVEL)
    low, high = max(0.0, estimate.value - half), estimate.value + half
    return Interval(
        value=scale * estimate.value, lower=scale * low, upper=scale * (min(1.0, high) if unit == "%" else high)
    )


def _told(value: Interval) -> str:
    if not math.isfinite(value.upper):
        return f"{value.value:.1f}"
    return f"{value.value:.1f} ({value.lower:.1f} to {value.upper:.1f})"


def _names(sides: Sides, arm: str) -> tuple[str, ...]:
    return tuple(device.member.device_id for device in (sides.old if arm == "A" else sides.new))


def _only(answered: Sequence[Answered], names: Sequence[str]) -> tuple[Answered, ...]:
    known = frozenset(names)
    return tuple(one for one in answered if one.device_id in known)

"""The figures of two bundles side by side, as people read them. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass

from cloud_train.fleet.ab_report import AbReport
from cloud_train.fleet.health import BundleHealth
from cloud_train.fleet.intervals import Estimate
from cloud_train.types import Interval

_LEVEL = 0.975  # on each side: 95 in 100
_NOTHING = "-"


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One figure of both bundles.

    Attributes:
        name: What it is.
        old: Of the old bundle; a dash where it is not known.
        new: Of the new one.
    """

    name: str
    old: str
    new: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One figure of an A/B comparison.

    Attributes:
        name: What it is.
        a: Of bundle A, with its 95 % interval.
        b: Of bundle B.
        gap: B minus A.
        is_clear: Whether the interval of the difference leaves out 0.
    """

    name: str
    a: str
    b: str
    gap: str
    is_clear: bool


def differences_of(report: AbReport) -> tuple[Difference, ...]:
    """The figures of a comparison."""
    return tuple(
        Difference(
            name=one.name,
            a=f"{_told(one.a)} {one.unit}",
            b=f"{_told(one.b)} {one.unit}",
            gap=f"{_told(one.difference, signed=True)} {'points' if one.unit == '%' else one.unit}",
            is_clear=one.is_clear,
        )
        for one in report.figures
    )


def figures_of(old: BundleHealth, new: BundleHealth) -> tuple[Figure, ...]:
    """What the rule looks at, with 95 in 100 intervals where there are any."""
    rows = (
        ("Devices that reported", lambda one: f"{one.devices:,}"),
        ("Frames", lambda one: f"{one.frames:,}"),
        ("Accepted", lambda one: _percent(one.accept)),
        ("To be confirmed", lambda one: _percent(one.confirm)),
        ("Unknown", lambda one: _percent(one.unknown)),
        ("Failed frames", lambda one: _percent(one.errors)),
        ("Latency, 90th percentile", lambda one: _plain(one.latency_p90_ms, "ms", decimals=1)),
        ("Unclean starts a device and hour", lambda one: _plain(one.crashes, "", decimals=3)),
        ("Devices in a crash loop", lambda one: f"{one.looping:,}"),
        ("Devices it failed on", lambda one: f"{one.standing.failed:,} of {one.standing.tried:,}"),
        ("Devices that fell silent", lambda one: f"{one.standing.silent:,} of {one.standing.seen:,}"),
    )
    return tuple(Figure(name=name, old=told(old), new=told(new)) for name, told in rows)


def _percent(share: Estimate) -> str:
    if not share.devices:
        return _NOTHING
    around = f" ± {100 * share.margin(_LEVEL):.1f}" if share.is_known else ""
    return f"{100 * share.value:.1f}{around} %"


def _plain(value: Estimate, unit: str, *, decimals: int) -> str:
    if not value.devices:
        return _NOTHING
    around = f" ± {value.margin(_LEVEL):,.{decimals}f}" if value.is_known else ""
    return f"{value.value:,.{decimals}f}{around} {unit}".strip()


def _told(value: Interval, *, signed: bool = False) -> str:
    sign = "+" if signed else ""
    if not math.isfinite(value.upper):
        return f"{value.value:{sign}.1f}"
    return f"{value.value:{sign}.1f} ({value.lower:{sign}.1f} to {value.upper:{sign}.1f})"

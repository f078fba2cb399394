"""Drift of a bundle in the field: against its validation pictures, or its first days where there is nothing else."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_train.fleet.drift import Drift, confidence_drift, drift_of
from cloud_train.fleet.expected import Expected
from cloud_train.store.hours import HourStore

_HOUR_S = 3600.0
_WEEK_HOURS = 7 * 24
RECENT_HOURS = 24
_INDEPENDENT = 10
"""A device says in all these hours no more than so many independent frames would."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftReport:
    """How far the field has moved from what a bundle expects.

    Attributes:
        bundle_digest: The bundle.
        devices: Devices that were looked at.
        hours: Over how many hours.
        against: What the field is held against, for people; empty when there is nothing yet.
        classes: By label; None when nothing is known to compare with.
        confidence: By confidence; None when nothing is known to compare with.
    """

    bundle_digest: str
    devices: int
    hours: int
    against: str = ""
    classes: Drift | None = None
    confidence: Drift | None = None


def drift_report(
    bundle_digest: str,
    hours: HourStore,
    find_expected: Callable[[], Expected | None],
    *,
    now: float,
    recent_hours: int = RECENT_HOURS,
    device_ids: Sequence[str] | None = None,
) -> DriftReport:
    """Holds the last hours of a bundle against what it expects.

    Args:
        bundle_digest: The bundle.
        hours: What devices did.
        find_expected: What its proof says.
        now: Seconds since the epoch, UTC.
        recent_hours: Over how many hours.
        device_ids: Of these devices alone; of all, for None.
    """
    present = int(now // _HOUR_S)
    since = present - recent_hours + 1
    seen = hours.histograms(bundle_digest, since=since, until=present, device_ids=device_ids)
    expected = find_expected() or _first_week(bundle_digest, hours, before=since, device_ids=device_ids)
    if expected is None:
        return DriftReport(bundle_digest=bundle_digest, devices=seen.devices, hours=recent_hours)
    alike = max(1.0, seen.frames / max(1, seen.devices) / _INDEPENDENT)
    total = int(sum(expected.classes.values()))
    has_confidence = bool(sum(expected.confidence))
    return DriftReport(
        bundle_digest=bundle_digest,
        devices=seen.devices,
        hours=recent_hours,
        against=expected.source,
        classes=drift_of(expected.classes, seen.classes, expected_frames=total, alike=alike) if total else None,
        confidence=confidence_drift(expected.confidence, seen.confidence, alike=alike) if has_confidence else None,
    )


def drift_lines(report: DriftReport) -> list[str]:
    """The same for people."""
    lines = [f"bundle {report.bundle_digest[:12]}, last {report.hours} hours, {report.devices} devices"]
    if not report.against:
        return [*lines, "nothing to compare with: no distribution in its proof, and not two days in the field"]
    lines.append(f"against {report.against}")
    for name, drift in (("classes", report.classes), ("confidence", report.confidence)):
        if drift is not None:
            lines.append(
                f"{name:<11} {drift.mark.value:<8} score {drift.score:.3f}"
                f" (index {drift.raw:.3f}, chance {drift.chance:.3f}), {drift.frames} frames"
                + (f", most: {drift.largest}" if drift.largest else "")
            )
    return lines


def _first_week(
    bundle_digest: str, hours: HourStore, *, before: int, device_ids: Sequence[str] | None
) -> Expected | None:
    """What the bundle saw in its first week, of what lies before the hours that are judged."""
    first = hours.first_hour(bundle_digest)
    if first is None or before - first < RECENT_HOURS:
        return None
    until = min(first + _WEEK_HOURS, before) - 1
    seen = hours.histograms(bundle_digest, since=first, until=until, device_ids=device_ids)
    if not seen.frames:
        return None
    return Expected(
        classes=dict(seen.classes),
        confidence=tuple(map(float, seen.confidence)),
        source="its own first days in the field",
    )

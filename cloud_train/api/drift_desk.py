"""Drift of the bundles that devices run, as the API and its pages see it. Reads a sample of the fleet, rarely."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_train.api.count_desk import CountDesk
from cloud_train.api.kept import Aged, Kept
from cloud_train.fleet.assign import bucket
from cloud_train.fleet.drift import Drift
from cloud_train.fleet.drift_report import DriftReport, drift_report
from cloud_train.fleet.expected import Expected
from cloud_train.store.device_list import DeviceList
from cloud_train.store.hours import HourStore

FRESH_S = 300.0
STALE_S = 3600.0
MOST_BUNDLES = 5
MOST_DEVICES = 300
FindExpected = Callable[[str, str], Expected | None]


@dataclass(frozen=True, slots=True, kw_only=True)
class DriftLine:
    """One side of a bundle's drift.

    Attributes:
        by: `classes` or `confidence`.
        drift: How far it moved.
    """

    by: str
    drift: Drift


class DriftDesk:
    """Looks at the bundles that most devices run. Thread-safe; raises `StorageError`.

    Args:
        devices: Knows who runs what.
        counts: Knows which bundles most devices run.
        hours: What devices did.
        find_expected: What the proof of a bundle says, by channel and digest.
        channel: The channel of bundles that were published for none.
        in_background: Runs a function some time soon, on another thread.
    """

    def __init__(
        self,
        devices: DeviceList,
        counts: CountDesk,
        hours: HourStore,
        find_expected: FindExpected,
        *,
        channel: str,
        in_background: Callable[[Callable[[], None]], object],
    ) -> None:
        self._devices = devices
        self._counts = counts
        self._hours = hours
        self._find_expected = find_expected
        self._channel = channel
        self._kept: Kept[str, tuple[DriftReport, ...]] = Kept(
            self._gather, fresh_s=FRESH_S, stale_s=STALE_S, most=1, in_background=in_background
        )

    def reports(self, *, now: float) -> Aged[tuple[DriftReport, ...]]:
        """The bundles that most devices run, most first; waits while it is gathered for the first time."""
        return self._kept.get("", now=now)

    def reports_so_far(self, *, now: float) -> Aged[tuple[DriftReport, ...]] | None:
        """The same without a wait; None while it is gathered for the first time."""
        return self._kept.peek("", now=now)

    def _gather(self, _: str, now: float) -> tuple[DriftReport, ...]:
        found = self._counts.fleet(now=now).value.bundles
        digests = [one.bundle_digest for one in found if one.bundle_digest][:MOST_BUNDLES]
        return tuple(self._report(digest, now) for digest in digests)

    def _report(self, bundle_digest: str, now: float) -> DriftReport:
        channel = self._devices.bundle_channel(bundle_digest) or self._channel
        return drift_report(
            bundle_digest,
            self._hours,
            lambda: self._find_expected(channel, bundle_digest),
            now=now,
            device_ids=some_devices(self._devices.running(bundle_digest), most=MOST_DEVICES),
        )


def drift_sides(report: DriftReport) -> tuple[DriftLine, ...]:
    """What is known of a bundle's drift, classes first. Pure."""
    sides = (("classes", report.classes), ("confidence", report.confidence))
    return tuple(DriftLine(by=name, drift=drift) for name, drift in sides if drift is not None)


def some_devices(device_ids: Sequence[str], *, most: int) -> tuple[str, ...]:
    """Always the same of many devices, chosen by their hash. Pure.

    Args:
        device_ids: All of them.
        most: How many.
    """
    if len(device_ids) <= most:
        return tuple(device_ids)
    return tuple(sorted(device_ids, key=lambda device_id: (bucket(0, device_id), device_id))[:most])

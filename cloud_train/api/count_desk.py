"""Counts of all devices, kept for seconds: each reads the whole fleet, and many people look at the same ones."""

from __future__ import annotations

from collections.abc import Callable

from cloud_train.api.counts import FleetCounts, fleet_counts
from cloud_train.api.kept import Aged, Kept
from cloud_train.store.device_list import DeviceList
from cloud_train.store.device_rows import DeviceFilter

FRESH_S = 5.0
STALE_S = 30.0
_MOST_FILTERS = 256


class CountDesk:
    """Counts devices. Thread-safe; raises `StorageError`.

    Args:
        devices: Reads them.
        in_background: Runs a function some time soon, on another thread.
    """

    def __init__(self, devices: DeviceList, *, in_background: Callable[[Callable[[], None]], object]) -> None:
        self._fleet: Kept[str, FleetCounts] = Kept(
            lambda _, now: fleet_counts(devices.groups(now=now)),
            fresh_s=FRESH_S,
            stale_s=STALE_S,
            most=1,
            in_background=in_background,
        )
        self._totals: Kept[DeviceFilter, int] = Kept(
            lambda wanted, now: devices.count(wanted, now=now),
            fresh_s=FRESH_S,
            stale_s=STALE_S,
            most=_MOST_FILTERS,
            in_background=in_background,
        )

    def fleet(self, *, now: float) -> Aged[FleetCounts]:
        """Every device, counted, and when."""
        return self._fleet.get("", now=now)

    def total(self, wanted: DeviceFilter, *, now: float) -> Aged[int]:
        """How many devices a filter lets through, and when that was counted."""
        return self._totals.get(wanted, now=now)

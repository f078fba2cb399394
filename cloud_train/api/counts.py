"""The counts of the overview, out of the groups that the store tells apart. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from cloud_train.store.device_rows import SEEN_WITHIN_S, Group, Health


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleCount:
    """Devices that run one bundle.

    Attributes:
        bundle_digest: Empty for devices that run none.
        bundle_version: Its version, as the devices say.
        devices: How many.
    """

    bundle_digest: str
    bundle_version: int
    devices: int


@dataclass(frozen=True, slots=True, kw_only=True)
class FleetCounts:
    """Every device, counted.

    Attributes:
        devices: All of them.
        health: By how they are; every word is there.
        bundles: By what they run, most first; without those that were shut out.
        seen: By when they were last seen: within each of `SEEN_WITHIN_S` but no sooner one, and longer ago or never.
        outbox_pending: Entries that wait on all of them.
    """

    devices: int
    health: Mapping[Health, int]
    bundles: tuple[BundleCount, ...]
    seen: tuple[int, ...]
    outbox_pending: int


def fleet_counts(groups: Iterable[Group]) -> FleetCounts:
    """Adds up the groups of a fleet."""
    health: Counter[Health] = Counter()
    bundles: Counter[str] = Counter()
    versions: dict[str, int] = {}
    seen = [0] * (len(SEEN_WITHIN_S) + 1)
    waiting = 0
    for group in groups:
        health[group.health] += group.devices
        if group.health is not Health.REVOKED:
            bundles[group.bundle_digest] += group.devices
            versions[group.bundle_digest] = group.bundle_version
            seen[group.seen] += group.devices
        waiting += group.outbox_pending
    return FleetCounts(
        devices=health.total(),
        health={one: health[one] for one in Health},
        bundles=tuple(
            BundleCount(bundle_digest=digest, bundle_version=versions[digest], devices=number)
            for digest, number in bundles.most_common()
        ),
        seen=tuple(seen),
        outbox_pending=waiting,
    )

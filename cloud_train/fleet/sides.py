"""The two sides of a rollout: which devices have the new bundle, which the old. Pure."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass

from cloud_train.fleet.assign import arm, ring_finder
from cloud_train.fleet.health import Standing
from cloud_train.fleet_types import Rollout, RolloutKind
from cloud_train.store.roster import RosterDevice

MOST_SAMPLED = 500
"""Rates are taken over so many devices of a side, chosen by hash: more would hardly be more certain."""
_DAY_S = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Sides:
    """The devices that a rollout compares; pinned and held ones are on neither side.

    Attributes:
        new: Those that shall run the new bundle.
        old: Those that shall run the old one.
    """

    new: tuple[RosterDevice, ...]
    old: tuple[RosterDevice, ...]


def sides_of(rollout: Rollout, devices: Sequence[RosterDevice]) -> Sides:
    """Who is on which side now."""
    free = [device for device in devices if not (device.member.pinned or device.member.held)]
    if rollout.kind is RolloutKind.AB:
        arms = [(arm(device.member, rollout), device) for device in free]
        return Sides(
            new=tuple(device for name, device in arms if name == "B"),
            old=tuple(device for name, device in arms if name == "A"),
        )
    find, new, old = ring_finder(rollout), [], []
    for device in free:
        first = find(device.member)
        (new if first is not None and first <= rollout.ring else old).append(device)
    return Sides(new=tuple(new), old=tuple(old))


def standing_of(
    devices: Sequence[RosterDevice], bundle_digest: str, *, since: float, now: float, silent_s: float
) -> Standing:
    """What the check-ins of one side say.

    Args:
        devices: Of the side.
        bundle_digest: Its bundle.
        since: When the side was made what it is.
        now: Seconds since the epoch, UTC.
        silent_s: A device that has not checked in for so long fell silent.
    """
    failed = sum(bundle_digest in device.rejected for device in devices)
    runs = sum(device.bundle_digest == bundle_digest and bundle_digest not in device.rejected for device in devices)
    seen = [device for device in devices if device.last_seen >= since]
    return Standing(
        tried=failed + runs,
        failed=failed,
        seen=len(seen),
        silent=sum(device.last_seen < now - silent_s for device in seen),
        due=sum(device.last_seen >= now - _DAY_S for device in devices),
    )


def sampled(rollout: Rollout, devices: Sequence[RosterDevice], *, most: int = MOST_SAMPLED) -> tuple[str, ...]:
    """Names of some devices, the same for every look at a rollout; all of them where they are few."""
    names = [device.member.device_id for device in devices]
    if len(names) <= most:
        return tuple(names)

    def place(name: str) -> bytes:
        return hashlib.blake2b(f"sample {rollout.rollout_id}: {name}".encode(), digest_size=8).digest()

    return tuple(sorted(names, key=place)[:most])

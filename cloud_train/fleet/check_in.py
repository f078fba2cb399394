"""A device reports and is told what to run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from cloud_train.fleet.assign import assign
from cloud_train.fleet_types import Member
from cloud_train.store.check_ins import CheckInRecord, CheckInStore, Known
from cloud_train.types import DeviceRecord
from edge.sync.types import BundleHour, DeviceStatus, Directive

_HOUR_S = 3600.0
OLDEST_HOURS = 30 * 24
"""Statistics of hours longer ago than this are not taken."""
NEWEST_HOURS = 24
"""Nor of hours further ahead than this, which a wrong clock makes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Channel:
    """What is signed for a channel.

    Attributes:
        settled: Digest of what it offers to everybody, empty for nothing yet.
        offered: Every digest that may be named to a device.
        again: Of those that were offered again after a rollback, the number of the rollout that was rolled back.
    """

    settled: str = ""
    offered: frozenset[str] = frozenset()
    again: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInRules:
    """How check-ins are answered.

    Attributes:
        channel: For members that name none.
        check_in_s: Seconds until the next.
    """

    channel: str
    check_in_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInParts:
    """What a check-in is answered with.

    Attributes:
        store: Where it is written down.
        read_channel: What is signed for a channel.
        rules: How to answer.
    """

    store: CheckInStore
    read_channel: Callable[[str], Channel]
    rules: CheckInRules


def check_in(status: DeviceStatus, parts: CheckInParts, *, now: float, takes_strangers: bool = False) -> Directive:
    """Writes down how a device fares and tells it which bundle to run; one transaction. Blocking.

    Args:
        status: What the device says.
        parts: What it is answered with.
        now: Seconds since the epoch, UTC.
        takes_strangers: Whether a device that nobody let in becomes a member: on a plaintext port of this machine.

    Raises:
        StorageError: The database or the signed metadata failed; nothing was written down.
    """
    rules = parts.rules
    answered = parts.store.check_in(
        status.device_id,
        lambda known: record_of(status, known, now=now, takes_strangers=takes_strangers),
        channel=rules.channel,
    )
    member = answered.member or Member(device_id=status.device_id)
    name = member.channel or rules.channel
    channel = parts.read_channel(name)
    rollouts = () if answered.rollout is None else (answered.rollout,)
    assigned = assign(member, status, rollouts, channel.settled, channel.offered)
    return Directive(
        channel=name,
        bundle_digest=assigned.bundle_digest,
        check_in_s=rules.check_in_s,
        update_windows=member.update_windows,
    )


def record_of(status: DeviceStatus, known: Known, *, now: float, takes_strangers: bool = False) -> CheckInRecord:
    """What is written down of a check-in. Pure."""
    hours = sound_hours(status.hours, now=now)
    dropped = len(status.hours) - len(hours)
    note = (
        f"{dropped} hours of statistics were not taken: they are too old, in the future, or make no sense"
        if dropped
        else ""
    )
    stranger = Member(device_id=status.device_id, enrolled_at=now) if takes_strangers else None
    return CheckInRecord(
        device=device_of(status, now=now, note=note),
        hours=hours,
        crashes=crashes_of(status, known.device),
        stranger=stranger,
    )


def device_of(status: DeviceStatus, *, now: float, note: str = "") -> DeviceRecord:
    """A device as the list shows it.

    Args:
        status: What it says.
        now: Seconds since the epoch, UTC.
        note: What the server noticed, told where the device has no trouble of its own.
    """
    return DeviceRecord(
        device_id=status.device_id,
        last_seen=now,
        bundle_digest=status.bundle_digest,
        bundle_version=status.bundle_version,
        frames=status.frames,
        last_error=status.last_error or note,
        software=status.software,
        platform=status.platform,
        outbox_pending=status.outbox_pending,
        outbox_bytes=status.outbox_bytes,
        outbox_parked=status.outbox_parked,
        starts=status.starts,
        unclean_starts=status.unclean_starts,
        on_trial=status.on_trial,
        rejected=status.rejected,
        clock_skew_s=round(status.clock - now, 3) if status.clock else 0.0,
        latency_p50_ms=status.latency_p50_ms,
    )


def sound_hours(hours: tuple[BundleHour, ...], *, now: float) -> tuple[BundleHour, ...]:
    """Those that can be true: at most a day ahead, at most thirty days ago, no more outcomes than frames."""
    present = int(now // _HOUR_S)
    return tuple(
        hour
        for hour in hours
        if present - OLDEST_HOURS <= hour.hour <= present + NEWEST_HOURS
        and hour.accepted + hour.confirmed + hour.unknown <= hour.frames
    )


def crashes_of(status: DeviceStatus, before: DeviceRecord | None) -> dict[str, int]:
    """Unclean starts since the check-in before, by the bundle that is to blame.

    That is a bundle that the device has given up since, else the one that it runs. Without a check-in before, or after
    a device began to count anew, nothing is known.
    """
    more = status.unclean_starts - before.unclean_starts if before is not None else 0
    if before is None or more <= 0:
        return {}
    given_up = [digest for digest in status.rejected if digest not in before.rejected]
    blamed = given_up[-1] if given_up else status.bundle_digest
    return {blamed: more} if blamed else {}

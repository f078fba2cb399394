"""Which bundle a device shall run. Pure: what people decided, what the device said, and the rollout of its channel."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from cloud_train.fleet_types import Member, Rollout, RolloutKind, RolloutState
from edge.sync.types import DeviceStatus

BUCKETS = 10_000
"""A device falls into one of so many buckets of a rollout, so that a percent has two decimals."""
_MOVING = (RolloutState.RUNNING, RolloutState.PAUSED)


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """The bundle of one device.

    Attributes:
        bundle_digest: What it shall run, empty for no wish.
        reason: Why, in a few words, for people.
    """

    bundle_digest: str
    reason: str


def assign(
    member: Member,
    status: DeviceStatus,
    rollouts: Iterable[Rollout],
    settled_digest: str,
    offered: frozenset[str],
) -> Assignment:
    """Names the bundle that a device shall run.

    In this order: a device that was shut out gets none; a pin is obeyed; a held device stays on what it runs; then its
    place in the newest rollout of its channel decides; without one, what the channel has settled on. A bundle that is
    not signed for the channel is never named, for no device would take it.

    Args:
        member: What people decided about the device.
        status: What it said last.
        rollouts: Of its channel, in any order; the newest counts.
        settled_digest: What the channel offers to everybody, empty for nothing yet.
        offered: Every digest that is signed for the channel.
    """
    if member.revoked_at is not None:
        return Assignment(bundle_digest="", reason="revoked")
    if member.pinned:
        return Assignment(bundle_digest=member.pinned, reason="pinned")
    if member.held and status.bundle_digest:
        return Assignment(bundle_digest=status.bundle_digest, reason="held")
    newest = max(rollouts, key=lambda rollout: rollout.rollout_id, default=None)
    settled = Assignment(bundle_digest=settled_digest, reason="the channel's")
    if newest is None or _is_overtaken(newest, settled_digest):
        return settled
    wanted = _of_rollout(member, status, newest)
    return wanted if wanted.bundle_digest in offered or not wanted.bundle_digest else settled


def bucket(rollout_id: int, device_id: str) -> int:
    """The bucket of a device in a rollout, 0 to `BUCKETS` - 1: the same for ever, another in every rollout."""
    digest = hashlib.sha256(f"rollout {rollout_id}: {device_id}".encode()).digest()
    return int.from_bytes(digest[:8]) % BUCKETS


def ring_finder(rollout: Rollout) -> Callable[[Member], int | None]:
    """What tells the first ring of a rollout that holds a device, from 0, or None; made once for many devices."""
    rings = [(round(ring.percent * BUCKETS / 100), ring.labels.items()) for ring in rollout.plan.rings]

    def find(member: Member) -> int | None:
        place = bucket(rollout.rollout_id, member.device_id)
        for number, (bound, labels) in enumerate(rings):
            if place < bound or (labels and labels <= member.labels.items()):
                return number
        return None

    return find


def is_in_ring(member: Member, rollout: Rollout) -> bool:
    """Whether the present ring of a rollout, or one before it, holds a device."""
    first = ring_finder(rollout)(member)
    return first is not None and first <= rollout.ring


def arm(member: Member, rollout: Rollout) -> str:
    """`A`, `B`, or nothing for a device that takes no part in an A/B comparison.

    The share of the first ring takes part; each half of it gets one bundle. Raising the share moves nobody from one
    bundle to the other.
    """
    if not is_in_ring(member, rollout):
        return ""
    half = hashlib.sha256(f"arm {rollout.rollout_id}: {member.device_id}".encode()).digest()[0]
    return "A" if half < 128 else "B"


def _of_rollout(member: Member, status: DeviceStatus, rollout: Rollout) -> Assignment:
    name = f"rollout {rollout.rollout_id}"
    new = Assignment(bundle_digest=rollout.bundle_digest, reason=f"{name}, ring {rollout.ring + 1}")
    base = Assignment(bundle_digest=rollout.base_digest, reason=f"{name}, not yet")
    if rollout.bundle_digest in status.rejected:
        return Assignment(bundle_digest=rollout.base_digest, reason=f"{name}: the new bundle failed here")
    match rollout.state:
        case RolloutState.DONE:
            done = rollout.base_digest if rollout.kind is RolloutKind.AB else rollout.bundle_digest
            return Assignment(bundle_digest=done, reason=f"{name}, done")
        case RolloutState.ROLLED_BACK:
            return Assignment(bundle_digest=rollout.base_digest, reason=f"{name}, rolled back")
        case RolloutState.HALTED:
            stays = status.bundle_digest == rollout.bundle_digest and not rollout.plan.limits.roll_back
            return new if stays else Assignment(bundle_digest=rollout.base_digest, reason=f"{name}, halted")
    if rollout.kind is RolloutKind.AB:
        side = arm(member, rollout)
        return Assignment(
            bundle_digest=new.bundle_digest if side == "B" else base.bundle_digest,
            reason=f"{name}, {side or 'not in it'}",
        )
    return new if is_in_ring(member, rollout) else base


def _is_overtaken(rollout: Rollout, settled_digest: str) -> bool:
    """Whether something else was published on the channel since an ended rollout."""
    return rollout.state not in (*_MOVING, RolloutState.HALTED) and settled_digest not in (
        rollout.bundle_digest,
        rollout.base_digest,
    )

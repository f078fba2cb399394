"""What people do to rollouts: start, advance, pause, resume, halt, roll back; each with its line in the audit."""

from __future__ import annotations

import enum
from collections.abc import Callable
from dataclasses import replace

from cloud_train.errors import RolloutError
from cloud_train.fleet_types import AuditEntry, Rollout, RolloutKind, RolloutPlan, RolloutState
from cloud_train.store.rollouts import RolloutStore
from edge.errors import UsageError


class Act(enum.Enum):
    """What a person does to a rollout that is there."""

    ADVANCE = "advance"
    PAUSE = "pause"
    RESUME = "resume"
    HALT = "halt"
    ROLLBACK = "rollback"
    FINISH = "finish"


_ALLOWED = {
    Act.ADVANCE: (RolloutState.RUNNING, RolloutState.PAUSED),
    Act.PAUSE: (RolloutState.RUNNING,),
    Act.RESUME: (RolloutState.PAUSED, RolloutState.HALTED),
    Act.HALT: (RolloutState.RUNNING, RolloutState.PAUSED),
    Act.ROLLBACK: (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.HALTED, RolloutState.DONE),
    Act.FINISH: (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.HALTED),
}


def start(rollout: Rollout, store: RolloutStore, *, who: str) -> Rollout:
    """Records a new rollout.

    Raises:
        RolloutError: Another one has the channel.
        UsageError: The plan makes no sense.
    """
    check_plan(rollout.plan)
    if rollout.bundle_digest == rollout.base_digest:
        raise UsageError("this bundle is what the channel offers already", hint="nothing needs to be rolled out")
    detail = {"bundle": rollout.bundle_digest, "base": rollout.base_digest, "channel": rollout.channel}
    action = "rollout.ab_started" if rollout.kind is RolloutKind.AB else "rollout.started"
    entry = AuditEntry(at=rollout.started_at, who=f"person:{who}", action=action, subject="", detail=detail)
    return store.start(rollout, entry)


def act(
    rollout_id: int,
    what: Act,
    store: RolloutStore,
    *,
    who: str,
    now: float,
    reason: str = "",
    settled_of: Callable[[str], str] = lambda channel: "",
) -> Rollout:
    """Does something to a rollout.

    Args:
        rollout_id: Which.
        what: What to do.
        store: Where rollouts are.
        who: The person, for the audit.
        now: Seconds since the epoch, UTC.
        reason: In the person's words.
        settled_of: The digest that a channel has settled on, empty for none.

    Returns:
        How it stands now.

    Raises:
        RolloutError: There is none of that number, it cannot be done where it stands, or it changed meanwhile.
    """
    before = store.rollout(rollout_id)
    if before is None:
        raise RolloutError(f"there is no rollout {rollout_id}", hint="see edgeloop rollout list")
    is_done = before.state is RolloutState.DONE
    if what is Act.ROLLBACK and is_done and settled_of(before.channel) == before.bundle_digest:
        raise RolloutError(
            f"the bundle of rollout {rollout_id} is what channel {before.channel} offers by now",
            hint="publish the old one again: edgeloop publish BUNDLE --downgrade",
        )
    after = moved(before, what, now=now, reason=reason or f"by {who}")
    detail = {"bundle": before.bundle_digest, "channel": before.channel, "ring": str(after.ring + 1), "reason": reason}
    action = f"rollout.{what.value}"
    entry = AuditEntry(at=now, who=f"person:{who}", action=action, subject=f"rollout:{rollout_id}", detail=detail)
    if not store.change(before, after, entry):
        raise RolloutError(f"rollout {rollout_id} changed at this very moment", hint="look at it and try again")
    return after


def moved(rollout: Rollout, what: Act, *, now: float, reason: str) -> Rollout:
    """A rollout after an act. Pure.

    Raises:
        RolloutError: It cannot be done where it stands.
    """
    state = rollout.state
    if state not in _ALLOWED[what] or (what is Act.ADVANCE and rollout.kind is RolloutKind.AB):
        raise RolloutError(
            f"rollout {rollout.rollout_id} is {state.value.replace('_', ' ')} and cannot {what.value}",
            hint="start another one with edgeloop rollout start" if rollout.ended_at else "see edgeloop rollout show",
        )
    match what:
        case Act.ADVANCE if rollout.ring + 1 < len(rollout.plan.rings):
            return replace(rollout, ring=rollout.ring + 1, ring_since=now, reason=reason)
        case Act.ADVANCE | Act.FINISH:
            return replace(rollout, state=RolloutState.DONE, ended_at=now, reason=reason)
        case Act.PAUSE:
            return replace(rollout, state=RolloutState.PAUSED, reason=reason)
        case Act.RESUME:
            return replace(rollout, state=RolloutState.RUNNING, ring_since=now, reason=reason)
        case Act.HALT:
            return replace(rollout, state=RolloutState.HALTED, reason=reason)
        case Act.ROLLBACK:
            return replace(rollout, state=RolloutState.ROLLED_BACK, ended_at=now, reason=reason)


def check_plan(plan: RolloutPlan) -> None:
    """Checks that rings grow and end with everybody, and that numbers are in range.

    Raises:
        UsageError: Names what is wrong.
    """
    if not plan.rings:
        raise UsageError("a rollout needs at least one ring", hint="for instance --rings 1,10,50,100")
    percents = [ring.percent for ring in plan.rings]
    if any(not 0 <= percent <= 100 for percent in percents):
        raise UsageError(f"the rings {percents} are not between 0 and 100 percent")
    if percents != sorted(percents):
        raise UsageError(f"the rings {percents} do not grow", hint="for instance --rings 1,10,50,100")
    for ring in plan.rings:
        if ring.min_minutes < 0 or ring.max_minutes < ring.min_minutes or min(ring.min_devices, ring.min_frames) < 0:
            raise UsageError(
                "times and numbers of a ring must not be negative", hint="check --min-minutes and the like"
            )

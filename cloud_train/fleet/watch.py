"""Looks after running rollouts: gathers how both bundles fare, asks the rule, writes what follows.

Safe with several server processes: a rollout is changed only as long as it is as it was read, in one transaction with
the audit.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Any

from cloud_train.fleet.check_in import Channel
from cloud_train.fleet.health import BundleHealth, new_health, old_health, with_changes
from cloud_train.fleet.rollout import Action, Check, Verdict, checks_of, judge
from cloud_train.fleet.sides import Sides, sampled, sides_of, standing_of
from cloud_train.fleet_types import AuditEntry, Rollout, RolloutKind, RolloutState
from cloud_train.store.hours import HourFigures, HourStore
from cloud_train.store.rollouts import RolloutStore
from cloud_train.store.roster import Roster
from edge.errors import EdgeloopError

_logger = logging.getLogger(__name__)

INTERVAL_S = 15.0
"""Between two looks."""
WINDOW_HOURS = 24
"""Statistics of the last day at most: what was before says little about now."""
BEFORE_HOURS = 24
"""What the devices did with the old bundle so long before the rollout is looked at beside."""
_ENOUGH_OLD = 30
_NEWEST = 50
_HOUR_S = 3600.0
_DAY_S = 86_400.0
_FORGET_AFTER_HOURS = 35 * 24


@dataclass(frozen=True, slots=True, kw_only=True)
class WatchParts:
    """What the watch works with.

    Attributes:
        rollouts: Where rollouts are.
        hours: What bundles did.
        roster: The devices.
        default_channel: The channel of members that name none.
        silent_s: A device that has not checked in for so long fell silent.
        read_channel: What is signed for a channel.
        settle: Makes the bundle of a finished rollout the channel's, and withdraws that of one that was rolled back;
            None where the keys are elsewhere.
    """

    rollouts: RolloutStore
    hours: HourStore
    roster: Roster
    default_channel: str
    silent_s: float = 900.0
    read_channel: Callable[[str], Channel] = lambda name: Channel()
    settle: Callable[[Rollout], None] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Findings:
    """What a look at a rollout found.

    Attributes:
        rollout: As it stood.
        sides: Who has which bundle.
        new: How the new bundle fares.
        old: How the old one does.
        checks: Every figure against its limit.
        verdict: What the rule says.
    """

    rollout: Rollout
    sides: Sides
    new: BundleHealth
    old: BundleHealth
    checks: tuple[Check, ...]
    verdict: Verdict


def look(rollout: Rollout, parts: WatchParts, *, now: float) -> Findings:
    """Gathers how both bundles of a rollout fare, and asks the rule. Changes nothing."""
    devices = parts.roster.devices(rollout.channel, is_default=rollout.channel == parts.default_channel)
    sides = sides_of(rollout, devices)
    since, until = _window(rollout, now)
    new_names, old_names = sampled(rollout, sides.new), sampled(rollout, sides.old)
    new_rows = parts.hours.figures(rollout.bundle_digest, new_names, since=since, until=until)
    before = _rows_before(rollout, new_names, parts, until=until)
    new_standing, old_standing = (
        standing_of(side, digest, since=rollout.ring_since, now=now, silent_s=parts.silent_s)
        for side, digest in ((sides.new, rollout.bundle_digest), (sides.old, rollout.base_digest))
    )
    begun = int(rollout.started_at // _HOUR_S)
    new = with_changes(
        new_health(new_rows, new_standing, before=before), new_rows, [row for row in before if row.hour < begun]
    )
    old_rows = _old_rows(rollout, old_names, parts, since=since, until=until)
    earlier = _old_rows(rollout, old_names, parts, since=begun - BEFORE_HOURS, until=begun - 1)
    old = with_changes(old_health(old_rows, old_standing, beside=new_rows), old_rows, earlier)
    if old.devices < min(_ENOUGH_OLD, new.devices) and rollout.kind is RolloutKind.ROLLOUT:
        old = old_health(before, old_standing, beside=new_rows, of_day=True) if before else old
    return Findings(
        rollout=rollout,
        sides=sides,
        new=new,
        old=old,
        checks=tuple(checks_of(rollout.plan.limits, new, old)),
        verdict=judge(rollout, new, old, now),
    )


def watch_once(parts: WatchParts, *, now: float) -> tuple[Findings, ...]:
    """Looks at every running rollout once, and does what the rule says.

    Doing it twice, or in two processes at once, changes nothing more.

    Raises:
        StorageError: The database failed.
    """
    found = []
    for rollout in parts.rollouts.running():
        findings = look(rollout, parts, now=now)
        after = following(rollout, findings.verdict, now=now)
        if after is not None and parts.rollouts.change(rollout, after, entry_of(after, findings.verdict, now=now)):
            _logger.warning("rollout %d: %s", after.rollout_id, after.reason)
        found.append(findings)
    settle_ended(parts)
    return tuple(found)


def settle_ended(parts: WatchParts) -> None:
    """Lets the signed metadata follow the newest rollout of each channel, if they have not yet and the keys are here.

    Tried again at every look, so that a process that died between the two leaves nothing undone for long.
    """
    newest: dict[str, Rollout] = {}
    for rollout in parts.rollouts.rollouts(limit=_NEWEST) if parts.settle is not None else ():
        newest.setdefault(rollout.channel, rollout)
    for rollout in newest.values():
        if parts.settle is not None and is_unsettled(rollout, parts.read_channel(rollout.channel)):
            try:
                parts.settle(rollout)
            except EdgeloopError as error:
                _logger.warning("rollout %d waits for the publisher: %s", rollout.rollout_id, error)


def is_unsettled(rollout: Rollout, channel: Channel) -> bool:
    """Whether the signed metadata of a channel have yet to follow a rollout that has ended."""
    is_offered = rollout.bundle_digest in channel.offered and rollout.bundle_digest != channel.settled
    is_replaced = (
        rollout.state is RolloutState.DONE
        and rollout.kind is RolloutKind.ROLLOUT
        and channel.settled in ("", rollout.base_digest)  # else something else was published since
    )
    is_taken_back = (
        rollout.state is RolloutState.ROLLED_BACK
        and channel.again.get(rollout.bundle_digest, 0) < rollout.rollout_id  # else somebody has offered it again since
    )
    return is_offered and (is_replaced or is_taken_back)


def following(rollout: Rollout, verdict: Verdict, *, now: float) -> Rollout | None:
    """The next state of a rollout by a verdict, None for the same. Pure."""
    match verdict.action:
        case Action.WAIT:
            return None
        case Action.ADVANCE:
            return replace(rollout, ring=rollout.ring + 1, ring_since=now, reason=verdict.reason)
        case Action.FINISH:
            return replace(rollout, state=RolloutState.DONE, ended_at=now, reason=verdict.reason)
    if rollout.plan.limits.roll_back:
        return replace(rollout, state=RolloutState.ROLLED_BACK, ended_at=now, reason=verdict.reason)
    return replace(rollout, state=RolloutState.HALTED, reason=verdict.reason)


def entry_of(after: Rollout, verdict: Verdict, *, now: float, who: str = "server") -> AuditEntry:
    """What the audit says of a change."""
    word = {RolloutState.ROLLED_BACK: "rolled_back", RolloutState.DONE: "finished", RolloutState.HALTED: "halted"}
    detail = {"bundle": after.bundle_digest, "channel": after.channel, "ring": str(after.ring + 1)}
    return AuditEntry(
        at=now,
        who=who,
        action=f"rollout.{word.get(after.state, 'advanced')}",
        subject=f"rollout:{after.rollout_id}",
        detail={**detail, "reason": verdict.reason},
    )


@asynccontextmanager
async def watching(
    parts: WatchParts,
    *,
    clock: Callable[[], float],
    in_thread: Callable[..., asyncio.Future[Any]],
) -> AsyncIterator[None]:
    """Runs `watch` beside the block, and ends it with the block."""
    task = asyncio.create_task(watch(parts, interval_s=INTERVAL_S, clock=clock, in_thread=in_thread))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def watch(
    parts: WatchParts,
    *,
    interval_s: float,
    clock: Callable[[], float],
    in_thread: Callable[..., asyncio.Future[Any]],
) -> None:
    """Looks again and again until it is cancelled; a look that fails is logged, and the next one tries again.

    Args:
        parts: What it works with.
        interval_s: Seconds between two looks.
        clock: Seconds since the epoch, UTC.
        in_thread: Runs a blocking function on a worker thread.
    """
    forgotten_at = 0.0
    while True:
        now = clock()
        try:
            await in_thread(lambda now=now: watch_once(parts, now=now))
            if now - forgotten_at >= _DAY_S:
                forgotten_at = now
                before = int(now // _HOUR_S) - _FORGET_AFTER_HOURS
                await in_thread(lambda before=before: parts.hours.forget(before=before))
        except EdgeloopError as error:
            _logger.error("rollouts: %s", error)
        except Exception:  # what nobody thought of must not be the last look
            _logger.exception("rollouts: a look failed")
        await asyncio.sleep(interval_s)


def _window(rollout: Rollout, now: float) -> tuple[int, int]:
    begun = rollout.started_at if rollout.kind is RolloutKind.AB else rollout.ring_since
    present = int(now // _HOUR_S)
    return max(int(begun // _HOUR_S), present - WINDOW_HOURS + 1), present + 1


def _old_rows(
    rollout: Rollout, names: tuple[str, ...], parts: WatchParts, *, since: int, until: int
) -> tuple[HourFigures, ...]:
    if not rollout.base_digest:
        return ()
    return parts.hours.figures(rollout.base_digest, names, since=since, until=until)


def _rows_before(rollout: Rollout, names: tuple[str, ...], parts: WatchParts, *, until: int) -> tuple[HourFigures, ...]:
    """What the devices that have the new bundle now did with the old one before they got it."""
    begun = int(rollout.started_at // _HOUR_S)
    if not rollout.base_digest:
        return ()
    return parts.hours.figures(rollout.base_digest, names, since=begun - BEFORE_HOURS, until=until)

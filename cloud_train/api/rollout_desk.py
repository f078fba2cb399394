"""Rollouts as the API and its pages see them: where each stands, how far it is, how both bundles fare."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from cloud_train.api.kept import Aged, Kept
from cloud_train.api.rollout_figures import Difference, Figure, differences_of, figures_of
from cloud_train.errors import RolloutError
from cloud_train.fleet.ab_report import AbReport, ab_report
from cloud_train.fleet.acts import Act, act
from cloud_train.fleet.assign import ring_finder
from cloud_train.fleet.watch import Findings, WatchParts, is_unsettled, look
from cloud_train.fleet_types import Rollout, RolloutKind
from cloud_train.store.answered import AnsweredSamples
from cloud_train.store.roster import RosterDevice

FRESH_S = 10.0
"""Findings so old are shown, and gathered again behind the page."""
STALE_S = 60.0
"""Findings older than this are gathered again before they are shown."""
_MOST_KEPT = 32


@dataclass(frozen=True, slots=True, kw_only=True)
class RingView:
    """One ring, as it stands.

    Attributes:
        number: From 1.
        percent: Share of the channel's devices that it reaches, 0 to 100.
        labels: Devices that belong to it whatever the share.
        devices: Devices that it and the rings before it hold.
        on_new: Of these, those that run the new bundle.
        is_present: Whether the rollout is in it.
        is_reached: Whether the rollout is in it or beyond.
    """

    number: int
    percent: float
    labels: dict[str, str]
    devices: int
    on_new: int
    is_present: bool
    is_reached: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckView:
    """One figure against its limit.

    Attributes:
        mark: `fine`, `doubt`, `leaning` or `bad`.
        line: The figures.
    """

    mark: str
    line: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutView:
    """How a rollout goes.

    Attributes:
        rollout: Where it stands.
        at: When the devices were counted and the figures gathered, seconds since the epoch.
        rings: In their order.
        devices: Devices of the channel that have checked in and follow it freely.
        figures: New against old.
        checks: Figures against their limits.
        next_action: What the rule said then: `advance`, `wait`, `halt` or `finish`.
        next_reason: Why.
        waits_for_publisher: Whether the signed metadata have yet to follow the end of it.
        differences: Of an A/B comparison, B against A; empty for a rollout.
        notes: What to know before believing them.
    """

    rollout: Rollout
    at: float
    rings: tuple[RingView, ...]
    devices: int
    figures: tuple[Figure, ...]
    checks: tuple[CheckView, ...]
    next_action: str
    next_reason: str
    waits_for_publisher: bool
    differences: tuple[Difference, ...] = ()
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class _Counted:
    """What was found; gathering it reads the whole channel."""

    findings: Findings
    rings: tuple[tuple[int, int], ...]
    report: AbReport | None


class RolloutDesk:
    """Looks at rollouts and moves them. Thread-safe; raises `StorageError`.

    Gathering how a rollout goes reads every device of its channel. What was gathered is kept for a moment, so that many
    people may watch a rollout; where it stands is always read anew.

    Args:
        parts: What the watch over rollouts works with.
        answers: What people answered, for A/B comparisons.
        in_background: Runs a function some time soon, on another thread.
    """

    def __init__(
        self,
        parts: WatchParts,
        *,
        answers: AnsweredSamples,
        in_background: Callable[[Callable[[], None]], object],
    ) -> None:
        self._parts = parts
        self._answers = answers
        self._kept: Kept[int, _Counted] = Kept(
            self._gather, fresh_s=FRESH_S, stale_s=STALE_S, most=_MOST_KEPT, in_background=in_background
        )

    def newest(self, *, limit: int) -> tuple[Rollout, ...]:
        """The newest, newest first."""
        return self._parts.rollouts.rollouts(limit=limit)

    def find(self, rollout_id: int) -> Rollout | None:
        """One."""
        return self._parts.rollouts.rollout(rollout_id)

    def act(self, rollout_id: int, what: Act, *, who: str, now: float, reason: str) -> Rollout:
        """Does something to one; the audit says who and why.

        Raises:
            RolloutError: It cannot be done where the rollout stands.
        """
        return act(
            rollout_id,
            what,
            self._parts.rollouts,
            who=who,
            now=now,
            reason=reason,
            settled_of=lambda channel: self._parts.read_channel(channel).settled,
        )

    def view(self, rollout: Rollout, *, now: float) -> RolloutView:
        """How one goes, by what its devices have said."""
        counted = self._kept.get(rollout.rollout_id, now=now)
        waits = is_unsettled(rollout, self._parts.read_channel(rollout.channel))
        return _view(rollout, counted, waits=waits)

    def _gather(self, rollout_id: int, now: float) -> _Counted:
        rollout = self._parts.rollouts.rollout(rollout_id)
        if rollout is None:
            raise RolloutError(f"there is no rollout {rollout_id}")
        findings = look(rollout, self._parts, now=now)
        devices = (*findings.sides.new, *findings.sides.old)
        compares = rollout.kind is RolloutKind.AB
        report = ab_report(rollout, self._parts, self._answers, now=now) if compares else None
        return _Counted(findings=findings, rings=count_rings(rollout, devices), report=report)


def count_rings(rollout: Rollout, devices: Sequence[RosterDevice]) -> tuple[tuple[int, int], ...]:
    """For each ring: devices that it and those before it hold, and how many of these run the new bundle. Pure."""
    find, counts = ring_finder(rollout), [[0, 0] for _ in rollout.plan.rings]
    for device in devices:
        first = find(device.member)
        if first is not None:
            counts[first][0] += 1
            counts[first][1] += device.bundle_digest == rollout.bundle_digest
    sums, held, on_new = [], 0, 0
    for more, runs in counts:
        held, on_new = held + more, on_new + runs
        sums.append((held, on_new))
    return tuple(sums)


def _view(rollout: Rollout, aged: Aged[_Counted], *, waits: bool) -> RolloutView:
    counted, findings = aged.value, aged.value.findings
    rings = tuple(
        RingView(
            number=number + 1,
            percent=ring.percent,
            labels=ring.labels,
            devices=held,
            on_new=on_new,
            is_present=number == rollout.ring,
            is_reached=number <= rollout.ring,
        )
        for number, (ring, (held, on_new)) in enumerate(zip(rollout.plan.rings, counted.rings, strict=True))
    )
    return RolloutView(
        rollout=rollout,
        at=aged.at,
        rings=rings,
        devices=len(findings.sides.new) + len(findings.sides.old),
        figures=figures_of(findings.old, findings.new),
        checks=tuple(CheckView(mark=check.mark.value, line=check.line) for check in findings.checks),
        next_action=findings.verdict.action.value,
        next_reason=findings.verdict.reason,
        waits_for_publisher=waits,
        differences=differences_of(counted.report) if counted.report is not None else (),
        notes=counted.report.notes if counted.report is not None else (),
    )

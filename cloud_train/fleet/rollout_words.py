"""Rollouts in words, for the terminal."""

from __future__ import annotations

import time
from typing import Any

from cloud_train.fleet.watch import Findings
from cloud_train.fleet_types import Ring, Rollout, RolloutKind, RolloutState


def rollout_line(rollout: Rollout) -> str:
    """One rollout in one line."""
    kind = "A/B" if rollout.kind is RolloutKind.AB else "rollout"
    place = f"ring {rollout.ring + 1} of {len(rollout.plan.rings)} ({_ring(rollout.plan.rings[rollout.ring])})"
    reason = f": {rollout.reason}" if rollout.reason else ""
    return (
        f"{kind} {rollout.rollout_id} on {rollout.channel}: {rollout.base_digest[:12] or 'nothing'} to"
        f" {rollout.bundle_digest[:12]}, {_state(rollout)}, {place}{reason}"
    )


def findings_lines(findings: Findings, *, waits: bool, now: float) -> list[str]:
    """How a rollout goes.

    Args:
        findings: What a look has found.
        waits: Whether the signed metadata have yet to follow.
        now: Seconds since the epoch, UTC.
    """
    rollout, new, old = findings.rollout, findings.new, findings.old
    begun = time.strftime("%Y-%m-%d %H:%M", time.gmtime(rollout.started_at))
    minutes = (now - rollout.ring_since) / 60
    lines = [
        rollout_line(rollout),
        f"started {begun} UTC by {rollout.made_by or '?'}; in this ring for {minutes:.0f} minutes",
        f"devices {len(findings.sides.new)} shall have the new bundle, {len(findings.sides.old)} the old one;"
        f" {new.standing.tried} tried the new one",
        f"frames  {new.frames} on {new.devices} devices with the new bundle, {old.frames} on {old.devices} with the"
        " old",
        *(f"  {check.mark.value:<8}{check.line}" for check in findings.checks),
    ]
    if rollout.ended_at is None:
        lines.append(f"next    {findings.verdict.action.value}: {findings.verdict.reason}")
    if waits:
        lines.append(waiting_line(rollout))
    return lines


def waiting_line(rollout: Rollout) -> str:
    """What the publisher has yet to do."""
    verb = "promote" if rollout.state is RolloutState.DONE else "withdraw"
    return (
        f"{_state(rollout)}, waiting for the publisher: run `edgeloop publish {verb} {rollout.bundle_digest[:12]}"
        f" --channel {rollout.channel}`"
    )


def findings_value(findings: Findings, *, waits: bool) -> dict[str, Any]:
    """The same as a value for JSON."""
    return {
        "rollout": findings.rollout,
        "devices": {"new": len(findings.sides.new), "old": len(findings.sides.old)},
        "checks": [{"mark": check.mark.value, "line": check.line} for check in findings.checks],
        "next": {"action": findings.verdict.action.value, "reason": findings.verdict.reason},
        "waits_for_publisher": waits,
    }


def _ring(ring: Ring) -> str:
    labels = ", ".join(f"{key}={value}" for key, value in sorted(ring.labels.items()))
    return labels if labels and not ring.percent else f"{ring.percent:g} %" + (f" and {labels}" if labels else "")


def _state(rollout: Rollout) -> str:
    return rollout.state.value.replace("_", " ")

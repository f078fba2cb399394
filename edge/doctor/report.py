"""Findings for people and for programs."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from edge import jsonvalue
from edge.doctor.types import Finding, State

_MARKS = {State.OK: "ok", State.WARN: "WARN", State.FAIL: "FAIL", State.SKIPPED: "-"}
_MARK_WIDTH = 4


def doctor_lines(findings: Sequence[Finding]) -> list[str]:
    """One line a finding, what to do about it on a line of its own, and the sum at the end."""
    width = max((len(one.name) for one in findings), default=0)
    lines = []
    for one in findings:
        lines.append(f"{_MARKS[one.state]:<{_MARK_WIDTH}}  {one.name:<{width}}  {one.detail}")
        if one.fix:
            lines.append(f"{'':<{_MARK_WIDTH}}  {'':<{width}}  -> {one.fix}")
    return [*lines, _sum(findings)]


def to_json(findings: Sequence[Finding]) -> jsonvalue.Json:
    """The same as one JSON object."""
    return {"healthy": exit_code(findings) == 0, "findings": [jsonvalue.to_json(one) for one in findings]}


def exit_code(findings: Sequence[Finding]) -> int:
    """0 when nothing failed, else 1."""
    return int(any(one.state is State.FAIL for one in findings))


def _sum(findings: Sequence[Finding]) -> str:
    counts = Counter(one.state for one in findings)
    words = [
        f"{counts[state]} {word}"
        for state, word in ((State.FAIL, "failed"), (State.WARN, "to watch"), (State.SKIPPED, "skipped"))
        if counts[state]
    ]
    return f"{counts[State.OK]} well" + (f", {', '.join(words)}" if words else "")

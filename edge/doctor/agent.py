"""Whether an agent works in the home, and whether it still does anything."""

from __future__ import annotations

from edge import jsonvalue
from edge.doctor.types import Finding, State, Subject
from edge.errors import FormatError

# It writes its status about once a second; a slow card or a large picture may hold it up for a while.
_SILENT_S = 60.0


def examine_agent(subject: Subject) -> tuple[Finding, ...]:
    """One finding: who holds the home, and when it was last heard of."""
    if not subject.is_running:
        return (Finding(name="agent", state=State.OK, detail="not running; nothing is disturbed by this examination"),)
    said = last_said(subject)
    pid, phase, at = said.get("pid", "?"), said.get("phase", "starting"), said.get("at")
    detail = f"running (process {pid}, {phase}); what would disturb it is skipped"
    if isinstance(at, (int, float)) and subject.now - at > _SILENT_S:
        detail = f"process {pid} holds the home, but has said nothing for {subject.now - at:.0f} s: it is stuck"
        fix = "systemctl restart edgeloop; the watchdog of its unit does so by itself"
        return (Finding(name="agent", state=State.FAIL, detail=detail, fix=fix),)
    return (Finding(name="agent", state=State.OK, detail=detail),)


def last_said(subject: Subject) -> dict[str, jsonvalue.Json]:
    """What the agent last wrote about itself; empty where it never did, or a power cut took it."""
    file = subject.home.status
    try:
        said = jsonvalue.parse(file.read_bytes(), where=file.name)
    except (OSError, FormatError):
        return {}
    return said if isinstance(said, dict) else {}

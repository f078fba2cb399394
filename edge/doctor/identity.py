"""Who the device is to its fleet, and how long its certificate lasts."""

from __future__ import annotations

from edge.doctor.types import Finding, State, Subject
from edge.errors import EdgeloopError
from edge.identity.due import is_due
from edge.identity.renewal import expiry_line, standing_line
from edge.identity.store import IdentityStore


def examine_identity(subject: Subject) -> tuple[Finding, ...]:
    """One finding."""
    try:
        identity = IdentityStore(subject.settings.home).read()
    except EdgeloopError as error:
        return (_found(State.FAIL, error.message, error.hint),)
    if identity is None:
        return (_found(State.SKIPPED, "none: this device was never enrolled into a fleet"),)
    detail = f"{identity.device_id}, {standing_line(identity, subject.now)}"
    if subject.now >= identity.not_after:
        return (_found(State.FAIL, detail, "enrol it anew: `edgeloop device enroll FILE --home DIR --replace`"),)
    if expiry_line(identity, subject.now):
        return (_found(State.FAIL, detail, "set the clock of this device"),)
    if is_due(identity.not_before, identity.not_after, subject.now, 1.0):
        fix = "bring the next one" if identity.is_brought else "let the agent reach its server: it renews it there"
        return (_found(State.WARN, f"{detail}; it should have been renewed", fix),)
    return (_found(State.OK, detail),)


def _found(state: State, detail: str, fix: str = "") -> Finding:
    return Finding(name="identity", state=state, detail=detail, fix=fix)

"""Whether the clock can be believed: trust in releases and the hours for sending hang on it."""

from __future__ import annotations

import time

from edge.doctor.agent import last_said
from edge.doctor.types import Finding, State, Subject

# Nobody ran this before it was written, and nobody runs it a generation later.
_WRITTEN_AT = 1_780_272_000.0  # 2026-06-01
_LONGEST_LIFE_S = 20 * 365.25 * 86_400
_BACK_S = 120.0
_SYNCHRONISED = "run/systemd/timesync/synchronized"
_FIX = "connect the device to a time server (timedatectl set-ntp true), or set the time by hand"


def examine_clock(subject: Subject) -> tuple[Finding, ...]:
    """One finding: is the time possible, did it go back, does anybody keep it right."""
    now = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(subject.now))
    if subject.now < _WRITTEN_AT:
        return (_found(State.FAIL, f"it says {now}, which is before this edgeloop was written", _FIX),)
    if subject.now > _WRITTEN_AT + _LONGEST_LIFE_S:
        return (_found(State.FAIL, f"it says {now}, which is far in the future", _FIX),)
    last_said = _last_said_at(subject)
    if subject.now < last_said - _BACK_S:
        said = time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime(last_said))
        return (_found(State.FAIL, f"it says {now}, but the agent wrote on {said}: the clock went back", _FIX),)
    return (_kept_right(subject, now),)


def _kept_right(subject: Subject, now: str) -> Finding:
    if (subject.root / _SYNCHRONISED).exists():
        return _found(State.OK, f"{now}, synchronised")
    if (subject.root / "run/chrony").is_dir() or (subject.root / "run/ntpd.pid").exists():
        return _found(State.OK, f"{now}, kept by a time service")
    has_battery = any((subject.root / "sys/class/rtc").glob("rtc*"))
    if has_battery:
        return _found(State.OK, f"{now}, by the battery clock; not synchronised since the start")
    detail = f"{now}, not synchronised, and there is no battery clock: after a power cut the time is wrong"
    return _found(State.WARN, detail, f"{_FIX}; a device that stays offline wants a battery clock")


def _last_said_at(subject: Subject) -> float:
    """When the agent last wrote its status, by its own clock; 0 where it never did."""
    at = last_said(subject).get("at")
    return float(at) if isinstance(at, (int, float)) else 0.0


def _found(state: State, detail: str, fix: str = "") -> Finding:
    return Finding(name="clock", state=state, detail=detail, fix=fix)

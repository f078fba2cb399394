"""Moments as people read them. Pure."""

from __future__ import annotations

import datetime

_UNITS = ((86_400.0, "day"), (3600.0, "hour"), (60.0, "minute"))


def when(at: float) -> str:
    """A moment, as people read it."""
    return _moment(at).strftime("%Y-%m-%d %H:%M:%S UTC")


def iso(at: float) -> str:
    """A moment, as `<time datetime>` has it."""
    return _moment(at).isoformat(timespec="seconds")


def ago(at: float, now: float) -> str:
    """How long ago a moment was, in the largest unit that fits."""
    seconds = now - at
    if seconds < -60:
        return "in the future"
    for length, name in _UNITS:
        if seconds >= length:
            count = int(seconds // length)
            return f"{count} {name}{'' if count == 1 else 's'} ago"
    return "just now"


def age(at: float, now: float) -> str:
    """How old a count is, in seconds or minutes."""
    seconds = max(0, round(now - at))
    return f"{seconds} s ago" if seconds < 120 else f"{seconds // 60} min ago"


def _moment(at: float) -> datetime.datetime:
    try:
        return datetime.datetime.fromtimestamp(at, datetime.UTC)
    except (OverflowError, ValueError, OSError):
        return datetime.datetime.fromtimestamp(0, datetime.UTC)

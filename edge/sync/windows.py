"""Hours of the day in which the road may be used. Pure: the caller brings the time of day."""

from __future__ import annotations

import re
from dataclasses import dataclass

from edge.errors import UsageError

DAY_MINUTES = 24 * 60
_WINDOW = re.compile(r"^(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})$")


@dataclass(frozen=True, slots=True, kw_only=True)
class SyncWindow:
    """One span of the day, which may go over midnight.

    Attributes:
        begins: Minute of the day, 0 to 1439.
        ends: Minute of the day at which it is over, 0 to 1440.
    """

    begins: int
    ends: int

    def holds(self, minute: float) -> bool:
        """Whether a moment lies in it.

        Args:
            minute: Of the local day, in [0, 1440).
        """
        if self.begins < self.ends:
            return self.begins <= minute < self.ends
        return minute >= self.begins or minute < self.ends


def parse_windows(text: str) -> tuple[SyncWindow, ...]:
    """Reads `22:00-06:00, 12:30-13:30`; none for an empty text.

    Raises:
        UsageError: A part is no window, or lasts no time.
    """
    return tuple(_window(part.strip()) for part in text.split(",") if part.strip())


def may_sync(windows: tuple[SyncWindow, ...], minute: float) -> bool:
    """Whether the road may be used at a minute of the local day; always where there are no windows."""
    return not windows or any(window.holds(minute) for window in windows)


def _window(text: str) -> SyncWindow:
    found = _WINDOW.match(text)
    hours = [int(part) for part in found.groups()] if found else []
    if not hours or max(hours[1], hours[3]) > 59 or hours[0] > 23 or hours[2] * 60 + hours[3] > DAY_MINUTES:
        raise UsageError(f"{text!r} is no span of the day", hint="write it as 22:00-06:00")
    window = SyncWindow(begins=hours[0] * 60 + hours[1], ends=hours[2] * 60 + hours[3])
    if window.begins == window.ends:
        raise UsageError(f"{text!r} lasts no time", hint="leave sync_windows empty to send at any hour")
    return window

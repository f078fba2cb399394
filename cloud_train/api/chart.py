"""The chart of a device: its frames by the hour, as geometry for an SVG. Pure."""

from __future__ import annotations

import datetime
import math
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass

from cloud_train.store.device_rows import DeviceHour

WIDTH, HEIGHT = 960, 180
_KINDS = ("accepted", "confirmed", "unknown", "failed")
_LEFT, _BOTTOM, _TOP = 56, 22, 8
_LABELS = 6
_HALF_A_TICK = 42  # of the text below a bar, which would stick out at the edge


@dataclass(frozen=True, slots=True, kw_only=True)
class Piece:
    """A part of a bar.

    Attributes:
        kind: Of `accepted`, `confirmed`, `unknown`, `failed`.
        y: Its top, in units of the drawing.
        height: Its height.
    """

    kind: str
    y: float
    height: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    """One hour.

    Attributes:
        x: Left edge.
        width: Its width.
        title: What it says, in words.
        pieces: From the ground up.
    """

    x: float
    width: float
    title: str
    pieces: tuple[Piece, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Chart:
    """The drawing.

    Attributes:
        bars: Hours with frames.
        ticks: Place and text of the hours below.
        lines: Place and text of the numbers at the side.
        total: Frames in all, those that failed among them.
    """

    bars: tuple[Bar, ...]
    ticks: tuple[tuple[float, str], ...]
    lines: tuple[tuple[float, str], ...]
    total: int


def hour_chart(hours: Iterable[DeviceHour], *, last: int, num_hours: int) -> Chart:
    """Draws the last hours of a device.

    Args:
        hours: What it did, bundles apart.
        last: The last hour, whole hours since the epoch.
        num_hours: How many, the last one among them.
    """
    counts: dict[int, dict[str, int]] = defaultdict(lambda: dict.fromkeys(_KINDS, 0))
    for hour in hours:
        for kind in _KINDS:
            counts[hour.hour][kind] += getattr(hour, kind)
    first = last - num_hours + 1
    top = _round_up(max((sum(count.values()) for count in counts.values()), default=0))
    step = (WIDTH - _LEFT) / num_hours
    bars = tuple(
        _bar(hour, counts[hour], x=_LEFT + (hour - first) * step, width=step, top=top)
        for hour in sorted(counts)
        if first <= hour <= last and any(counts[hour].values())
    )
    every = max(1, num_hours // _LABELS)
    places = ((_LEFT + (hour - first + 0.5) * step, hour) for hour in range(first, last + 1) if hour % every == 0)
    ticks = tuple((place, _clock(hour)) for place, hour in places if _HALF_A_TICK <= place <= WIDTH - _HALF_A_TICK)
    lines = tuple((_y(share * top, top), f"{share * top:,.0f}") for share in (0.0, 0.5, 1.0)) if bars else ()
    return Chart(bars=bars, ticks=ticks, lines=lines, total=sum(sum(count.values()) for count in counts.values()))


def _bar(hour: int, count: dict[str, int], *, x: float, width: float, top: int) -> Bar:
    pieces, below = [], 0
    for kind in _KINDS:
        if count[kind]:
            upper = _y(below + count[kind], top)
            pieces.append(Piece(kind=kind, y=round(upper, 2), height=round(_y(below, top) - upper, 2)))
            below += count[kind]
    told = ", ".join(f"{count[kind]:,} {kind}" for kind in _KINDS if count[kind])
    return Bar(x=round(x + 1, 2), width=round(width - 2, 2), title=f"{_clock(hour)}: {told}", pieces=tuple(pieces))


def _y(value: float, top: int) -> float:
    ground = HEIGHT - _BOTTOM
    return ground - value / top * (ground - _TOP) if top else ground


def _round_up(number: int) -> int:
    """The next number that begins with 1, 2 or 5, and is even from 2 on."""
    if number <= 2:
        return 2
    power = 10 ** math.floor(math.log10(number))
    return next(int(step * power) for step in (1, 2, 5, 10) if step * power >= number)


def _clock(hour: int) -> str:
    return datetime.datetime.fromtimestamp(hour * 3600, datetime.UTC).strftime("%d %b %H:%M")

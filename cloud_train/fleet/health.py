"""How a bundle fares on the devices that have it. Pure: rows in, figures with their uncertainty out.

The unit is the device, for frames of one device are alike: a rate is a ratio of sums over devices, and its standard
error is the jackknife's, which leaves out one device after the other (Quenouille 1956, Tukey 1958), so that one busy
device does not speak for all; a share's is never below the binomial one. The old
bundle's rates are weighted by the hours in which the new bundle saw its frames, so that noon is compared with noon.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from statistics import mean, stdev
from typing import TYPE_CHECKING, NamedTuple

from cloud_train.fleet.intervals import UNKNOWN, Estimate
from cloud_train.store.hours import HourFigures

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Floats = NDArray[np.float64]
    Integers = NDArray[np.int64]

LOOP_STARTS = 3
"""So many unclean starts within one hour are a crash loop."""
_LEAST_FRAMES = 30  # of a device, now and before, to see a change of its rates
_MOST_CRASHES = 5.0  # of one device in one hour: a single wild one must not speak for all


@dataclass(frozen=True, slots=True, kw_only=True)
class Standing:
    """What the check-ins of all devices of one side say, without statistics.

    Attributes:
        tried: Devices that run the bundle or gave it up.
        failed: Of these, those that gave it up: its self-test failed, or it never got to answer frames.
        seen: Devices of the side that have checked in since it was theirs.
        silent: Of these, those that have not for too long.
        due: Devices of the side that checked in within a day, and so will bring evidence.
    """

    tried: int = 0
    failed: int = 0
    seen: int = 0
    silent: int = 0
    due: int = 0


NOBODY = Standing()


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleHealth:
    """How one bundle fares. Rates are shares in [0, 1] of the answered frames.

    Attributes:
        standing: What the check-ins of all its devices say.
        devices: Devices whose statistics were looked at.
        frames: Frames that these answered.
        looping: Of these devices, those in a crash loop.
        crashing: Of these devices, those with any unclean start.
        accept: Rate of ACCEPT.
        confirm: Rate of CONFIRM.
        unknown: Rate of UNKNOWN.
        errors: Share of frames on which the model failed.
        latency_p90_ms: 90th percentile from picture to decision.
        crashes: Unclean starts a device and hour.
        slowdown: Logarithm of the latency against that of the old bundle on the very same devices before the rollout.
        accept_change: How the rate of ACCEPT of each device changed since before the rollout, mean over devices.
        unknown_change: The same of UNKNOWN.
        basis: Which hours were looked at, for people.
    """

    standing: Standing = NOBODY
    devices: int = 0
    frames: int = 0
    looping: int = 0
    crashing: int = 0
    accept: Estimate = UNKNOWN
    confirm: Estimate = UNKNOWN
    unknown: Estimate = UNKNOWN
    errors: Estimate = UNKNOWN
    latency_p90_ms: Estimate = UNKNOWN
    crashes: Estimate = UNKNOWN
    slowdown: Estimate = UNKNOWN
    accept_change: Estimate = UNKNOWN
    unknown_change: Estimate = UNKNOWN
    basis: str = "the same hours"


class _Columns(NamedTuple):
    """The rows of one side; what happened within one hour of a device may be in several."""

    devices: Integers  # 0 to num_devices - 1
    strata: Integers
    frames: Floats
    accepted: Floats
    confirmed: Floats
    unknown: Floats
    failed: Floats
    latency_ms: Floats
    crashes: Floats
    first: Floats  # 1 in the first row of a device and hour, else 0
    num_devices: int


def new_health(rows: Iterable[HourFigures], standing: Standing, *, before: Iterable[HourFigures] = ()) -> BundleHealth:
    """Of the new bundle, over all hours given.

    Args:
        rows: Of the new bundle.
        standing: Of the devices that have it.
        before: What the same devices did with the old bundle before.
    """
    listed = tuple(rows)
    columns = _columns(listed)
    health = _health(columns, _weights(columns), standing, "the same hours")
    return replace(health, slowdown=_slowdown(listed, before))


def old_health(
    rows: Iterable[HourFigures], standing: Standing, *, beside: Iterable[HourFigures], of_day: bool = False
) -> BundleHealth:
    """Of the old bundle, weighted as the new bundle's frames fell on the hours.

    Args:
        rows: Of the old bundle.
        standing: Of the devices that have it.
        beside: Rows of the new bundle.
        of_day: Compare hours of the day, for rows from before the new bundle came.
    """
    columns, other = _columns(rows, of_day=of_day), _columns(beside, of_day=of_day)
    basis = "the same hours of the days before" if of_day else "the same hours"
    return _health(columns, _weights(other), standing, basis)


def _health(columns: _Columns, weights: dict[int, float], standing: Standing, basis: str) -> BundleHealth:
    import numpy as np

    frames, tried_frames = columns.frames, columns.frames + columns.failed
    looping, crashing = _crashed(columns)
    return BundleHealth(
        standing=standing,
        devices=int(np.unique(columns.devices[tried_frames > 0]).size),
        frames=int(frames.sum()),
        looping=looping,
        crashing=crashing,
        accept=_rate(columns, columns.accepted, frames, weights, share=True),
        confirm=_rate(columns, columns.confirmed, frames, weights, share=True),
        unknown=_rate(columns, columns.unknown, frames, weights, share=True),
        errors=_rate(columns, columns.failed, tried_frames, weights, share=True),
        latency_p90_ms=_rate(columns, columns.latency_ms * frames, frames, weights),
        crashes=_rate(columns, columns.crashes, columns.first, None),
        basis=basis,
    )


def _rate(
    columns: _Columns, hits: Floats, units: Floats, weights: dict[int, float] | None, *, share: bool = False
) -> Estimate:
    """A ratio of sums, its strata weighted."""
    scale = _scale(columns.strata, units, weights)
    return _ratio(columns.devices, hits, units, scale, columns.num_devices, share=share)


def _ratio(devices: Integers, hits: Floats, units: Floats, scale: Floats, num_devices: int, *, share: bool) -> Estimate:
    """A ratio of weighted sums; the standard error is over devices."""
    import numpy as np

    total = float((scale * units).sum())
    if total <= 0:
        return UNKNOWN
    value = float((scale * hits).sum()) / total
    influence = np.bincount(devices, scale * (hits - value * units) / total, num_devices)
    weight = np.bincount(devices, scale * units / total, num_devices)
    num = int((weight > 0).sum())
    if num < 2:
        return Estimate(value=value, devices=num)
    left_out = influence / np.maximum(1 - weight, 1e-9)  # how far the ratio moves without each device
    error = math.sqrt(float((left_out**2).sum()) * (num - 1) / num)
    if share:
        counted = float(units.sum())
        smoothed = min(1.0, (value * counted + 1) / (counted + 2))
        error = max(error, math.sqrt(smoothed * (1 - smoothed) / counted))
    return Estimate(value=value, error=error, devices=num)


def ratio_of(pairs: Iterable[tuple[float, float]], *, share: bool = False) -> Estimate:
    """A ratio of sums over devices, `(hits, units)` for each."""
    import numpy as np

    table = np.array([pair for pair in pairs if pair[1] > 0], dtype=np.float64).reshape(-1, 2)
    places = np.arange(len(table))
    return _ratio(places, table[:, 0], table[:, 1], np.ones(len(table)), len(table), share=share)


def with_changes(health: BundleHealth, rows: Iterable[HourFigures], earlier: Iterable[HourFigures]) -> BundleHealth:
    """Adds how the rates of each device changed; what both sides changed alike is no fault of a bundle.

    Args:
        health: Of one side.
        rows: What its devices do now.
        earlier: What the same devices did before the rollout, with the old bundle.
    """
    now, then = _counts(rows), _counts(earlier)
    pairs = [(now[name], then[name]) for name in now if name in then]
    enough = [(a, b) for a, b in pairs if min(a[0], b[0]) >= _LEAST_FRAMES]
    return replace(health, accept_change=_change(enough, 1), unknown_change=_change(enough, 2))


def _counts(rows: Iterable[HourFigures]) -> dict[str, list[int]]:
    found: dict[str, list[int]] = {}
    for row in rows:
        sums = found.setdefault(row.device_id, [0, 0, 0])
        sums[0] += row.frames
        sums[1] += row.accepted
        sums[2] += row.unknown
    return found


def _change(pairs: Sequence[tuple[list[int], list[int]]], place: int) -> Estimate:
    """Mean over devices of a rate now less that before; the error is never below the binomial one."""
    changes = [now[place] / now[0] - then[place] / then[0] for now, then in pairs]
    if len(changes) < 2:
        return Estimate(value=sum(changes), devices=len(changes))
    chance = sum(_binomial(one[place], one[0]) for pair in pairs for one in pair)
    error = max(stdev(changes) / math.sqrt(len(changes)), math.sqrt(chance) / len(changes))
    return Estimate(value=mean(changes), error=error, devices=len(changes))


def _binomial(hits: int, total: int) -> float:
    share = min(1.0, (hits + 1) / (total + 2))
    return share * (1 - share) / total


def _slowdown(rows: Iterable[HourFigures], before: Iterable[HourFigures]) -> Estimate:
    """Mean over devices of the logarithm of their latency now by that before; every device counts alike."""
    now, then = _latencies(rows), _latencies(before)
    changes = [math.log(now[name] / then[name]) for name in now if name in then]
    if len(changes) < 2:
        return Estimate(value=sum(changes), devices=len(changes))
    return Estimate(value=mean(changes), error=stdev(changes) / math.sqrt(len(changes)), devices=len(changes))


def _latencies(rows: Iterable[HourFigures]) -> dict[str, float]:
    frames: dict[str, int] = defaultdict(int)
    weighted: dict[str, float] = defaultdict(float)
    for row in rows:
        if row.latency_p90_ms > 0:
            frames[row.device_id] += row.frames
            weighted[row.device_id] += row.frames * row.latency_p90_ms
    return {name: weighted[name] / number for name, number in frames.items() if number}


def _scale(strata: Integers, units: Floats, weights: dict[int, float] | None) -> Floats:
    """What each row counts, so that every stratum has its weight; 0 in strata without one."""
    import numpy as np

    if weights is None:
        return np.ones_like(units)
    if not strata.size:
        return units
    names, place = np.unique(strata, return_inverse=True)
    sums = np.bincount(place, units, names.size)
    wanted = np.array([weights.get(int(name), 0.0) for name in names])
    return np.divide(wanted, sums, out=np.zeros_like(sums), where=sums > 0)[place]


def _weights(columns: _Columns) -> dict[int, float]:
    import numpy as np

    if not columns.strata.size:
        return {}
    names, place = np.unique(columns.strata, return_inverse=True)
    return dict(zip(names.tolist(), np.bincount(place, columns.frames + columns.failed).tolist(), strict=True))


def _crashed(columns: _Columns) -> tuple[int, int]:
    """Devices in a crash loop, and devices that crashed at all."""
    import numpy as np

    if not columns.devices.size:
        return 0, 0
    hours = columns.strata - columns.strata.min()
    keys = columns.devices * (int(hours.max()) + 1) + hours
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    looped = columns.devices[first][np.bincount(place, columns.crashes) >= LOOP_STARTS]
    return int(np.unique(looped).size), int(np.unique(columns.devices[columns.crashes > 0]).size)


def _columns(rows: Iterable[HourFigures], *, of_day: bool = False) -> _Columns:
    import numpy as np

    listed = list(rows)
    numbers: dict[str, int] = {}
    devices = np.array([numbers.setdefault(row.device_id, len(numbers)) for row in listed], dtype=np.int64)
    table = np.array([row[1:] for row in listed], dtype=np.float64).reshape(len(listed), len(HourFigures._fields) - 1)
    hours = table[:, 0].astype(np.int64)
    keys = devices * 10_000_000 + hours
    first = np.zeros(len(listed))
    first[np.unique(keys, return_index=True)[1]] = 1.0
    return _Columns(
        devices=devices,
        strata=hours % 24 if of_day else hours,
        frames=table[:, 1],
        accepted=table[:, 2],
        confirmed=table[:, 3],
        unknown=table[:, 4],
        failed=table[:, 5],
        latency_ms=table[:, 6],
        crashes=np.minimum(table[:, 7], _MOST_CRASHES),
        first=first,
        num_devices=len(numbers),
    )

"""How far what devices see has moved from what a bundle was trained on. Pure.

The score is the population stability index over classes or over confidence, less what chance alone would make of so few
frames. Frames of one device are alike, so their number is first divided by how much: the design effect.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

WATCH, MOVED = 0.1, 0.25
"""Customary bounds of the index: below the first nothing has moved, above the second it has."""
LEAST_FRAMES = 200
_SMOOTHING = 0.5  # of a frame in every bin (Jeffreys), so that an empty bin is not infinitely far away


class DriftMark(enum.Enum):
    """What a score means."""

    TOO_FEW = "too few"
    SAME = "same"
    WATCH = "watch"
    MOVED = "moved"


@dataclass(frozen=True, slots=True, kw_only=True)
class Drift:
    """How far one histogram is from another.

    Attributes:
        score: Population stability index less its chance part, from 0 up.
        raw: The index itself.
        chance: What chance makes of it with so many frames, at the 95 % point.
        frames: Frames seen.
        mark: What it means.
        largest: The bin that moved most, as `label: 3.0 % to 12.0 %`; empty for none.
    """

    score: float
    raw: float
    chance: float
    frames: int
    mark: DriftMark
    largest: str = ""


def drift_of(
    expected: Mapping[str, float], seen: Mapping[str, int], *, expected_frames: int, alike: float = 20.0
) -> Drift:
    """Compares what was seen with what was expected.

    The index of k bins and n frames is, by chance alone, near chi-square with k - 1 degrees of freedom times
    (1/n + 1/m); its 95 % point is the noise floor (Yurdakul 2018).

    Args:
        expected: Label to share or count, of training.
        seen: Label to count, in the field. Labels that were not told apart are under the empty name: they are compared
            as one bin together with all expected labels that are not named.
        expected_frames: Frames that `expected` was taken over.
        alike: How many frames of the field count as one independent one.
    """
    frames = sum(seen.values())
    pairs = _aligned(expected, seen)
    if frames < LEAST_FRAMES or len(pairs) < 2:
        return Drift(score=0.0, raw=0.0, chance=0.0, frames=frames, mark=DriftMark.TOO_FEW)
    independent = max(1.0, frames / max(1.0, alike))
    sums = [sum(column) for column in zip(*pairs.values(), strict=True)]
    shares = {
        name: (
            (old / sums[0] * expected_frames + _SMOOTHING) / (expected_frames + _SMOOTHING * len(pairs)),
            (new / sums[1] * independent + _SMOOTHING) / (independent + _SMOOTHING * len(pairs)),
        )
        for name, (old, new) in pairs.items()
    }
    parts = {name: (new - old) * math.log(new / old) for name, (old, new) in shares.items()}
    raw, chance = sum(parts.values()), noise_floor(len(pairs), independent, expected_frames)
    score = max(0.0, raw - chance)
    name = max(parts, key=lambda one: parts[one])
    before, after = (share / total for share, total in zip(pairs[name], sums, strict=True))
    return Drift(
        score=score,
        raw=raw,
        chance=chance,
        frames=frames,
        mark=DriftMark.MOVED if score >= MOVED else DriftMark.WATCH if score >= WATCH else DriftMark.SAME,
        largest=f"{name or 'others'}: {before:.1%} to {after:.1%}",
    )


def confidence_drift(expected: Sequence[float], seen: Sequence[int], *, alike: float = 20.0) -> Drift:
    """The same for confidence histograms of equal bins; four bins are taken together, for most are empty."""
    width, total = 4, len(seen)

    def grouped(bins: Sequence[float]) -> dict[str, float]:
        return {
            f"confidence {first / total:.2f} to {min(total, first + width) / total:.2f}": sum(
                bins[first : first + width]
            )
            for first in range(0, total, width)
        }

    counts = {name: int(number) for name, number in grouped(seen).items()}
    return drift_of(grouped(expected), counts, expected_frames=int(sum(expected)), alike=alike)


def noise_floor(bins: int, frames: float, expected_frames: float, *, z: float = 1.645) -> float:
    """The 95 % point of the index when nothing has moved (chi-square by Wilson and Hilferty 1931)."""
    freedom = max(1, bins - 1)
    chi_square = freedom * (1 - 2 / (9 * freedom) + z * math.sqrt(2 / (9 * freedom))) ** 3
    return chi_square * (1 / frames + 1 / max(1.0, expected_frames))


def _aligned(expected: Mapping[str, float], seen: Mapping[str, int]) -> dict[str, tuple[float, float]]:
    """Bin to both numbers. Where the field has lumped its rare labels, so are the expected ones it does not name."""
    is_lumped = bool(seen.get(""))
    names = {name for name in seen if name} | (set() if is_lumped else {name for name in expected if name})
    pairs = {name: (float(expected.get(name, 0.0)), float(seen.get(name, 0))) for name in sorted(names)}
    rest = sum(number for name, number in expected.items() if name not in names)
    if rest or seen.get(""):
        pairs[""] = (float(rest), float(seen.get("", 0)))
    return pairs

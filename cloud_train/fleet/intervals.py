"""Intervals for rates of few devices and many: exact quantiles of Student's t, Wilson, Welch. Pure."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from statistics import NormalDist


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """A figure measured on some devices.

    Attributes:
        value: The figure.
        error: Its standard error, with the device as the unit; infinite when fewer than two devices say something.
        devices: How many say something.
    """

    value: float = 0.0
    error: float = math.inf
    devices: int = 0

    @property
    def is_known(self) -> bool:
        """Whether there are devices enough to tell how certain it is."""
        return math.isfinite(self.error)

    def margin(self, level: float) -> float:
        """Half the width of the one-sided interval at a level, for instance 0.975 for 95 % on two sides."""
        return t_quantile(level, self.devices - 1) * self.error if self.is_known else math.inf


UNKNOWN = Estimate()
"""Of a figure that nobody said anything about."""


def minus(new: Estimate, old: Estimate, *, factor: float = 1.0) -> tuple[Estimate, float]:
    """`new - factor * old` and its degrees of freedom (Welch 1947, Satterthwaite 1946)."""
    a, b = new.error**2, (factor * old.error) ** 2
    known = new.is_known and old.is_known
    error = math.sqrt(a + b) if known else math.inf
    spread = (a**2 / (new.devices - 1) + b**2 / (old.devices - 1)) if known else 0.0
    freedom = (a + b) ** 2 / spread if spread else float(max(1, min(new.devices, old.devices) - 1))
    both = min(new.devices, old.devices)
    return Estimate(value=new.value - factor * old.value, error=error, devices=both), freedom


def wilson(hits: int, total: int, *, level: float = 0.975) -> tuple[float, float]:
    """The interval of a share (Wilson 1927); 0 to 1 for no trials."""
    if total == 0:
        return 0.0, 1.0
    z = NormalDist().inv_cdf(level)
    share, width = hits / total, z * z / total
    middle = (share + width / 2) / (1 + width)
    half = z / (1 + width) * math.sqrt(share * (1 - share) / total + width / total / 4)
    return max(0.0, middle - half), min(1.0, middle + half)


def newcombe(hits: int, total: int, other_hits: int, other_total: int, *, level: float = 0.975) -> tuple[float, float]:
    """The interval of the difference of two shares (Newcombe 1998, method 10)."""
    if total == 0 or other_total == 0:
        return -1.0, 1.0
    share, other = hits / total, other_hits / other_total
    low, high = wilson(hits, total, level=level)
    other_low, other_high = wilson(other_hits, other_total, level=level)
    gap = share - other
    return (
        gap - math.hypot(share - low, other_high - other),
        gap + math.hypot(high - share, other - other_low),
    )


@lru_cache(maxsize=4096)
def t_quantile(level: float, freedom: float) -> float:
    """Quantile of Student's t; the degrees of freedom are rounded down to a whole number, at least 1."""
    whole = max(1, math.floor(freedom))
    if whole > 200:
        return NormalDist().inv_cdf(level)
    low, high = 0.0, 1e6
    for _ in range(80):
        middle = (low + high) / 2
        low, high = (middle, high) if _t_below(middle, whole) < level else (low, middle)
    return high


def _t_below(t: float, freedom: int) -> float:
    """P(T <= t), t >= 0, by the finite sums for whole degrees of freedom (Abramowitz and Stegun 26.7.3, 26.7.4)."""
    angle = math.atan(t / math.sqrt(freedom))
    cosine_squared = math.cos(angle) ** 2
    total = term = 1.0
    first = 3 if freedom % 2 else 2
    if freedom % 2:
        if freedom == 1:
            return 0.5 + angle / math.pi
        for step in range(first, freedom - 1, 2):
            term *= (step - 1) / step * cosine_squared
            total += term
        return 0.5 + (angle + math.sin(angle) * math.cos(angle) * total) / math.pi
    for step in range(first, freedom - 1, 2):
        term *= (step - 1) / step * cosine_squared
        total += term
    return 0.5 + math.sin(angle) * total / 2

"""How much a device may send: token buckets, pure, and a bounded memory of those of the devices that are about."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass

DAY_S = 86_400.0
MINUTE_S = 60.0
CALLS_PER_MINUTE = 600.0
"""Check-ins and answers of one device: each writes a little."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """So much in so long.

    Attributes:
        amount: Most in `period_s`, and most at once; 0 for no limit.
        period_s: Seconds in which the amount grows back.
    """

    amount: float
    period_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Bucket:
    """What is left of a rate.

    Attributes:
        level: What may be spent; below 0 after something larger than the whole.
        at: When that was, seconds on the caller's clock.
    """

    level: float
    at: float


def spend(bucket: Bucket | None, rate: Rate, amount: float, *, now: float) -> tuple[Bucket, float]:
    """Spends from a bucket what it holds; something larger than the whole is let through when it is full.

    Args:
        bucket: None for one that was never used: it is full.
        rate: How it fills.
        amount: What is wanted, >= 0.
        now: Seconds; a clock that went back fills nothing.

    Returns:
        The bucket from now on, and 0 when the amount was spent, or the seconds until it could be.
    """
    if not rate.amount:
        return Bucket(level=0.0, at=now), 0.0
    per_s = rate.amount / rate.period_s
    level = rate.amount if bucket is None else min(rate.amount, bucket.level + max(0.0, now - bucket.at) * per_s)
    needed = min(amount, rate.amount)
    if level >= needed:
        return Bucket(level=level - amount, at=now), 0.0
    return Bucket(level=level, at=now), (needed - level) / per_s


@dataclass(frozen=True, slots=True, kw_only=True)
class QuotaLimits:
    """What one device may do.

    Attributes:
        bytes_per_day: Payload bytes.
        samples_per_minute: Payloads, refused ones too.
        offers_per_minute: Calls that ask what is wanted.
    """

    bytes_per_day: float
    samples_per_minute: float
    offers_per_minute: float

    def rates(self) -> Mapping[str, Rate]:
        """By the name of what is counted."""
        return {
            "bytes": Rate(amount=self.bytes_per_day, period_s=DAY_S),
            "samples": Rate(amount=self.samples_per_minute, period_s=MINUTE_S),
            "offers": Rate(amount=self.offers_per_minute, period_s=MINUTE_S),
            "calls": Rate(amount=CALLS_PER_MINUTE, period_s=MINUTE_S),
        }


class Quotas:
    """The buckets of all devices. Belongs to one event loop.

    A device that was not heard of for longest is forgotten first: its buckets are full again then, which a flood of
    names cannot exploit where names come from certificates.

    Args:
        limits: The same for each device.
        max_devices: Most that are remembered.
    """

    def __init__(self, limits: QuotaLimits, *, max_devices: int = 50_000) -> None:
        self._rates = limits.rates()
        self._max_devices = max_devices
        self._devices: OrderedDict[str, dict[str, Bucket]] = OrderedDict()

    def __len__(self) -> int:
        """Devices that are remembered."""
        return len(self._devices)

    def spend(self, device_id: str, amounts: Mapping[str, float], *, now: float) -> tuple[str, float]:
        """Spends several amounts, all or none.

        Args:
            device_id: Whose.
            amounts: By name: `bytes`, `samples`, `offers`.
            now: Seconds.

        Returns:
            What ran out and the seconds until there is enough; an empty name and 0 when all was spent.
        """
        own = self._of(device_id)
        after = {name: spend(own.get(name), self._rates[name], amount, now=now) for name, amount in amounts.items()}
        for name, (_, wait_s) in after.items():
            if wait_s:
                return name, wait_s
        own.update({name: bucket for name, (bucket, _) in after.items()})
        return "", 0.0

    def look(self, device_id: str, amounts: Mapping[str, float], *, now: float) -> tuple[str, float]:
        """What `spend` would answer; nothing is spent."""
        own = self._of(device_id)
        for name, amount in amounts.items():
            _, wait_s = spend(own.get(name), self._rates[name], amount, now=now)
            if wait_s:
                return name, wait_s
        return "", 0.0

    def _of(self, device_id: str) -> dict[str, Bucket]:
        own = self._devices.setdefault(device_id, {})
        self._devices.move_to_end(device_id)
        if len(self._devices) > self._max_devices:
            self._devices.popitem(last=False)
        return own

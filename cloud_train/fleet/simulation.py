"""A simulated fleet, to see what the rule of a rollout does before it does it to real devices.

Devices differ: some are ten times as busy as others, some are three times as fast; each recognises its own scene more
or less well; all follow the hours of the day; some are switched off. Random numbers come from one seed.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud_train.fleet.assign import is_in_ring
from cloud_train.fleet.watch import Findings, WatchParts, following, look
from cloud_train.fleet_types import Member, Rollout, RolloutState
from cloud_train.store.hours import Histograms, HourFigures
from cloud_train.store.roster import RosterDevice
from edge.sync.types import BundleHour

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

STEP_MINUTES = 10.0
_COUNTS = ("frames", "accepted", "confirmed", "unknown", "failed", "crashes")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """What is wrong with the new bundle; by default nothing.

    Attributes:
        failing: Share of devices on which its self-test fails.
        crashes: Unclean starts a device and hour, besides the ordinary ones.
        slowness: Latency as a multiple.
        accept_drop: How much less it accepts, a share.
        unknown_share: How much of what it no longer accepts is unknown; the rest it asks about.
        errors: Share of frames on which it fails.
        silencing: Share of devices that it kills.
    """

    failing: float = 0.0
    crashes: float = 0.0
    slowness: float = 1.0
    accept_drop: float = 0.0
    unknown_share: float = 0.5
    errors: float = 0.0
    silencing: float = 0.0


FAULTS = {
    "self-test fails": Fault(failing=0.2),
    "crash loop": Fault(crashes=2.0),
    "slow": Fault(slowness=2.5),
    "accepts less": Fault(accept_drop=0.25),
    "model errors": Fault(errors=0.1),
    "kills devices": Fault(silencing=0.5),
}
"""Bad bundles of the kinds that the rule is there for."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a simulated rollout.

    Attributes:
        rollout: Where it stood at the end.
        reached: Most devices that ran the new bundle or gave it up, as a share of all.
        hours: How long it took.
        looks: How often the rule was asked.
    """

    rollout: Rollout
    reached: float
    hours: float
    looks: int


class SimulatedFleet:
    """Devices that obey directives and report; an `HourStore` and a `Roster` to `look`.

    Args:
        num_devices: How many.
        seed: Of everything random.
        fault: What is wrong with the new bundle.
        begins: The first moment, seconds since the epoch.
        hours: How long it lives at most.
        labels: Labels of a device by its number; none by default.
    """

    def __init__(
        self,
        num_devices: int,
        *,
        seed: int,
        fault: Fault,
        begins: float,
        hours: int = 60,
        labels: Sequence[dict[str, str]] | None = None,
    ) -> None:
        import numpy as np

        self._random = random = np.random.default_rng(seed)
        self._fault, self._first = fault, int(begins // 3600)
        self.names = tuple(f"device-{number}" for number in range(num_devices))
        said = labels or [{}] * num_devices
        self.members = tuple(Member(device_id=name, labels=label) for name, label in zip(self.names, said, strict=True))
        self._places = {name: place for place, name in enumerate(self.names)}
        self._busy = random.lognormal(3.0, 0.7, num_devices)  # frames in ten minutes at noon
        self._speed = 40.0 * random.lognormal(0.0, 0.5, num_devices)  # p90 in ms
        self._accept = random.beta(16, 4, num_devices)
        self._is_off = random.random(num_devices) < 0.05
        self._weak = random.random(num_devices)  # below `failing` the self-test fails, and so on
        self.last_seen = np.full(num_devices, begins - 7 * 86_400.0)
        self.has_new = np.zeros(num_devices, dtype=bool)
        self.gave_up = np.zeros(num_devices, dtype=bool)
        self._counts = {name: np.zeros((2, num_devices, hours + 2), dtype=np.int64) for name in _COUNTS}
        self.digests = ("", "")
        self._shall = np.zeros(num_devices, dtype=bool)

    def direct(self, rollout: Rollout) -> None:
        """Tells every device what it shall run from now on."""
        import numpy as np

        self.digests = (rollout.base_digest, rollout.bundle_digest)
        moving = rollout.state in (RolloutState.RUNNING, RolloutState.PAUSED)
        if rollout.state is RolloutState.DONE:
            self._shall[:] = True
        elif not moving:
            self._shall[:] = False
        else:
            self._shall = np.array([is_in_ring(member, rollout) for member in self.members])

    def step(self, now: float) -> None:
        """Ten minutes of work and a check-in of everybody that is on."""
        import numpy as np

        random, fault = self._random, self._fault
        killed = self.has_new & (self._weak < fault.silencing)
        on = ~(self._is_off | killed) & (random.random(len(self.names)) < 0.98)
        taking = on & self._shall & ~self.gave_up & ~self.has_new
        failing = taking & ((self._weak < fault.failing) | (random.random(len(self.names)) < 0.0005))
        self.gave_up |= failing
        self.has_new = np.where(on, self._shall & ~self.gave_up, self.has_new)
        self._count(now, on)
        self.last_seen[on] = now

    def _count(self, now: float, on: NDArray[np.bool_]) -> None:
        import numpy as np

        random, fault = self._random, self._fault
        hour = int(now // 3600)
        day = 1.0 + 0.9 * np.sin((hour % 24 - 8) * np.pi / 12)
        light = 0.05 * np.sin((hour % 24 - 14) * np.pi / 12)
        tries = random.poisson(self._busy * day) * on
        failed = random.binomial(tries, np.where(self.has_new, fault.errors, 0.0001))
        frames = tries - failed
        accept = np.clip(self._accept + light - np.where(self.has_new, fault.accept_drop, 0.0), 0.0, 1.0)
        accepted = random.binomial(frames, accept)
        unknown = random.binomial(frames - accepted, fault.unknown_share)
        crashes = random.poisson(np.where(self.has_new, fault.crashes, 0.0) / 6 + 0.002 / 6, len(on)) * on
        side, place = self.has_new.astype(int), hour - self._first
        every = np.arange(len(self.names))
        parts = (frames, accepted, frames - accepted - unknown, unknown, failed, crashes)
        for name, number in zip(_COUNTS, parts, strict=True):
            np.add.at(self._counts[name], (side, every, place), number)

    def figures(
        self, bundle_digest: str, device_ids: Sequence[str], *, since: int, until: int
    ) -> tuple[HourFigures, ...]:
        """See `HourStore.figures`."""
        import numpy as np

        side = self.digests.index(bundle_digest)
        first, last = max(0, since - self._first), max(0, until - self._first + 1)
        chosen = np.array([self._places[name] for name in device_ids], dtype=int)
        tables = [self._counts[name][side][chosen, first:last] for name in _COUNTS]
        active = (tables[0] + tables[4] + tables[5]) > 0
        rows, hours = np.nonzero(active)
        slow = self._fault.slowness if side else 1.0
        noise = np.random.default_rng(hours.size).lognormal(0.0, 0.15, rows.size)
        latency = self._speed[chosen[rows]] * slow * noise
        columns = [table[active].tolist() for table in tables]
        return tuple(
            HourFigures(device_ids[row], self._first + first + hour, *counts[:5], ms, counts[5])
            for row, hour, ms, *counts in zip(rows.tolist(), hours.tolist(), latency.tolist(), *columns, strict=True)
        )

    def devices(self, channel: str, *, is_default: bool) -> tuple[RosterDevice, ...]:
        """See `Roster.devices`."""
        base, new = self.digests
        rows = zip(self.members, self.last_seen.tolist(), self.has_new.tolist(), self.gave_up.tolist(), strict=True)
        return tuple(
            RosterDevice(member, seen, new if has_new else base, (new,) if gave_up else ())
            for member, seen, has_new, gave_up in rows
        )

    def record(self, device_id: str, hours: tuple[BundleHour, ...]) -> None:
        """Simulated devices record nothing."""

    def histograms(
        self, bundle_digest: str, *, since: int, until: int, device_ids: Sequence[str] | None = None
    ) -> Histograms:
        """Simulated devices see no classes."""
        return Histograms()

    def first_hour(self, bundle_digest: str) -> int | None:
        """The first hour of the simulation."""
        return self._first

    def forget(self, *, before: int) -> int:
        """Nothing is forgotten."""
        return 0


def simulate(rollout: Rollout, fleet: SimulatedFleet, *, begins: float, most_hours: float = 48.0) -> Outcome:
    """Runs a rollout to its end, or until the time is up.

    Args:
        rollout: As it starts.
        fleet: Whose devices.
        begins: The first moment; the fleet runs the old bundle for a day before the rollout starts.
        most_hours: When to give up.
    """
    parts = WatchParts(rollouts=None, hours=fleet, roster=fleet, default_channel=rollout.channel)  # type: ignore[arg-type]
    now, step_s = begins, STEP_MINUTES * 60
    reached, looks = 0.0, 0
    while rollout.state is RolloutState.RUNNING and now - begins < most_hours * 3600:
        fleet.direct(rollout)
        now += step_s
        fleet.step(now)
        reached = max(reached, float((fleet.has_new | fleet.gave_up).mean()))
        findings: Findings = look(rollout, parts, now=now)
        looks += 1
        rollout = following(rollout, findings.verdict, now=now) or rollout
    return Outcome(rollout=rollout, reached=reached, hours=(now - begins) / 3600, looks=looks)

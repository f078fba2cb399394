"""Counters of the running agent and the latency of its last answers: small enough for every check-in."""

from __future__ import annotations

import dataclasses
import enum
import math
import threading
import time
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from edge.outbox.base import OutboxStats
from edge.statistics import TOP_CLASSES, HourBook, with_fewer_classes
from edge.sync.types import BundleHour, DeviceStatus
from edge.types import Inference, Outcome, Text
from edge.update.types import Slot

WINDOW = 512
MAX_TOLD_REJECTED = 16
"""Digests of failed bundles in a check-in, the newest; more would leave no room for anything else."""
_OUTCOMES = {Outcome.ACCEPT: "accepted", Outcome.CONFIRM: "confirmed", Outcome.UNKNOWN: "unknown"}


class Topic(enum.Enum):
    """What may stand wrong, the gravest first: of several troubles the first is told."""

    CAMERA = "camera"
    OUTBOX = "outbox"
    DAMAGE = "damage"
    DISK = "disk"
    ROAD = "road"
    FRAME = "frame"


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """What the agent has counted since its start.

    Attributes:
        frames_seen: Frames that were taken from the source.
        frames_answered: Frames with an answer.
        frames_unreadable: Files and frames that are no usable picture.
        frames_failed: Frames that the network failed on.
        frames_unchanged: Frames that were skipped, for the scene was as it was.
        frames_superseded: Frames of a camera that gave way to a newer one; these were never taken, and are not in
            `frames_seen`.
        accepted: Answers ACCEPT.
        confirmed: Answers CONFIRM.
        unknown: Answers UNKNOWN.
        kept: Samples that went into the outbox.
        keep_failed: Samples that should have gone there, but the disk failed.
        too_large: Samples that were not kept for their size.
        near_duplicates: Samples that were not kept, for one much like them was.
        over_budget: Samples that were not kept, for the budget was spent.
        private: Samples that were not kept, for they show what nobody may see.
        passes: Passes over the source that are finished.
        bytes_seen: Encoded bytes of the frames.
        bytes_uploaded: Payload bytes sent.
        bytes_fetched: Bytes of releases and their metadata.
        frames_by_bundle: Answers by bundle digest.
        frames_by_version: Answers by bundle version.
        latency_p50_ms: Median time from picture to decision over the last answers; 0 before the first.
        latency_p95_ms: 95th percentile of the same.
        last_error: What stands wrong now, in one line, the gravest of several (`Topic`); empty when all is well.
    """

    frames_seen: int = 0
    frames_answered: int = 0
    frames_unreadable: int = 0
    frames_failed: int = 0
    frames_unchanged: int = 0
    frames_superseded: int = 0
    accepted: int = 0
    confirmed: int = 0
    unknown: int = 0
    kept: int = 0
    keep_failed: int = 0
    too_large: int = 0
    near_duplicates: int = 0
    over_budget: int = 0
    private: int = 0
    passes: int = 0
    bytes_seen: int = 0
    bytes_uploaded: int = 0
    bytes_fetched: int = 0
    frames_by_bundle: dict[str, int] = field(default_factory=dict)
    frames_by_version: dict[str, int] = field(default_factory=dict)
    latency_p50_ms: float = 0.0
    latency_p95_ms: float = 0.0
    last_error: str = ""

    @property
    def frames_dropped(self) -> int:
        """Frames that were taken from the source and came to nothing at all; must be 0."""
        ended = self.frames_answered + self.frames_unreadable + self.frames_failed + self.frames_unchanged
        return max(0, self.frames_seen - ended)


class Telemetry:
    """Counts; thread-safe.

    Attributes:
        times_reported: Check-ins that have brought hours home.

    Args:
        window: Answers that the latencies are taken over.
        run: Names this run of the process, 8 hex digits.
        clock: Seconds since the epoch, UTC; may jump.
    """

    def __init__(self, *, window: int = WINDOW, run: str = "00000000", clock: Callable[[], float] = time.time) -> None:
        self.times_reported = 0
        self._lock = threading.Lock()
        self._clock = clock
        self._hours = HourBook(run)
        self._numbers: Counter[str] = Counter()
        self._by_bundle: Counter[str] = Counter()
        self._by_version: Counter[str] = Counter()
        self._latencies: deque[float] = deque(maxlen=window)
        self._troubles: dict[Topic, str] = {}

    def add(self, **numbers: int) -> None:
        """Adds to counters by the names of `Counts`."""
        with self._lock:
            self._numbers.update(numbers)
            if "kept" in numbers:
                self._hours.kept(numbers["kept"])

    def answered(self, inference: Inference, version: int) -> None:
        """Counts one answer.

        Args:
            inference: What the engine said.
            version: Of the bundle that judged.
        """
        decision, bundle, ms = inference.decision, inference.bundle_digest, inference.timings.total_ms
        # What was read may be anything, and is nobody's business in a statistic: of texts there are no classes.
        label = "" if isinstance(inference.prediction, Text) else inference.prediction.headline.label
        with self._lock:
            self._numbers["frames_answered"] += 1
            self._numbers[_OUTCOMES[decision.outcome]] += 1
            self._by_bundle[bundle] += 1
            self._by_version[str(version)] += 1
            self._latencies.append(ms)
            self._hours.answered(self._clock(), bundle, decision.outcome, decision.confidence, label, ms)

    def failed(self, bundle_digest: str) -> None:
        """Counts a frame on which the network of a bundle failed, whatever becomes of the frame."""
        with self._lock:
            self._hours.failed(self._clock(), bundle_digest)

    def hours(self, bundle_digest: str, waiting: int) -> tuple[BundleHour, ...]:
        """What bundles did in hours that the server has not heard of, or only in part, oldest first.

        Args:
            bundle_digest: The bundle that runs, empty for none.
            waiting: Entries in the outbox now.
        """
        with self._lock:
            now = self._clock()
            self._hours.waiting(now, bundle_digest, waiting)
            return self._hours.untold(now)

    def reported(self, hours: Sequence[BundleHour]) -> None:
        """Remembers which hours a check-in has brought home; those that are over are forgotten."""
        with self._lock:
            self.times_reported += 1
            self._hours.told(hours)

    def untold(self, *, over: bool = False) -> tuple[BundleHour, ...]:
        """What would be lost with this process, oldest first.

        Args:
            over: Only that which nothing will be added to.
        """
        with self._lock:
            now = self._clock()
            return self._hours.over(now) if over else self._hours.untold(now)

    def restore(self, hours: Sequence[BundleHour]) -> None:
        """Takes what earlier runs counted and no check-in brought home."""
        with self._lock:
            self._hours.restore(hours)

    def trouble(self, topic: Topic, line: str) -> None:
        """Remembers what stands wrong with something; an empty line says that all is well with it again."""
        with self._lock:
            self._troubles[topic] = line

    def counts(self) -> Counts:
        """Everything, at one moment."""
        with self._lock:
            latencies = sorted(self._latencies)
            return dataclasses.replace(
                Counts(),
                **self._numbers,
                frames_by_bundle=dict(self._by_bundle),
                frames_by_version=dict(self._by_version),
                latency_p50_ms=quantile(latencies, 0.5),
                latency_p95_ms=quantile(latencies, 0.95),
                last_error=next((line for topic in Topic if (line := self._troubles.get(topic))), ""),
            )


def quantile(ordered: Sequence[float], share: float) -> float:
    """The nearest-rank quantile of sorted values; 0 for none."""
    if not ordered:
        return 0.0
    return ordered[max(0, math.ceil(share * len(ordered)) - 1)]


@dataclass(frozen=True, slots=True, kw_only=True)
class Circumstances:
    """What a check-in tells besides counts.

    Attributes:
        device_id: The device's name.
        software: `edgeloop <version>`.
        platform: Machine and system, as `aarch64 linux`.
        clock: The device's wall clock, seconds since the epoch, UTC; 0 to leave it out.
        starts: Starts of the agent in this home, ever.
        unclean_starts: Of these, after no proper stop.
        on_trial: Whether the active bundle is on trial.
        rejected: Digests of bundles that failed here, newest last.
    """

    device_id: str
    software: str
    platform: str = ""
    clock: float = 0.0
    starts: int = 0
    unclean_starts: int = 0
    on_trial: bool = False
    rejected: tuple[str, ...] = ()


def device_status(counts: Counts, slot: Slot, outbox: OutboxStats, circumstances: Circumstances) -> DeviceStatus:
    """What is told at check-in, without the statistics of `with_hours`."""
    return DeviceStatus(
        device_id=circumstances.device_id,
        software=circumstances.software,
        bundle_digest=slot.bundle_digest,
        bundle_version=slot.version,
        outbox_pending=outbox.pending,
        frames=counts.frames_answered,
        accepted=counts.accepted,
        confirmed=counts.confirmed,
        unknown=counts.unknown,
        kept=counts.kept,
        latency_p50_ms=counts.latency_p50_ms,
        last_error=counts.last_error[:500],
        outbox_bytes=outbox.pending_bytes,
        outbox_parked=outbox.parked,
        starts=circumstances.starts,
        unclean_starts=circumstances.unclean_starts,
        on_trial=circumstances.on_trial,
        rejected=circumstances.rejected[-MAX_TOLD_REJECTED:],
        clock=circumstances.clock,
        platform=circumstances.platform,
    )


def with_hours(status: DeviceStatus, hours: Sequence[BundleHour]) -> DeviceStatus:
    """A status with as many hours, oldest first, as a check-in may hold (`limits.MAX_CHECK_IN_BYTES`).

    An hour of many long labels that does not even fit alone tells fewer of them apart.
    """
    from edge.wire import convert, limits

    room = limits.MAX_CHECK_IN_BYTES - convert.check_in_size(status)
    told: list[BundleHour] = []
    for hour in hours[: limits.MAX_HOURS]:
        most = TOP_CLASSES
        while convert.hour_size(hour) > room and not told and most:
            most //= 2
            hour = with_fewer_classes(hour, most)
        room -= convert.hour_size(hour)
        if room < 0:
            break
        told.append(hour)
    return dataclasses.replace(status, hours=tuple(told))

"""What each bundle did in each hour: counts and small histograms in bounded memory, until the server has heard of them.

Kept in memory; `edge.hours_file` has what no check-in has told outlive a restart. Without a road, two days are kept for
up to four bundles; then the oldest goes.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from edge.sync.types import CONFIDENCE_BINS, BundleHour
from edge.types import Outcome

MAX_HOURS = 48
MAX_BUNDLES = 4
TOP_CLASSES = 24
"""Labels of an hour that are told apart; the others are added up under the empty name."""
_MAX_LABELS = 512  # that are told apart in memory
_LABEL_CHARACTERS = 100
_LAST_MOMENT = 253_402_300_799.0
_HOUR_S = 3600.0
_OCTAVE = 8  # buckets of latency to a doubling: within 4.5 %
_LEAST_MS = 0.1
_LAST_BUCKET = 20 * _OCTAVE  # about 100 s


@dataclass(slots=True)
class _Tally:
    """One bundle in one hour."""

    frames: int = 0
    accepted: int = 0
    confirmed: int = 0
    unknown: int = 0
    failed: int = 0
    kept: int = 0
    depth: int = 0
    confidence: list[int] = field(default_factory=lambda: [0] * CONFIDENCE_BINS)
    classes: dict[str, int] = field(default_factory=dict)
    latencies: dict[int, int] = field(default_factory=dict)
    told: tuple[int, ...] = ()

    @property
    def mark(self) -> tuple[int, ...]:
        """Changes with every change."""
        return self.frames, self.failed, self.kept, self.depth


class HourBook:
    """Counts by bundle and hour. Not thread-safe: `Telemetry` holds its lock around every call.

    Args:
        run: Names this run of the process, 8 hex digits.
    """

    def __init__(self, run: str) -> None:
        self.lost = 0
        self._run = run
        self._earlier: dict[tuple[int, str, str], BundleHour] = {}
        self._tallies: dict[tuple[int, str], _Tally] = {}
        self._last: _Tally | None = None
        self._last_key = (0, "")

    def answered(self, now: float, bundle: str, outcome: Outcome, confidence: float, label: str, ms: float) -> None:
        """Counts one answer.

        Args:
            now: Seconds since the epoch, UTC.
            bundle: Digest of the bundle that answered.
            outcome: Its decision.
            confidence: In [0, 1].
            label: Of the headline, may be empty.
            ms: From picture to decision.
        """
        tally = self._tally(now, bundle)
        tally.frames += 1
        if outcome is Outcome.ACCEPT:
            tally.accepted += 1
        elif outcome is Outcome.CONFIRM:
            tally.confirmed += 1
        else:
            tally.unknown += 1
        tally.confidence[min(CONFIDENCE_BINS - 1, max(0, int(confidence * CONFIDENCE_BINS)))] += 1
        classes = tally.classes
        if label not in classes and len(classes) >= _MAX_LABELS:
            label = ""
        classes[label] = classes.get(label, 0) + 1
        place = bucket_of(ms)
        tally.latencies[place] = tally.latencies.get(place, 0) + 1

    def failed(self, now: float, bundle: str) -> None:
        """Counts a frame on which the network failed."""
        self._tally(now, bundle).failed += 1

    def kept(self, number: int) -> None:
        """Counts samples for the bundle that answered last: what is kept is told a moment after its answer."""
        if self._last is not None:
            self._last.kept += number

    def waiting(self, now: float, bundle: str, number: int) -> None:
        """Remembers the largest number of entries that waited in the outbox."""
        if bundle:
            tally = self._tally(now, bundle)
            tally.depth = max(tally.depth, number)

    def restore(self, hours: Iterable[BundleHour]) -> None:
        """Takes what earlier runs counted; it keeps their names, so that this run adds to it and never replaces it."""
        for hour in hours:
            self._make_room(hour.hour)
            self._earlier[_key(hour)] = hour

    def untold(self, now: float) -> tuple[BundleHour, ...]:
        """What the server has not heard of yet or only in part, oldest first."""
        self._forget_told(now)
        own = [self._hour(key) for key, tally in self._tallies.items() if tally.mark != tally.told]
        return tuple(sorted((*self._earlier.values(), *own), key=_key))

    def over(self, now: float) -> tuple[BundleHour, ...]:
        """Of these, what the server has not heard more of since: all but the present hour once it has been told."""
        present = _hour_of(now)
        heard = {bundle for (hour, bundle), tally in self._tallies.items() if hour == present and tally.told}
        return tuple(
            hour
            for hour in self.untold(now)
            if hour.hour != present or hour.run != self._run or hour.bundle_digest not in heard
        )

    def told(self, hours: Iterable[BundleHour]) -> None:
        """Remembers what a check-in has brought home."""
        for hour in hours:
            tally = self._tallies.get((hour.hour, hour.bundle_digest))
            if self._earlier.pop(_key(hour), None) is None and tally is not None and hour.run == self._run:
                tally.told = (hour.frames, hour.failed, hour.kept, hour.outbox_depth)

    def _tally(self, now: float, bundle: str) -> _Tally:
        key = (_hour_of(now), bundle)
        if key != self._last_key or self._last is None:
            self._last_key, self._last = key, self._tallies.get(key) or self._begin(key)
        return self._last

    def _begin(self, key: tuple[int, str]) -> _Tally:
        self._forget_told(key[0] * _HOUR_S)
        self._make_room(key[0])
        tally = self._tallies[key] = _Tally()
        return tally

    def _make_room(self, hour: int) -> None:
        """Gives up the oldest, of earlier runs first, until one more entry of an hour fits."""
        while len(self._tallies) + len(self._earlier) >= MAX_HOURS * MAX_BUNDLES or self._is_full_of(hour):
            self.lost += 1
            earlier, own = min(self._earlier, default=None), min(self._tallies, default=None)
            if earlier is not None and (own is None or earlier[0] <= own[0]):
                del self._earlier[earlier]
            elif own is not None and self._tallies.pop(own) is self._last:
                self._last = None

    def _is_full_of(self, hour: int) -> bool:
        hours = {key[0] for key in (*self._tallies, *self._earlier)}
        return hour not in hours and len(hours) >= MAX_HOURS

    def _forget_told(self, now: float) -> None:
        """Hours that are over and that the server knows; not the last one, for a clock may be set back over its end."""
        present = int(now // _HOUR_S)
        kept = (present - 1, present)
        done = [key for key, tally in self._tallies.items() if key[0] not in kept and tally.mark == tally.told]
        for key in done:
            if self._tallies.pop(key) is self._last:
                self._last = None

    def _hour(self, key: tuple[int, str]) -> BundleHour:
        tally = self._tallies[key]
        return BundleHour(
            bundle_digest=key[1],
            hour=key[0],
            run=self._run,
            frames=tally.frames,
            accepted=tally.accepted,
            confirmed=tally.confirmed,
            unknown=tally.unknown,
            failed=tally.failed,
            kept=tally.kept,
            confidence=tuple(tally.confidence),
            classes=top_classes(tally.classes, TOP_CLASSES),
            latency_p50_ms=latency_quantile(tally.latencies, 0.5),
            latency_p90_ms=latency_quantile(tally.latencies, 0.9),
            latency_p99_ms=latency_quantile(tally.latencies, 0.99),
            outbox_depth=tally.depth,
        )


def _hour_of(now: float) -> int:
    return int(min(max(now, 0.0), _LAST_MOMENT) // _HOUR_S)


def _key(hour: BundleHour) -> tuple[int, str, str]:
    """What the server tells hours of one device apart by; the oldest comes first."""
    return hour.hour, hour.bundle_digest, hour.run


def with_fewer_classes(hour: BundleHour, most: int) -> BundleHour:
    """The same hour with at most so many labels told apart."""
    return replace(hour, classes=top_classes(hour.classes, most))


def top_classes(classes: Mapping[str, int], most: int) -> dict[str, int]:
    """The commonest labels; all others are added up under the empty name, so that the sum stays."""
    named: Counter[str] = Counter()
    for label, number in classes.items():
        named[_sendable(label)] += number
    del named[""]
    kept = dict(sorted(named.items(), key=lambda item: (-item[1], item[0]))[:most])
    others = sum(classes.values()) - sum(kept.values())
    return {**kept, "": others} if others else kept


def _sendable(label: str) -> str:
    """A label as the wire takes it; very long ones that begin alike are added up."""
    return label[:_LABEL_CHARACTERS].replace("\x00", "").encode(errors="replace").decode()


def bucket_of(ms: float) -> int:
    """The bucket of a latency: buckets grow by 2^(1/8) from 0.1 ms on."""
    return min(_LAST_BUCKET, max(0, int(_OCTAVE * math.log2(ms / _LEAST_MS)))) if ms > _LEAST_MS else 0


def latency_quantile(buckets: Mapping[int, int], share: float) -> float:
    """The nearest-rank quantile, as the middle of its bucket in ms, to 3 digits; 0 for none."""
    rank, seen = max(1, math.ceil(share * sum(buckets.values()))), 0
    for place in sorted(buckets):
        seen += buckets[place]
        if seen >= rank:
            return float(f"{_LEAST_MS * 2 ** ((place + 0.5) / _OCTAVE):.3g}")
    return 0.0

"""Samples that have arrived whole: looked through in groups, made durable in groups. Blocking; on worker threads."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloud_train.errors import ForbiddenError
from cloud_train.ingest.commit import Outcomes
from cloud_train.ingest.intake import Intake, PayloadRefusedError
from cloud_train.ingest.metrics import IngestMetrics
from cloud_train.ingest.picture import payload_fault
from cloud_train.store.blobs import BlobStore
from cloud_train.store.meta import MetaStore
from cloud_train.types import SampleRecord
from edge.sync.types import SampleOffer


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Arrival:
    """A sample whose last byte is here.

    Attributes:
        offer: What it is.
        data: Its payload, not yet looked at; None when that is a file.
        path: The file of a payload that came in pieces and was checked; None when it is in memory.
    """

    offer: SampleOffer
    data: bytes | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class ArrivalParts:
    """What it takes to store samples.

    Attributes:
        meta: Where records are.
        blobs: Where pictures are.
        intake: Drops what an earlier, broken upload left of the same payload.
        metrics: Where groups are counted.
        max_pixels: Largest picture taken, width times height.
        clock: Seconds since the epoch, UTC.
    """

    meta: MetaStore
    blobs: BlobStore
    intake: Intake
    metrics: IngestMetrics
    max_pixels: int
    clock: Callable[[], float]


def store_arrivals(parts: ArrivalParts, arrivals: tuple[Arrival, ...]) -> Outcomes:
    """Looks through a group and makes those that are sound durable: pictures first, then all records together.

    Args:
        parts: Of the server.
        arrivals: One group. Those in files were checked when they ended.

    Returns:
        For each a `PayloadRefusedError`, a `ForbiddenError` when its device has been shut out, or None.

    Raises:
        StorageError: Nothing was recorded; pictures may have been kept.
    """
    faults = {arrival: _fault_of(arrival, parts) for arrival in arrivals}
    sound = tuple(arrival for arrival, fault in faults.items() if not fault)
    shut_out = _commit(parts, sound) if sound else frozenset[str]()
    return [_outcome(arrival, faults[arrival], shut_out) for arrival in arrivals]


def _commit(parts: ArrivalParts, arrivals: tuple[Arrival, ...]) -> frozenset[str]:
    begun = time.monotonic()
    in_memory = {arrival.offer.digest: arrival.data for arrival in arrivals if arrival.data is not None}
    in_files = {arrival.offer.digest: arrival.path for arrival in arrivals if arrival.path is not None}
    if in_memory:
        parts.blobs.put_many(in_memory)
    if in_files:
        parts.blobs.adopt(in_files)
    now = parts.clock()
    shut_out = parts.meta.add_samples(tuple(_record(arrival.offer, now) for arrival in arrivals))
    parts.metrics.group.observe(len(arrivals))
    parts.metrics.flushes.inc(len(arrivals) + 2)  # every file, their folder, the transaction
    parts.metrics.commit_s.observe(time.monotonic() - begun)
    return shut_out


def _outcome(arrival: Arrival, fault: str, shut_out: frozenset[str]) -> Exception | None:
    if fault:
        return PayloadRefusedError(fault)
    return _shut_out(arrival.offer) if arrival.offer.digest in shut_out else None


def _fault_of(arrival: Arrival, parts: ArrivalParts) -> str:
    if arrival.data is None:
        return ""
    parts.intake.forget(arrival.offer.digest)
    return payload_fault(arrival.data, arrival.offer, max_pixels=parts.max_pixels)


def _record(offer: SampleOffer, now: float) -> SampleRecord:
    return SampleRecord(digest=offer.digest, size_bytes=offer.size_bytes, received_at=now, metadata=offer.metadata)


def _shut_out(offer: SampleOffer) -> ForbiddenError:
    return ForbiddenError(f"device {offer.metadata.device_id!r} has been shut out", hint="enrol it again")

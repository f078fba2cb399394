"""The durable queue between inference and the road home. Format page: docs/formats/outbox.md."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Protocol

from edge.types import KeepReason, Outcome


class EntryState(enum.Enum):
    """Where an entry stands.

    PENDING waits, CLAIMED is being sent until its lease ends, SENT has a receipt and its picture is gone, PARKED was
    refused for good and waits for a person.
    """

    PENDING = "pending"
    CLAIMED = "claimed"
    SENT = "sent"
    PARKED = "parked"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleMetadata:
    """What the device knew about a sample when it kept it.

    Attributes:
        device_id: Which device.
        captured_at: Seconds since the epoch, UTC.
        source: Where the frame came from, for people.
        prediction_id: As in `Inference.prediction_id`.
        bundle_digest: SHA-256 of the bundle that judged, hex.
        label: Best class.
        confidence: Its calibrated probability, in [0, 1].
        margin: First minus second, in [0, 1].
        outcome: What the device decided.
        reason: Why it was kept.
        value: How much a label would teach, in [0, 1].
    """

    device_id: str
    captured_at: float
    source: str
    prediction_id: str
    bundle_digest: str
    label: str
    confidence: float
    margin: float
    outcome: Outcome
    reason: KeepReason
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """A picture worth a second look.

    Attributes:
        digest: SHA-256 of `payload`, hex.
        payload: The encoded picture.
        metadata: What the device knew.
    """

    digest: str
    payload: bytes
    metadata: SampleMetadata


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxEntry:
    """One row of the outbox, without its picture.

    Attributes:
        digest: SHA-256 of the payload, hex.
        size_bytes: Size of the payload.
        metadata: What the device knew.
        state: Where it stands.
        attempts: How often sending was begun.
    """

    digest: str
    size_bytes: int
    metadata: SampleMetadata
    state: EntryState
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStats:
    """Counts of an outbox.

    Attributes:
        pending: Entries waiting or being sent.
        sent: Entries with a receipt.
        parked: Entries refused for good.
        pending_bytes: Payload bytes waiting or being sent.
    """

    pending: int
    sent: int
    parked: int
    pending_bytes: int


class SampleOutbox(Protocol):
    """A durable queue, at least once, addressed by content. Thread-safe."""

    def put(self, sample: Sample, *, now: float) -> bool:
        """Keeps a sample; on return it survives a power cut.

        Returns:
            False when this digest was ever put before (nothing changes then).

        Raises:
            StorageError: The disk is full or failing; the outbox is as it was.
        """
        ...

    def claim(self, *, limit: int, now: float, lease_s: float) -> tuple[OutboxEntry, ...]:
        """Takes up to `limit` entries for sending, most valuable first; each comes back by itself after `lease_s`."""
        ...

    def payload(self, digest: str) -> bytes:
        """The picture of an unsent entry.

        Raises:
            KeyError: No such entry, or already sent.
        """
        ...

    def mark_sent(self, digests: tuple[str, ...], *, now: float) -> None:
        """Records receipts and frees the pictures; the digests stay, so that they are not kept again."""
        ...

    def release(self, digests: tuple[str, ...]) -> None:
        """Gives claimed entries back at once."""
        ...

    def park(self, digest: str, *, reason: str) -> None:
        """Sets an entry aside that the other side refused for good; its picture stays."""
        ...

    def entries(self) -> tuple[OutboxEntry, ...]:
        """All rows, oldest first."""
        ...

    def stats(self) -> OutboxStats:
        """Counts."""
        ...

    def close(self) -> None:
        """Closes the file. Calling it twice is harmless."""
        ...

"""The durable queue between inference and the road home. Format page: docs/formats/outbox.md."""

from __future__ import annotations

import enum
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from edge.types import Feedback, KeepReason, Outcome


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxLimits:
    """What an outbox may hold. When it is full the least valuable sample is shed first (`edge.outbox.shedding`).

    Attributes:
        max_bytes: Size of the file, at least 1,000,000; its log (4 MiB) comes on top. In memory: of the pictures.
        max_entries: Samples without a receipt, at least 1.
        max_remembered: Digests of sent samples, which are not kept again; the oldest are forgotten first.
        max_audit_rows: Rows of the audit; the oldest are forgotten first.
    """

    max_bytes: int = 2_000_000_000
    max_entries: int = 100_000
    max_remembered: int = 100_000
    max_audit_rows: int = 10_000

    def __post_init__(self) -> None:
        """Refuses limits under which nothing fits."""
        if self.max_bytes < 1_000_000:
            raise ValueError(f"max_bytes must be at least 1000000, found {self.max_bytes}")
        for name in ("max_entries", "max_remembered", "max_audit_rows"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be at least 1, found {getattr(self, name)}")

    @property
    def num_remembered(self) -> int:
        """`max_remembered`, or less where a small file would be full of digests."""
        return min(self.max_remembered, self.max_bytes // 2_000)

    @property
    def num_audit_rows(self) -> int:
        """`max_audit_rows`, or less where a small file would be full of them."""
        return min(self.max_audit_rows, self.max_bytes // 10_000)


class PutOutcome(enum.Enum):
    """What became of a sample that was put: it is kept, it was put before, or the outbox is full of better ones."""

    KEPT = "kept"
    KNOWN = "known"
    SHED = "shed"


class AuditAction(enum.Enum):
    """What an audit row is about.

    SHED: a sample left, or never came in, because the outbox is full. REFUSED: no server will ever take an answer.
    QUARANTINED: a damaged file was set aside. SALVAGED: what could still be read was taken over out of it.
    """

    SHED = "shed"
    REFUSED = "refused"
    QUARANTINED = "quarantined"
    SALVAGED = "salvaged"


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditRow:
    """One thing that was done without a person.

    Attributes:
        at: Seconds since the epoch, UTC.
        action: What was done.
        digest: Of the sample, hex; empty where it is about the whole file.
        size_bytes: Of its payload.
        value: As in `SampleMetadata`.
        detail: Why, in one line.
    """

    at: float
    action: AuditAction
    digest: str
    size_bytes: int
    value: float
    detail: str


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
        metadata: What the device knew; None once it is sent, when only the digest is remembered.
        state: Where it stands.
        attempts: How often sending was begun.
    """

    digest: str
    size_bytes: int
    metadata: SampleMetadata | None
    state: EntryState
    attempts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxStats:
    """Counts of an outbox.

    Attributes:
        pending: Entries waiting or being sent.
        sent: Samples that ever got a receipt, more than are remembered.
        parked: Entries refused for good.
        pending_bytes: Payload bytes waiting or being sent.
        shed: Samples that were ever shed.
        answers: People's answers that wait to be sent.
        file_bytes: Size of the file, 0 for one in memory.
    """

    pending: int
    sent: int
    parked: int
    pending_bytes: int
    shed: int = 0
    answers: int = 0
    file_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class WaitingAnswer:
    """A person's answer on its way home.

    Attributes:
        number: Names it within the outbox.
        digest: Of the sample it is about, hex.
        feedback: The answer.
    """

    number: int
    digest: str
    feedback: Feedback


class SampleOutbox(Protocol):
    """A durable queue, at least once, addressed by content. Thread-safe."""

    def put(self, sample: Sample, *, now: float) -> bool:
        """Keeps a sample; on return it survives a power cut.

        Returns:
            False when this digest was put before, or the outbox is full of better ones.

        Raises:
            FormatError: The digest is not the payload's, or the metadata cannot be written down.
            StorageError: The disk is full or failing; the outbox is as it was.
        """
        ...

    def put_many(self, samples: Sequence[Sample], *, now: float) -> tuple[PutOutcome, ...]:
        """`put` for several at once, in one durable write: all of them or none.

        Returns:
            One outcome a sample, in their order. A sample that a later one of the same call pushed out is SHED.
        """
        ...

    def put_answer(self, digest: str, feedback: Feedback, *, now: float) -> None:
        """Keeps a person's answer about a sample; on return it survives a power cut. The same answer twice is one.

        It waits until its sample has arrived, and outlives a sample that is shed: the server decides about it then.
        A sample with an answer is shed after all without one.

        Raises:
            FormatError: The answer cannot be written down.
            StorageError: As `put`, or the outbox is full of what cannot be shed.
        """
        ...

    def waiting_answers(self, *, limit: int) -> tuple[WaitingAnswer, ...]:
        """Answers about samples that are sent or not here (any more), oldest first: those the server can take."""
        ...

    def answers_sent(self, numbers: tuple[int, ...]) -> None:
        """Forgets answers that the server has taken."""
        ...

    def refuse_answer(self, number: int, *, reason: str, now: float) -> None:
        """Forgets an answer that no server will ever take, and writes it into the audit."""
        ...

    def audit(self, *, limit: int) -> tuple[AuditRow, ...]:
        """The newest rows of the audit, newest first."""
        ...

    def claim(self, *, limit: int, now: float, lease_s: float) -> tuple[OutboxEntry, ...]:
        """Takes up to `limit` entries for sending; each comes back by itself after `lease_s`.

        The most valuable come first, among equals those that came in first.
        """
        ...

    def payload(self, digest: str) -> bytes:
        """The picture of an unsent entry.

        Raises:
            KeyError: No such entry, or already sent.
        """
        ...

    def mark_sent(self, digests: tuple[str, ...], *, now: float) -> None:
        """Records receipts and frees the pictures; the digests are remembered, so that they are not kept again."""
        ...

    def release(self, digests: tuple[str, ...]) -> None:
        """Gives claimed entries back at once."""
        ...

    def release_all(self) -> None:
        """Gives back all that is claimed, by processes that are dead: only for the one that holds the outbox now."""
        ...

    def park(self, digest: str, *, reason: str) -> None:
        """Sets an entry aside that the other side refused for good; its picture stays."""
        ...

    def entries(self) -> tuple[OutboxEntry, ...]:
        """All that is here, and what is remembered of the sent, in the order of arrival."""
        ...

    def stats(self) -> OutboxStats:
        """Counts."""
        ...

    def maintain(self) -> None:
        """Does what can wait, so that no `put` has to: to be called every now and then by a thread that is idle."""
        ...

    def close(self) -> None:
        """Closes the file. Calling it twice is harmless."""
        ...

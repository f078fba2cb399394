"""An outbox without a disk: for `predict`, for tests, for devices that may not keep anything."""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

from edge.outbox import answers, metadata
from edge.outbox.base import (
    AuditAction,
    AuditRow,
    EntryState,
    OutboxEntry,
    OutboxLimits,
    OutboxStats,
    PutOutcome,
    Sample,
    WaitingAnswer,
)
from edge.outbox.placing import OVERFULL, PUSHED_OUT, TOO_LARGE
from edge.outbox.shedding import Worth, rank_of
from edge.types import Feedback


@dataclass(slots=True, kw_only=True)
class _Row:
    entry: OutboxEntry
    payload: bytes | None
    value: float
    sequence: int
    answered: bool
    claimed_at: float = 0.0
    claimed_until: float = 0.0

    @property
    def worth(self) -> Worth:
        is_parked = self.entry.state is EntryState.PARKED
        return Worth(rank=rank_of(answered=self.answered, parked=is_parked), value=self.value)

    def is_claimable(self, now: float) -> bool:
        if self.entry.state is EntryState.PENDING:
            return True
        return self.entry.state is EntryState.CLAIMED and not self.claimed_at <= now < self.claimed_until

    def turn(self, state: EntryState) -> None:
        self.entry = dataclasses.replace(self.entry, state=state)


class MemoryOutbox:
    """`SampleOutbox` in a dictionary; what is in it ends with the process.

    Args:
        limits: What it may hold; `max_bytes` is of the pictures.
    """

    def __init__(self, limits: OutboxLimits | None = None) -> None:
        self._limits = limits or OutboxLimits()
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}
        self._answers: dict[int, WaitingAnswer] = {}
        self._audit: deque[AuditRow] = deque(maxlen=self._limits.num_audit_rows)
        self._sequences = itertools.count(1)
        self._numbers = itertools.count(1)
        self._num_sent = self._num_shed = 0

    def put(self, sample: Sample, *, now: float) -> bool:
        """See `SampleOutbox.put`."""
        return self.put_many((sample,), now=now)[0] is PutOutcome.KEPT

    def put_many(self, samples: Sequence[Sample], *, now: float) -> tuple[PutOutcome, ...]:
        """See `SampleOutbox.put_many`."""
        for sample in samples:
            metadata.encode(sample)
        with self._lock:
            outcomes = [self._place(sample, now) for sample in samples]
            return tuple(
                PutOutcome.SHED if outcome is PutOutcome.KEPT and sample.digest not in self._rows else outcome
                for sample, outcome in zip(samples, outcomes, strict=True)
            )

    def put_answer(self, digest: str, feedback: Feedback, *, now: float) -> None:
        """See `SampleOutbox.put_answer`."""
        answers.encode(feedback)
        with self._lock:
            if any((one.digest, one.feedback) == (digest, feedback) for one in self._answers.values()):
                return
            number = next(self._numbers)
            self._answers[number] = WaitingAnswer(number=number, digest=digest, feedback=feedback)
            if digest in self._rows:
                self._rows[digest].answered = True

    def waiting_answers(self, *, limit: int) -> tuple[WaitingAnswer, ...]:
        """See `SampleOutbox.waiting_answers`."""
        with self._lock:
            ready = [one for one in self._answers.values() if not self._is_unsent(one.digest)]
            return tuple(ready[: max(limit, 0)])

    def answers_sent(self, numbers: tuple[int, ...]) -> None:
        """See `SampleOutbox.answers_sent`."""
        with self._lock:
            for number in numbers:
                self._answers.pop(number, None)

    def refuse_answer(self, number: int, *, reason: str, now: float) -> None:
        """See `SampleOutbox.refuse_answer`."""
        with self._lock:
            one = self._answers.pop(number, None)
            if one is not None:
                self._audit.append(
                    answers.refused_row(one.digest, answers.encode(one.feedback), reason=reason, now=now)
                )

    def audit(self, *, limit: int) -> tuple[AuditRow, ...]:
        """See `SampleOutbox.audit`."""
        with self._lock:
            return tuple(itertools.islice(reversed(self._audit), max(limit, 0)))

    def claim(self, *, limit: int, now: float, lease_s: float) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.claim`."""
        with self._lock:
            ready = [row for row in self._rows.values() if row.is_claimable(now)]
            ready.sort(key=lambda row: (-row.value, row.sequence))
            taken = ready[: max(limit, 0)]
            for row in taken:
                row.entry = dataclasses.replace(row.entry, state=EntryState.CLAIMED, attempts=row.entry.attempts + 1)
                row.claimed_at, row.claimed_until = now, now + lease_s
            return tuple(row.entry for row in taken)

    def payload(self, digest: str) -> bytes:
        """See `SampleOutbox.payload`."""
        with self._lock:
            data = self._rows[digest].payload
            if data is None:
                raise KeyError(digest)
            return data

    def mark_sent(self, digests: tuple[str, ...], *, now: float) -> None:
        """See `SampleOutbox.mark_sent`."""
        with self._lock:
            for row in self._known(digests):
                self._num_sent += row.entry.state is not EntryState.SENT
                row.entry = dataclasses.replace(row.entry, state=EntryState.SENT, metadata=None)
                row.payload = None
            sent = [row for row in self._rows.values() if row.entry.state is EntryState.SENT]
            for row in sent[: max(len(sent) - self._limits.num_remembered, 0)]:
                del self._rows[row.entry.digest]

    def release(self, digests: tuple[str, ...]) -> None:
        """See `SampleOutbox.release`."""
        with self._lock:
            for row in self._known(digests):
                if row.entry.state is EntryState.CLAIMED:
                    row.turn(EntryState.PENDING)

    def release_all(self) -> None:
        """See `SampleOutbox.release_all`."""
        with self._lock:
            digests = tuple(self._rows)
        self.release(digests)

    def park(self, digest: str, *, reason: str) -> None:
        """See `SampleOutbox.park`."""
        with self._lock:
            for row in self._known((digest,)):
                if row.entry.state is not EntryState.SENT:
                    row.turn(EntryState.PARKED)

    def entries(self) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.entries`."""
        with self._lock:
            return tuple(row.entry for row in self._rows.values())

    def stats(self) -> OutboxStats:
        """See `SampleOutbox.stats`."""
        with self._lock:
            unsent = self._unsent()
            waiting = [row.entry for row in unsent if row.entry.state is not EntryState.PARKED]
            return OutboxStats(
                pending=len(waiting),
                sent=self._num_sent,
                parked=len(unsent) - len(waiting),
                pending_bytes=sum(entry.size_bytes for entry in waiting),
                shed=self._num_shed,
                answers=len(self._answers),
            )

    def maintain(self) -> None:
        """See `SampleOutbox.maintain`."""

    def close(self) -> None:
        """See `SampleOutbox.close`."""

    def _place(self, sample: Sample, now: float) -> PutOutcome:
        if sample.digest in self._rows:
            return PutOutcome.KNOWN
        row = self._row_of(sample)
        if row.entry.size_bytes > self._limits.max_bytes:
            self._note_shed(row, now, TOO_LARGE)
            return PutOutcome.SHED
        victims = self._victims(row)
        if victims is None:
            self._note_shed(row, now, OVERFULL)
            return PutOutcome.SHED
        for victim in victims:
            del self._rows[victim.entry.digest]
            self._note_shed(victim, now, PUSHED_OUT)
        self._rows[sample.digest] = row
        return PutOutcome.KEPT

    def _victims(self, new: _Row) -> list[_Row] | None:
        """What must go for a new one; None when it is worth less than that."""
        unsent = self._unsent()
        num_over = len(unsent) + 1 - self._limits.max_entries
        over = sum(row.entry.size_bytes for row in unsent) + new.entry.size_bytes - self._limits.max_bytes
        may_go = [row for row in unsent if row.entry.state is not EntryState.CLAIMED and row.worth <= new.worth]
        may_go.sort(key=lambda row: (row.worth, row.sequence))
        victims: list[_Row] = []
        while num_over > 0 or over > 0:
            if len(victims) == len(may_go):
                return None
            victims.append(may_go[len(victims)])
            num_over, over = num_over - 1, over - victims[-1].entry.size_bytes
        return victims

    def _row_of(self, sample: Sample) -> _Row:
        entry = OutboxEntry(
            digest=sample.digest,
            size_bytes=len(sample.payload),
            metadata=sample.metadata,
            state=EntryState.PENDING,
            attempts=0,
        )
        return _Row(
            entry=entry,
            payload=sample.payload,
            value=sample.metadata.value,
            sequence=next(self._sequences),
            answered=any(one.digest == sample.digest for one in self._answers.values()),
        )

    def _note_shed(self, row: _Row, now: float, detail: str) -> None:
        self._num_shed += 1
        self._audit.append(
            AuditRow(
                at=now,
                action=AuditAction.SHED,
                digest=row.entry.digest,
                size_bytes=row.entry.size_bytes,
                value=row.value,
                detail=detail,
            )
        )

    def _unsent(self) -> list[_Row]:
        return [row for row in self._rows.values() if row.entry.state is not EntryState.SENT]

    def _is_unsent(self, digest: str) -> bool:
        return digest in self._rows and self._rows[digest].entry.state is not EntryState.SENT

    def _known(self, digests: tuple[str, ...]) -> list[_Row]:
        return [self._rows[digest] for digest in digests if digest in self._rows]

"""An outbox without a disk: for `predict`, for tests, for devices that may not keep anything."""

from __future__ import annotations

import dataclasses
import threading
from dataclasses import dataclass

from edge.outbox import metadata
from edge.outbox.base import EntryState, OutboxEntry, OutboxStats, Sample


@dataclass(slots=True, kw_only=True)
class _Row:
    entry: OutboxEntry
    payload: bytes | None
    created_at: float
    claimed_at: float = 0.0
    claimed_until: float = 0.0

    def is_claimable(self, now: float) -> bool:
        if self.entry.state is EntryState.PENDING:
            return True
        return self.entry.state is EntryState.CLAIMED and not self.claimed_at <= now < self.claimed_until

    def turn(self, state: EntryState) -> None:
        self.entry = dataclasses.replace(self.entry, state=state)


class MemoryOutbox:
    """`SampleOutbox` in a dictionary; what is in it ends with the process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._rows: dict[str, _Row] = {}

    def put(self, sample: Sample, *, now: float) -> bool:
        """See `SampleOutbox.put`."""
        metadata.encode(sample)
        with self._lock:
            if sample.digest in self._rows:
                return False
            entry = OutboxEntry(
                digest=sample.digest,
                size_bytes=len(sample.payload),
                metadata=sample.metadata,
                state=EntryState.PENDING,
                attempts=0,
            )
            self._rows[sample.digest] = _Row(entry=entry, payload=sample.payload, created_at=now)
            return True

    def claim(self, *, limit: int, now: float, lease_s: float) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.claim`."""
        with self._lock:
            ready = [row for row in self._rows.values() if row.is_claimable(now)]
            ready.sort(key=lambda row: (-row.entry.metadata.value, row.created_at))
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
                row.turn(EntryState.SENT)
                row.payload = None

    def release(self, digests: tuple[str, ...]) -> None:
        """See `SampleOutbox.release`."""
        with self._lock:
            for row in self._known(digests):
                if row.entry.state is EntryState.CLAIMED:
                    row.turn(EntryState.PENDING)

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
        entries = self.entries()
        waiting = [entry for entry in entries if entry.state in (EntryState.PENDING, EntryState.CLAIMED)]
        return OutboxStats(
            pending=len(waiting),
            sent=sum(entry.state is EntryState.SENT for entry in entries),
            parked=sum(entry.state is EntryState.PARKED for entry in entries),
            pending_bytes=sum(entry.size_bytes for entry in waiting),
        )

    def close(self) -> None:
        """See `SampleOutbox.close`."""

    def _known(self, digests: tuple[str, ...]) -> list[_Row]:
        return [self._rows[digest] for digest in digests if digest in self._rows]

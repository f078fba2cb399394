"""Putting samples into an outbox file: each is new or known, fits, pushes others out, or is not worth it."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from edge import durable
from edge.errors import StorageError
from edge.outbox import answers, ledger
from edge.outbox.base import AuditAction, AuditRow, EntryState, PutOutcome, Sample
from edge.outbox.capacity import Capacity, make_room, shed_rows
from edge.outbox.database import WAL_BYTES
from edge.outbox.shedding import Worth, rank_of

OVERFULL = "the outbox is full of what is worth more"
PUSHED_OUT = "the outbox is full and this was worth least"
TOO_LARGE = "larger than the whole outbox"
_INSERT = """
    INSERT INTO entries (digest, size_bytes, metadata, value, created_at, state, attempts, reason, rank)
    VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """A sample on its way into the file.

    Attributes:
        sample: The sample.
        text: Its metadata as JSON.
        created_at: When it was kept, seconds since the epoch.
        state: PENDING or PARKED.
        attempts: How often sending was begun.
        reason: Why it is parked.
    """

    sample: Sample
    text: str
    created_at: float
    state: EntryState = EntryState.PENDING
    attempts: int = 0
    reason: str = ""


class Placing:
    """One transaction that puts samples.

    Args:
        path: The file, for errors.
        db: Inside the transaction.
        capacity: Of the file.
        now: For the audit, seconds since the epoch.
    """

    def __init__(self, path: Path, db: sqlite3.Connection, capacity: Capacity, *, now: float) -> None:
        self._db = db
        self._capacity = capacity
        self._now = now
        self._disk = _DiskRoom(path, db)
        self._shed: set[str] = set()

    def place(self, placed: Placed) -> PutOutcome:
        """Puts one sample.

        Raises:
            StorageError: The disk has no room for it.
        """
        sample = placed.sample
        if self._db.execute("SELECT 1 FROM entries WHERE digest = ?", (sample.digest,)).fetchone():
            return PutOutcome.KNOWN
        is_parked = placed.state is EntryState.PARKED
        rank = rank_of(answered=answers.has(self._db, sample.digest), parked=is_parked)
        if not self._make_room(sample, Worth(rank=rank, value=sample.metadata.value)):
            return PutOutcome.SHED
        self._disk.take(self._db, len(sample.payload))
        self._insert(placed, rank)
        self._shed.discard(sample.digest)
        return PutOutcome.KEPT

    def final(self, sample: Sample, outcome: PutOutcome) -> PutOutcome:
        """What has become of a sample at the end: a later one may have pushed it out."""
        is_gone = outcome is PutOutcome.KEPT and sample.digest in self._shed
        return PutOutcome.SHED if is_gone else outcome

    def _make_room(self, sample: Sample, worth: Worth) -> bool:
        need = self._capacity.for_sample(len(sample.payload))
        victims = make_room(self._db, self._capacity, need, below=worth)
        keep = self._capacity.limits.num_audit_rows
        if victims is not None:
            self._shed.update(victim.digest for victim in victims)
            ledger.write(self._db, shed_rows(victims, now=self._now, detail=PUSHED_OUT), keep=keep)
            return True
        row = AuditRow(
            at=self._now,
            action=AuditAction.SHED,
            digest=sample.digest,
            size_bytes=len(sample.payload),
            value=sample.metadata.value,
            detail=TOO_LARGE if self._capacity.is_hopeless(need) else OVERFULL,
        )
        ledger.write(self._db, (row,), keep=keep)
        return False

    def _insert(self, placed: Placed, rank: int) -> None:
        sample = placed.sample
        added = self._db.execute(
            _INSERT,
            (
                sample.digest,
                len(sample.payload),
                placed.text,
                sample.metadata.value,
                placed.created_at,
                placed.state.value,
                placed.attempts,
                placed.reason,
                rank,
            ),
        )
        self._db.execute("INSERT INTO payloads (sequence, data) VALUES (?, ?)", (added.lastrowid, sample.payload))


class _DiskRoom:
    """Keeps some disk for claims and receipts: an outbox that has filled it must still be able to empty itself."""

    def __init__(self, path: Path, db: sqlite3.Connection) -> None:
        self._path = path
        self._logged_bytes = 0
        (self._page_bytes,) = db.execute("PRAGMA page_size").fetchone()
        (self._num_pages,) = db.execute("PRAGMA page_count").fetchone()
        try:
            self._free = shutil.disk_usage(path.parent).free
        except OSError as cause:
            raise durable.storage_error(path, cause) from cause

    def take(self, db: sqlite3.Connection, size_bytes: int) -> None:
        """Refuses a payload that would use up what is kept."""
        (num_pages,) = db.execute("PRAGMA page_count").fetchone()
        (free_pages,) = db.execute("PRAGMA freelist_count").fetchone()
        self._logged_bytes += size_bytes
        in_file = free_pages - (num_pages - self._num_pages)
        log_bytes = max(WAL_BYTES, self._logged_bytes)
        if self._free + in_file * self._page_bytes - log_bytes < size_bytes:
            message = f"outbox {self._path}: no space left on the disk: {self._free // 1024} kB are kept for sending"
            raise StorageError(message, hint="free some space, or let the outbox send what it has")

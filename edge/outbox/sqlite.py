"""The outbox on disk: one SQLite file that survives a pulled plug. Format page: docs/formats/outbox.md."""

from __future__ import annotations

import hashlib
import sqlite3
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from edge import durable
from edge.errors import DamagedError, StorageError
from edge.outbox import answers, ledger, metadata, schema, tally
from edge.outbox.base import (
    AuditRow,
    EntryState,
    OutboxEntry,
    OutboxLimits,
    OutboxStats,
    PutOutcome,
    Sample,
    WaitingAnswer,
)
from edge.outbox.capacity import Capacity, Need, make_room, shed_rows, shed_some, used_pages
from edge.outbox.database import WAL_BYTES as WAL_BYTES
from edge.outbox.database import Database, expect, give_back, has_room_for, one_moment
from edge.outbox.placing import PUSHED_OUT, Placed, Placing
from edge.outbox.shedding import ANSWERED_BIT, WAITING_RANKS
from edge.types import Feedback

_ENTRY = "SELECT digest, size_bytes, metadata, state, attempts FROM entries"
_UNCLAIM = "claimed_at = NULL, claimed_until = NULL"
# A clock that was set back ends a lease too: otherwise it would last until the clock has caught up.
_CLAIMABLE = """
    SELECT sequence, value FROM entries INDEXED BY entries_by_rank WHERE state <> 'sent' AND rank = :rank
    AND (state = 'pending' OR (state = 'claimed' AND NOT (claimed_at <= :now AND :now < claimed_until)))
"""
_FORGET = """
    DELETE FROM entries WHERE sequence IN
    (SELECT sequence FROM entries INDEXED BY entries_sent WHERE state = 'sent' ORDER BY sequence LIMIT ?)
"""


class SqliteOutbox:
    """`SampleOutbox` in one SQLite file (WAL, `synchronous=FULL`); usable from several threads and processes.

    Args:
        path: The file; it and its folder are made when missing.
        limits: What it may hold. A file that holds more sheds, and is made smaller, when it is opened.
        clock: Seconds since the epoch, for the audit of what is shed by calls that are not told the time.

    Raises:
        DamagedError: The file is not as it was written.
        StorageError: It cannot be opened, is not an outbox, or was written by a newer edgeloop.
    """

    def __init__(
        self, path: Path, limits: OutboxLimits | None = None, *, clock: Callable[[], float] = time.time
    ) -> None:
        self._path = path
        self._clock = clock
        durable.make_folder(path.parent)
        self._database = Database(path)
        try:
            schema.prepare(self._database)
            self._capacity = self._measure(limits or OutboxLimits())
            self._fit()
        except BaseException:
            self._database.close()
            raise

    def put(self, sample: Sample, *, now: float) -> bool:
        """See `SampleOutbox.put`."""
        return self.put_many((sample,), now=now)[0] is PutOutcome.KEPT

    def put_many(self, samples: Sequence[Sample], *, now: float) -> tuple[PutOutcome, ...]:
        """See `SampleOutbox.put_many`."""
        return self.place(
            tuple(Placed(sample=sample, text=metadata.encode(sample), created_at=now) for sample in samples), now=now
        )

    def place(self, placed: Sequence[Placed], *, now: float, point: str = "put") -> tuple[PutOutcome, ...]:
        """`put_many` of samples whose metadata is text already and whose state may be another."""
        if not placed:
            return ()
        with self._database.transaction(point) as db:
            placing = Placing(self._path, db, self._capacity, now=now)
            outcomes = [placing.place(one) for one in placed]
        return tuple(placing.final(one.sample, outcome) for one, outcome in zip(placed, outcomes, strict=True))

    def remember(self, digests: Sequence[str], *, now: float, point: str) -> None:
        """Takes over digests of samples that another file has sent."""
        with self._database.transaction(point) as db:
            self._make_room(db, self._capacity.for_changes(len(digests)), now=now)
            db.executemany(
                "INSERT INTO entries (digest, size_bytes, metadata, value, created_at, state, sent_at)"
                " VALUES (?, 0, '', 0.0, ?, 'sent', ?) ON CONFLICT (digest) DO NOTHING",
                [(digest, now, now) for digest in digests],
            )
            self._forget_the_oldest(db)

    def record(self, rows: Sequence[AuditRow], *, totals: Mapping[str, int], point: str) -> None:
        """Writes rows of the audit and makes totals at least so high."""
        with self._database.transaction(point) as db:
            self._make_room(db, self._capacity.for_changes(len(rows)), now=self._clock())
            self._write_audit(db, rows)
            for name, num in totals.items():
                ledger.raise_to(db, name, num)

    def put_answer(self, digest: str, feedback: Feedback, *, now: float) -> None:
        """See `SampleOutbox.put_answer`."""
        text = answers.encode(feedback)
        with self._database.transaction("put_answer") as db:
            # Before room is made: the sample itself is worth more now.
            answers.raise_rank(db, digest)
            if not self._make_room(db, self._capacity.for_answer(), now=now):
                raise StorageError(f"outbox {self._path}: full of answers", hint="let it send what it has")
            answers.insert(db, digest, text, now=now)

    def waiting_answers(self, *, limit: int) -> tuple[WaitingAnswer, ...]:
        """See `SampleOutbox.waiting_answers`."""
        with self._database.reading() as db:
            rows = answers.waiting(db, limit=limit)
        return tuple(answers.decode(*row, where=str(self._path)) for row in rows)

    def answers_sent(self, numbers: tuple[int, ...]) -> None:
        """See `SampleOutbox.answers_sent`."""
        with self._database.transaction("answers_sent") as db:
            answers.forget(db, numbers)

    def refuse_answer(self, number: int, *, reason: str, now: float) -> None:
        """See `SampleOutbox.refuse_answer`."""
        with self._database.transaction("refuse_answer") as db:
            row = db.execute("SELECT digest, feedback FROM answers WHERE number = ?", (number,)).fetchone()
            if row is not None:
                answers.forget(db, (number,))
                self._write_audit(db, (answers.refused_row(*row, reason=reason, now=now),))

    def audit(self, *, limit: int) -> tuple[AuditRow, ...]:
        """See `SampleOutbox.audit`."""
        with self._database.reading() as db:
            rows = ledger.read(db, limit=limit)
        return tuple(ledger.decode(row, where=str(self._path)) for row in rows)

    def claim(self, *, limit: int, now: float, lease_s: float) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.claim`."""
        with self._database.transaction("claim") as db:
            self._make_room(db, self._capacity.for_changes(limit), now=now)
            sequences = _most_valuable(db, limit=max(limit, 0), now=now)
            db.executemany(
                "UPDATE entries SET state = 'claimed', attempts = attempts + 1, claimed_at = ?, claimed_until = ?"
                " WHERE sequence = ?",
                [(now, now + lease_s, sequence) for sequence in sequences],
            )
            claimed = [db.execute(f"{_ENTRY} WHERE sequence = ?", (one,)).fetchone() for one in sequences]
        return tuple(self._entry(*row) for row in claimed)

    def payload(self, digest: str) -> bytes:
        """See `SampleOutbox.payload`; what is read is held against the digest."""
        with self._database.reading() as db:
            row = db.execute(
                "SELECT CASE WHEN length(data) = size_bytes THEN data END"
                " FROM entries LEFT JOIN payloads USING (sequence) WHERE digest = ? AND state <> 'sent'",
                (digest,),
            ).fetchone()
        if row is None:
            raise KeyError(digest)
        data = row[0]
        if not isinstance(data, bytes) or hashlib.sha256(data).hexdigest() != digest:
            raise DamagedError(f"outbox {self._path}: the payload of {digest} is damaged")
        return data

    def mark_sent(self, digests: tuple[str, ...], *, now: float) -> None:
        """See `SampleOutbox.mark_sent`."""
        rows = [(digest,) for digest in digests]
        with self._database.transaction("mark_sent") as db:
            db.executemany(
                "DELETE FROM payloads WHERE sequence = (SELECT sequence FROM entries WHERE digest = ?)", rows
            )
            self._make_room(db, self._capacity.for_changes(0), now=now)
            sent = db.executemany(
                f"UPDATE entries SET state = 'sent', sent_at = ?, metadata = '', reason = '', {_UNCLAIM}"  # noqa: S608
                " WHERE digest = ? AND state <> 'sent'",
                [(now, digest) for digest in digests],
            )
            ledger.add(db, ledger.SENT, sent.rowcount)
            self._forget_the_oldest(db)

    def release(self, digests: tuple[str, ...]) -> None:
        """See `SampleOutbox.release`."""
        with self._database.transaction("release") as db:
            db.executemany(
                f"UPDATE entries SET state = 'pending', {_UNCLAIM} WHERE digest = ? AND state = 'claimed'",  # noqa: S608
                [(digest,) for digest in digests],
            )

    def release_all(self) -> None:
        """See `SampleOutbox.release_all`."""
        with self._database.transaction("release") as db:
            db.execute(
                f"UPDATE entries INDEXED BY entries_claimed SET state = 'pending', {_UNCLAIM}"  # noqa: S608
                " WHERE state = 'claimed'"
            )

    def park(self, digest: str, *, reason: str) -> None:
        """See `SampleOutbox.park`."""
        with self._database.transaction("park") as db:
            self._make_room(db, self._capacity.for_changes(1), now=self._clock())
            db.execute(
                f"UPDATE entries SET state = 'parked', reason = ?, rank = rank & ?, {_UNCLAIM}"  # noqa: S608
                " WHERE digest = ? AND state <> 'sent'",
                (reason, ANSWERED_BIT, digest),
            )

    def entries(self) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.entries`."""
        with self._database.reading() as db:
            rows = db.execute(f"{_ENTRY} ORDER BY sequence").fetchall()
        return tuple(self._entry(*row) for row in rows)

    def stats(self) -> OutboxStats:
        """See `SampleOutbox.stats`."""
        with self._database.reading() as db, one_moment(db):
            counts = tally.count(db)
            totals = ledger.totals(db)
            (num_answers,) = db.execute("SELECT count(*) FROM answers").fetchone()
            (num_pages,) = db.execute("PRAGMA page_count").fetchone()
        return OutboxStats(
            pending=counts.waiting,
            sent=totals[ledger.SENT],
            parked=counts.parked,
            pending_bytes=counts.waiting_bytes,
            shed=totals[ledger.SHED],
            answers=num_answers,
            file_bytes=num_pages * self._capacity.page_bytes,
        )

    def maintain(self) -> None:
        """See `SampleOutbox.maintain`: writes the log back."""
        self._database.write_back()

    def close(self) -> None:
        """See `SampleOutbox.close`."""
        self._database.close()

    def _measure(self, limits: OutboxLimits) -> Capacity:
        with self._database.reading() as db:
            tally.begin(db)
            (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
        return Capacity(limits=limits, page_bytes=page_bytes)

    def _fit(self) -> None:
        """Brings a file under its limits that has been larger, and gives back what the disk can get safely."""
        need = self._capacity.nothing_more()
        while self._is_over(need):
            with self._database.transaction("fit") as db:
                self._forget_the_oldest(db)
                victims = shed_some(db, self._capacity, need)
                self._write_audit(db, shed_rows(victims, now=self._clock(), detail=PUSHED_OUT))
            if not victims:
                break
        with self._database.reading() as db:
            (num_pages,) = db.execute("PRAGMA page_count").fetchone()
            used = used_pages(db)
        is_worth_it = used <= self._capacity.max_pages < num_pages
        if is_worth_it and has_room_for(self._path, used * self._capacity.page_bytes):
            give_back(self._path)
        with self._database.reading() as db:
            # The last resort: should room be reckoned wrongly, the change fails and the file stays within its limit.
            db.execute(f"PRAGMA max_page_count={self._capacity.max_pages}").fetchall()

    def _is_over(self, need: Need) -> bool:
        with self._database.reading() as db, one_moment(db):
            too_many = tally.count(db).remembered > self._capacity.limits.num_remembered
            return too_many or max(self._capacity.lacking(db, need)) > 0

    def _make_room(self, db: sqlite3.Connection, need: Need, *, now: float) -> bool:
        victims = make_room(db, self._capacity, need)
        if victims:
            self._write_audit(db, shed_rows(victims, now=now, detail=PUSHED_OUT))
        return victims is not None

    def _write_audit(self, db: sqlite3.Connection, rows: Sequence[AuditRow]) -> None:
        ledger.write(db, rows, keep=self._capacity.limits.num_audit_rows)

    def _forget_the_oldest(self, db: sqlite3.Connection) -> None:
        too_many = tally.count(db).remembered - self._capacity.limits.num_remembered
        if too_many > 0:
            db.execute(_FORGET, (too_many,))

    def _entry(self, digest: object, size_bytes: object, text: object, state: object, attempts: object) -> OutboxEntry:
        where = f"{self._path}: {digest!s}"
        try:
            known = EntryState(state)
        except ValueError as cause:
            raise DamagedError(f"{where}: damaged state: {cause}") from cause
        return OutboxEntry(
            digest=expect(str, digest),
            size_bytes=expect(int, size_bytes),
            metadata=None if known is EntryState.SENT else metadata.decode(expect(str, text), where=where),
            state=known,
            attempts=expect(int, attempts),
        )


def _most_valuable(db: sqlite3.Connection, *, limit: int, now: float) -> list[int]:
    """The entries to be sent next: highest value first, among equals in the order they came."""
    found = [row for rank in WAITING_RANKS for row in _most_valuable_of(db, rank, limit=limit, now=now)]
    found.sort(key=lambda row: (-row[1], row[0]))
    return [sequence for sequence, _ in found[:limit]]


def _most_valuable_of(db: sqlite3.Connection, rank: int, *, limit: int, now: float) -> list[tuple[int, float]]:
    """Those of one rank, by two walks along the index: the best, then the first among equals of the last of them."""
    arguments = {"rank": rank, "now": now, "limit": limit}
    best = _numbers(db.execute(f"{_CLAIMABLE} ORDER BY rank DESC, value DESC LIMIT :limit", arguments).fetchall())
    if len(best) < limit or not best:
        return best
    lowest = best[-1][1]
    better = [row for row in best if row[1] > lowest]
    arguments |= {"lowest": lowest, "limit": limit - len(better)}
    return better + _numbers(
        db.execute(f"{_CLAIMABLE} AND value = :lowest ORDER BY sequence LIMIT :limit", arguments).fetchall()
    )


def _numbers(rows: list[tuple[object, object]]) -> list[tuple[int, float]]:
    return [(expect(int, sequence), expect(float, value)) for sequence, value in rows]

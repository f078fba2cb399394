"""The outbox on disk: one SQLite file that survives a pulled plug. Format page: docs/formats/outbox.md."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import threading
from collections.abc import Iterator
from pathlib import Path

from edge import durable
from edge.errors import StorageError
from edge.outbox import metadata
from edge.outbox.base import EntryState, OutboxEntry, OutboxStats, Sample

SCHEMA_VERSION = 1
APPLICATION_ID = 0x454C4F42
PAGE_BYTES = 16_384
BUSY_TIMEOUT_MS = 5_000
WAL_BYTES = 4 * 1024 * 1024
"""The log beside the file is written back when it has grown to this, and cut to it afterwards."""

_SCHEMA = (
    f"PRAGMA application_id={APPLICATION_ID}",
    """
    CREATE TABLE entries (
        sequence INTEGER PRIMARY KEY,
        digest TEXT NOT NULL UNIQUE,
        size_bytes INTEGER NOT NULL,
        metadata TEXT NOT NULL,
        value REAL NOT NULL,
        created_at REAL NOT NULL,
        state TEXT NOT NULL CHECK (state IN ('pending', 'claimed', 'sent', 'parked')),
        attempts INTEGER NOT NULL DEFAULT 0,
        claimed_at REAL,
        claimed_until REAL,
        sent_at REAL,
        reason TEXT NOT NULL DEFAULT ''
    )
    """,
    "CREATE INDEX entries_by_worth ON entries (state, value DESC, created_at)",
    "CREATE TABLE payloads (sequence INTEGER PRIMARY KEY REFERENCES entries (sequence), data BLOB NOT NULL)",
    f"PRAGMA user_version={SCHEMA_VERSION}",
)
_ENTRY = "SELECT digest, size_bytes, metadata, state, attempts FROM entries"
# A clock that was set back ends a lease too: otherwise it would last until the clock has caught up.
_CLAIMABLE = "state = 'pending' OR (state = 'claimed' AND NOT (claimed_at <= :now AND :now < claimed_until))"
_UNCLAIM = "claimed_at = NULL, claimed_until = NULL"


class SqliteOutbox:
    """`SampleOutbox` in one SQLite file (WAL, `synchronous=FULL`); usable from several threads and processes.

    Args:
        path: The file; it and its folder are made when missing.

    Raises:
        StorageError: The file cannot be opened, is damaged, is not an outbox, or was written by a newer edgeloop.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        durable.make_folder(path.parent)
        self._connection = _connect(path)
        try:
            self._prepare()
        except BaseException:
            self._connection.close()
            raise

    def put(self, sample: Sample, *, now: float) -> bool:
        """See `SampleOutbox.put`."""
        text = metadata.encode(sample)
        with self._transaction("put") as db:
            added = db.execute(
                "INSERT INTO entries (digest, size_bytes, metadata, value, created_at, state)"
                " VALUES (?, ?, ?, ?, ?, 'pending') ON CONFLICT (digest) DO NOTHING",
                (sample.digest, len(sample.payload), text, sample.metadata.value, now),
            )
            if added.rowcount == 0:
                return False
            _check_room(self._path, db, len(sample.payload))
            db.execute("INSERT INTO payloads (sequence, data) VALUES (?, ?)", (added.lastrowid, sample.payload))
        return True

    def claim(self, *, limit: int, now: float, lease_s: float) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.claim`."""
        with self._transaction("claim") as db:
            rows = db.execute(
                f"SELECT sequence FROM entries WHERE {_CLAIMABLE}"  # noqa: S608
                " ORDER BY value DESC, created_at, sequence LIMIT :limit",
                {"now": now, "limit": max(limit, 0)},
            ).fetchall()
            db.executemany(
                "UPDATE entries SET state = 'claimed', attempts = attempts + 1, claimed_at = ?, claimed_until = ?"
                " WHERE sequence = ?",
                [(now, now + lease_s, sequence) for (sequence,) in rows],
            )
            claimed = [db.execute(f"{_ENTRY} WHERE sequence = ?", row).fetchone() for row in rows]
        return tuple(self._entry(*row) for row in claimed)

    def payload(self, digest: str) -> bytes:
        """See `SampleOutbox.payload`."""
        with self._reading() as db:
            row = db.execute(
                "SELECT data FROM payloads JOIN entries USING (sequence) WHERE digest = ?", (digest,)
            ).fetchone()
        if row is None:
            raise KeyError(digest)
        return bytes(row[0])

    def mark_sent(self, digests: tuple[str, ...], *, now: float) -> None:
        """See `SampleOutbox.mark_sent`."""
        with self._transaction("mark_sent") as db:
            db.executemany(
                f"UPDATE entries SET state = 'sent', sent_at = ?, {_UNCLAIM} WHERE digest = ? AND state <> 'sent'",  # noqa: S608
                [(now, digest) for digest in digests],
            )
            db.executemany(
                "DELETE FROM payloads WHERE sequence = (SELECT sequence FROM entries WHERE digest = ?)",
                [(digest,) for digest in digests],
            )

    def release(self, digests: tuple[str, ...]) -> None:
        """See `SampleOutbox.release`."""
        with self._transaction("release") as db:
            db.executemany(
                f"UPDATE entries SET state = 'pending', {_UNCLAIM} WHERE digest = ? AND state = 'claimed'",  # noqa: S608
                [(digest,) for digest in digests],
            )

    def park(self, digest: str, *, reason: str) -> None:
        """See `SampleOutbox.park`."""
        with self._transaction("park") as db:
            db.execute(
                f"UPDATE entries SET state = 'parked', reason = ?, {_UNCLAIM} WHERE digest = ? AND state <> 'sent'",  # noqa: S608
                (reason, digest),
            )

    def entries(self) -> tuple[OutboxEntry, ...]:
        """See `SampleOutbox.entries`."""
        with self._reading() as db:
            rows = db.execute(f"{_ENTRY} ORDER BY sequence").fetchall()
        return tuple(self._entry(*row) for row in rows)

    def stats(self) -> OutboxStats:
        """See `SampleOutbox.stats`."""
        with self._reading() as db:
            rows = db.execute("SELECT state, count(*), sum(size_bytes) FROM entries GROUP BY state").fetchall()
        counts = {EntryState(state): (count, size) for state, count, size in rows}
        pending, claimed = (counts.get(state, (0, 0)) for state in (EntryState.PENDING, EntryState.CLAIMED))
        return OutboxStats(
            pending=pending[0] + claimed[0],
            sent=counts.get(EntryState.SENT, (0, 0))[0],
            parked=counts.get(EntryState.PARKED, (0, 0))[0],
            pending_bytes=pending[1] + claimed[1],
        )

    def close(self) -> None:
        """See `SampleOutbox.close`."""
        with self._lock:
            self._connection.close()

    def _prepare(self) -> None:
        """Checks whose file it is and writes the schema into a new one."""
        with self._reading() as db:
            if not _is_outbox(self._path, db):
                db.execute(f"PRAGMA page_size={PAGE_BYTES}")
            db.execute("PRAGMA journal_mode=WAL")
            db.execute("PRAGMA synchronous=FULL")
            db.execute(f"PRAGMA wal_autocheckpoint={WAL_BYTES // PAGE_BYTES}")
            db.execute(f"PRAGMA journal_size_limit={WAL_BYTES}")
            if _is_outbox(self._path, db):
                return
        with self._transaction("create") as db:
            if not _is_outbox(self._path, db):
                for statement in _SCHEMA:
                    db.execute(statement)
        durable.fsync_folder(self._path.parent)

    @contextlib.contextmanager
    def _transaction(self, point: str) -> Iterator[sqlite3.Connection]:
        """One durable write: all of the block or nothing of it."""
        with self._reading() as db:
            durable.reached(f"outbox.{point}:before")
            db.execute("BEGIN IMMEDIATE")
            try:
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            durable.reached(f"outbox.{point}:after")

    @contextlib.contextmanager
    def _reading(self) -> Iterator[sqlite3.Connection]:
        with self._lock:
            try:
                yield self._connection
            except sqlite3.Error as cause:
                raise _storage_error(self._path, cause) from cause

    def _entry(self, digest: str, size_bytes: int, text: str, state: str, attempts: int) -> OutboxEntry:
        known = metadata.decode(text, where=f"{self._path}: {digest}")
        return OutboxEntry(
            digest=digest, size_bytes=size_bytes, metadata=known, state=EntryState(state), attempts=attempts
        )


def _connect(path: Path) -> sqlite3.Connection:
    try:
        connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    except sqlite3.Error as cause:
        raise _storage_error(path, cause) from cause
    return connection


def _check_room(path: Path, db: sqlite3.Connection, size_bytes: int) -> None:
    """Keeps some disk for claims and receipts: an outbox that has filled it must still be able to empty itself."""
    try:
        free = shutil.disk_usage(path.parent).free
    except OSError as cause:
        raise durable.storage_error(path, cause) from cause
    (free_pages,) = db.execute("PRAGMA freelist_count").fetchone()
    room = free + free_pages * PAGE_BYTES - WAL_BYTES
    if room < size_bytes:
        message = f"outbox {path}: no space left on the disk: {free // 1024} kB are kept for sending"
        raise StorageError(message, hint="free some space, or let the outbox send what it has")


@contextlib.contextmanager
def _one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Reads of the block see the file as it was at the first of them, whatever another process writes meanwhile."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def _is_outbox(path: Path, db: sqlite3.Connection) -> bool:
    """False for an empty file; an outbox that this edgeloop cannot use is an error."""
    with _one_moment(db):
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (num_tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and num_tables == 0:
        return False
    if application != APPLICATION_ID:
        raise StorageError(f"{path} is not an outbox", hint="name another file, or move this one away")
    if version > SCHEMA_VERSION:
        message = f"{path} has outbox schema {version}, this edgeloop reads up to {SCHEMA_VERSION}"
        raise StorageError(message, hint="update edgeloop on this device")
    return True


def _storage_error(path: Path, cause: sqlite3.Error) -> StorageError:
    """What SQLite's answer means for a person, in one line."""
    name = getattr(cause, "sqlite_errorname", "")
    answers = {
        "SQLITE_FULL": ("no space left on the disk", "free some space and run the same command again"),
        "SQLITE_READONLY": ("it is read-only", "remount the disk for writing, or check the permissions"),
        "SQLITE_CANTOPEN": ("it cannot be opened", "check that the folder exists and may be written"),
        "SQLITE_IOERR": ("the disk failed or is full", "check the disk and its free space"),
        "SQLITE_CORRUPT": ("it is damaged", "move it away; a new one is made"),
        "SQLITE_NOTADB": ("it is damaged or not an outbox", "move it away; a new one is made"),
        "SQLITE_BUSY": ("another process holds it", "wait for the other edgeloop process, or stop it"),
    }
    for prefix, (what, hint) in answers.items():
        if name.startswith(prefix):
            return StorageError(f"outbox {path}: {what}", hint=hint)
    return StorageError(f"outbox {path}: {cause}", hint="check the disk")

"""The tables of an outbox file and how an older file becomes one of today. Format page: docs/formats/outbox.md."""

from __future__ import annotations

import sqlite3
from pathlib import Path

from edge import durable
from edge.errors import DamagedError, UnusableFileError
from edge.outbox.database import PAGE_BYTES, Database, one_moment, settle

APPLICATION_ID = 0x454C4F42

_VERSION_1 = (
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
)
_VERSION_2 = (
    "DROP INDEX entries_by_worth",
    "ALTER TABLE entries ADD COLUMN rank INTEGER NOT NULL DEFAULT 1",
    "UPDATE entries SET rank = 0 WHERE state = 'parked'",
    "UPDATE entries SET metadata = '', reason = '' WHERE state = 'sent'",
    # With the size in it, counting at the start reads no more than this index.
    "CREATE INDEX entries_by_rank ON entries (rank, value, sequence, size_bytes) WHERE state <> 'sent'",
    "CREATE INDEX entries_sent ON entries (sequence) WHERE state = 'sent'",
    "CREATE INDEX entries_claimed ON entries (sequence) WHERE state = 'claimed'",
    """
    CREATE TABLE answers (
        number INTEGER PRIMARY KEY AUTOINCREMENT,
        digest TEXT NOT NULL,
        feedback TEXT NOT NULL,
        created_at REAL NOT NULL
    )
    """,
    "CREATE INDEX answers_by_digest ON answers (digest)",
    """
    CREATE TABLE audit (
        number INTEGER PRIMARY KEY,
        at REAL NOT NULL,
        action TEXT NOT NULL,
        digest TEXT NOT NULL,
        size_bytes INTEGER NOT NULL,
        value REAL NOT NULL,
        detail TEXT NOT NULL
    )
    """,
    "CREATE TABLE totals (name TEXT PRIMARY KEY, num INTEGER NOT NULL) WITHOUT ROWID",
    "INSERT INTO totals VALUES ('sent', (SELECT count(*) FROM entries WHERE state = 'sent')), ('shed', 0)",
)
_STEPS = (_VERSION_1, _VERSION_2)
"""What makes version n + 1 of version n; a new file goes through all of them, so that all files are alike."""
SCHEMA_VERSION = len(_STEPS)


def prepare(database: Database) -> None:
    """Checks whose file it is, writes the schema into a new one and brings an older one up to date.

    Raises:
        DamagedError: It says it is an outbox, and is none that opens.
        UnusableFileError: It belongs to another program or a newer edgeloop.
        StorageError: It cannot be written.
    """
    with database.reading() as db:
        version = version_of(database.path, db)
        if version == 0:
            db.execute(f"PRAGMA page_size={PAGE_BYTES}")
        settle(db)
    if version < SCHEMA_VERSION:
        with database.transaction("migrate" if version else "create") as db:
            build(db, from_version=version_of(database.path, db), to_version=SCHEMA_VERSION)
        try:
            durable.fsync_folder(database.path.parent)
        except OSError as cause:
            raise durable.storage_error(database.path, cause) from cause


def build(db: sqlite3.Connection, *, from_version: int, to_version: int) -> None:
    """Brings an empty or older file up to a version; to be called inside a transaction."""
    for step in _STEPS[from_version:to_version]:
        for statement in step:
            db.execute(statement)
    db.execute(f"PRAGMA user_version={to_version}")


def version_of(path: Path, db: sqlite3.Connection) -> int:
    """The schema version, 0 for an empty file; an outbox that this edgeloop cannot use is an error."""
    with one_moment(db):
        (application,) = db.execute("PRAGMA application_id").fetchone()
        (version,) = db.execute("PRAGMA user_version").fetchone()
        (num_tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    if application == 0 and version == 0 and num_tables == 0:
        return 0
    if application != APPLICATION_ID:
        raise UnusableFileError(f"{path} is not an outbox", hint="name another file, or move this one away")
    if version < 1:
        raise DamagedError(f"{path} is damaged: it has outbox schema {version}", hint="move it away; a new one is made")
    if version > SCHEMA_VERSION:
        message = f"{path} has outbox schema {version}, this edgeloop reads up to {SCHEMA_VERSION}"
        raise UnusableFileError(message, hint="update edgeloop on this device")
    return int(version)

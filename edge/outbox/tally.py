"""Counts of an outbox, kept up to date in memory: a put must not count a hundred thousand rows, nor write a page more.

They lie in temporary tables of the connection and follow its changes by triggers, so that what is rolled back is not
counted. What another connection has written is noticed by SQLite's `data_version` and counted anew.
"""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from edge.outbox.database import expect

_CHANGE = """
    UPDATE tally SET num = num {sign} 1, size_bytes = size_bytes {sign} {row}.size_bytes
    WHERE kind = CASE {row}.state WHEN 'claimed' THEN 'pending' ELSE {row}.state END;
"""
_PLUS, _MINUS = _CHANGE.format(sign="+", row="NEW"), _CHANGE.format(sign="-", row="OLD")
_TABLES = (
    "CREATE TEMP TABLE tally (kind TEXT PRIMARY KEY, num INTEGER NOT NULL, size_bytes INTEGER NOT NULL)",
    "CREATE TEMP TABLE tally_of (data_version INTEGER NOT NULL)",
    f"CREATE TEMP TRIGGER tally_insert AFTER INSERT ON main.entries BEGIN {_PLUS} END",
    f"CREATE TEMP TRIGGER tally_update AFTER UPDATE OF state ON main.entries BEGIN {_MINUS} {_PLUS} END",
    f"CREATE TEMP TRIGGER tally_delete AFTER DELETE ON main.entries BEGIN {_MINUS} END",
)
_COUNT = (
    "DELETE FROM temp.tally",
    "INSERT INTO temp.tally VALUES ('pending', 0, 0), ('parked', 0, 0), ('sent', 0, 0)",
    # Both read their index alone. Odd ranks are those that wait.
    "UPDATE temp.tally SET (num, size_bytes) = (SELECT count(*), coalesce(sum(size_bytes), 0) FROM main.entries"
    " INDEXED BY entries_by_rank WHERE state <> 'sent' AND rank & 1 = (kind = 'pending')) WHERE kind <> 'sent'",
    "UPDATE temp.tally SET num = (SELECT count(*) FROM main.entries INDEXED BY entries_sent WHERE state = 'sent')"
    " WHERE kind = 'sent'",
    "DELETE FROM temp.tally_of",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tally:
    """How many rows there are.

    Attributes:
        waiting: Entries that are pending or claimed.
        waiting_bytes: Their payloads.
        parked: Entries that are parked.
        remembered: Entries that are sent.
    """

    waiting: int
    waiting_bytes: int
    parked: int
    remembered: int

    @property
    def unsent(self) -> int:
        """Samples without a receipt."""
        return self.waiting + self.parked


def begin(db: sqlite3.Connection) -> None:
    """Makes the tables of a new connection."""
    for statement in _TABLES:
        db.execute(statement)


def count(db: sqlite3.Connection) -> Tally:
    """The counts; to be called inside a transaction."""
    (version,) = db.execute("PRAGMA data_version").fetchone()
    if db.execute("SELECT data_version FROM temp.tally_of").fetchall() != [(version,)]:
        for statement in _COUNT:
            db.execute(statement)
        db.execute("INSERT INTO temp.tally_of VALUES (?)", (version,))
    rows = db.execute("SELECT num, size_bytes FROM temp.tally ORDER BY kind = 'pending', kind").fetchall()
    (parked, _), (sent, _), (waiting, waiting_bytes) = rows
    return Tally(waiting=waiting, waiting_bytes=expect(int, waiting_bytes), parked=parked, remembered=sent)

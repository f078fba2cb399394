"""What an outbox remembers of what it has done: totals for ever, and the newest rows of the audit."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from edge.errors import DamagedError
from edge.outbox.base import AuditAction, AuditRow
from edge.outbox.database import expect

SENT = "sent"
SHED = "shed"


def add(db: sqlite3.Connection, name: str, num: int) -> None:
    """Adds to a total."""
    if num:
        db.execute("UPDATE totals SET num = num + ? WHERE name = ?", (num, name))


def raise_to(db: sqlite3.Connection, name: str, num: int) -> None:
    """Makes a total at least this."""
    db.execute("UPDATE totals SET num = max(num, ?) WHERE name = ?", (num, name))


def totals(db: sqlite3.Connection) -> dict[str, int]:
    """All totals by name.

    Raises:
        DamagedError: One is missing.
    """
    found = {name: expect(int, num) for name, num in db.execute("SELECT name, num FROM totals").fetchall()}
    if set(found) != {SENT, SHED}:
        raise DamagedError("the outbox is damaged: its totals are lost")
    return found


def write(db: sqlite3.Connection, rows: Sequence[AuditRow], *, keep: int) -> None:
    """Writes rows of the audit and forgets the oldest beyond `keep`; those about what was shed count into the total."""
    if not rows:
        return
    db.executemany(
        "INSERT INTO audit (at, action, digest, size_bytes, value, detail) VALUES (?, ?, ?, ?, ?, ?)",
        [(row.at, row.action.value, row.digest, row.size_bytes, row.value, row.detail) for row in rows],
    )
    db.execute("DELETE FROM audit WHERE number <= (SELECT max(number) FROM audit) - ?", (keep,))
    add(db, SHED, sum(row.action is AuditAction.SHED for row in rows))


def read(db: sqlite3.Connection, *, limit: int) -> list[tuple[object, ...]]:
    """Columns of the newest rows, newest first."""
    return db.execute(
        "SELECT at, action, digest, size_bytes, value, detail FROM audit ORDER BY number DESC LIMIT ?", (max(limit, 0),)
    ).fetchall()


def decode(row: tuple[object, ...], *, where: str) -> AuditRow:
    """Reads what `write` wrote.

    Raises:
        DamagedError: It is not what `write` writes.
    """
    at, action, digest, size_bytes, value, detail = row
    try:
        known = AuditAction(action)
    except ValueError as cause:
        raise DamagedError(f"{where}: damaged audit: {cause}") from cause
    return AuditRow(
        at=expect(float, at),
        action=known,
        digest=expect(str, digest),
        size_bytes=expect(int, size_bytes),
        value=expect(float, value),
        detail=expect(str, detail),
    )

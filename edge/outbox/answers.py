"""People's answers in an outbox file: they wait there until the server can take them."""

from __future__ import annotations

import sqlite3

from edge import jsonvalue
from edge.errors import DamagedError, FormatError
from edge.outbox.base import AuditAction, AuditRow, WaitingAnswer
from edge.outbox.database import expect
from edge.outbox.shedding import ANSWERED_BIT
from edge.types import Feedback

# An answer waits for a sample that is still here; one that is sent, shed or was never here is the server's to judge.
_WAITING = """
    SELECT number, digest, feedback FROM answers WHERE NOT EXISTS
    (SELECT 1 FROM entries WHERE entries.digest = answers.digest AND state <> 'sent') ORDER BY number LIMIT ?
"""


def encode(feedback: Feedback) -> str:
    """The answer as JSON.

    Raises:
        FormatError: A field cannot be written down.
    """
    try:
        return jsonvalue.canonical_bytes(feedback).decode()
    except ValueError as cause:
        raise FormatError(f"an answer cannot be kept: {cause}") from cause


def decode(number: object, digest: object, text: object, *, where: str) -> WaitingAnswer:
    """Reads what `encode` wrote.

    Args:
        number: Of the row.
        digest: Of the sample.
        text: The JSON.
        where: The file, for errors.

    Raises:
        DamagedError: It is not what `encode` writes.
    """
    try:
        feedback = jsonvalue.load(Feedback, expect(str, text).encode(), where=f"answer {number}")
    except (FormatError, ValueError) as cause:
        raise DamagedError(f"{where}: damaged answer: {cause}") from cause
    return WaitingAnswer(number=expect(int, number), digest=expect(str, digest), feedback=feedback)


def refused_row(digest: str, text: str, *, reason: str, now: float) -> AuditRow:
    """What is written down about an answer that no server will take: all of it, so that a person can still see it."""
    return AuditRow(
        at=now, action=AuditAction.REFUSED, digest=digest, size_bytes=0, value=0.0, detail=f"{reason}: {text}"
    )


def insert(db: sqlite3.Connection, digest: str, text: str, *, now: float) -> None:
    """Adds an answer, once."""
    db.execute(
        "INSERT INTO answers (digest, feedback, created_at) SELECT :digest, :text, :now"
        " WHERE NOT EXISTS (SELECT 1 FROM answers WHERE digest = :digest AND feedback = :text)",
        {"digest": digest, "text": text, "now": now},
    )


def raise_rank(db: sqlite3.Connection, digest: str) -> None:
    """A sample with an answer is worth more."""
    db.execute("UPDATE entries SET rank = rank | ? WHERE digest = ? AND state <> 'sent'", (ANSWERED_BIT, digest))


def has(db: sqlite3.Connection, digest: str) -> bool:
    """Whether an answer about this sample waits."""
    return db.execute("SELECT 1 FROM answers WHERE digest = ? LIMIT 1", (digest,)).fetchone() is not None


def waiting(db: sqlite3.Connection, *, limit: int) -> list[tuple[object, object, object]]:
    """Number, digest and text of those that can be sent, oldest first."""
    return db.execute(_WAITING, (max(limit, 0),)).fetchall()


def forget(db: sqlite3.Connection, numbers: tuple[int, ...]) -> None:
    """Removes answers."""
    db.executemany("DELETE FROM answers WHERE number = ?", [(number,) for number in numbers])

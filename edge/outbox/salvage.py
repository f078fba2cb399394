"""Reads what can still be read out of a damaged outbox file, row by row. Nothing is believed without a proof.

SQLite refuses a page that makes no sense and goes on with the next; so does this. A payload counts when its SHA-256 is
its digest, a row when all of its fields are what they should be.
"""

from __future__ import annotations

import contextlib
import hashlib
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.errors import StorageError
from edge.outbox import answers, grafting, metadata
from edge.outbox.base import EntryState, Sample, WaitingAnswer
from edge.outbox.database import storage_error
from edge.outbox.placing import Placed

_MAX_ROW_BYTES = 256 * 1024 * 1024
_MAX_GAP = 20_000
"""Numbers of rows in sequence that may be unreadable before the rest of a table is given up."""
_DIGEST = re.compile(r"[0-9a-f]{64}")
_STATES = {"pending": EntryState.PENDING, "claimed": EntryState.PENDING, "parked": EntryState.PARKED}


class DamagedFile:
    """A damaged outbox file that was set aside.

    Args:
        path: The file; its log lies beside it.

    Attributes:
        num_lost: Samples without a receipt of which something, but not all, could be read so far; there may be more.

    Raises:
        StorageError: It cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.num_lost = 0
        self._path = path
        self._db = _opened(path)
        if self._select("SELECT digest FROM entries LIMIT 0") is None:
            self._db.close()
            grafting.graft(path)
            self._db = _opened(path)

    def samples(self) -> Iterator[Placed]:
        """Samples without a receipt, oldest first; what was being sent waits again."""
        columns = "sequence, state, digest, size_bytes, metadata, created_at, attempts, reason"
        seen = set()
        for sequence, state, *rest in self._rows("entries", "sequence", columns):
            seen.add(sequence)
            known = _STATES.get(_text(state))
            if known is None:
                self.num_lost += _text(state) != "sent"
                continue
            placed = self._placed(sequence, known, *rest)
            if placed is None:
                self.num_lost += 1
            else:
                yield placed
        # A picture whose row cannot be read: what it was taken of, and why, nobody knows any more.
        self.num_lost += sum(sequence not in seen for (sequence,) in self._rows("payloads", "sequence", "sequence"))

    def remembered(self) -> Iterator[str]:
        """Digests of sent samples, oldest first."""
        for _, state, digest in self._rows("entries", "sequence", "sequence, state, digest"):
            if _text(state) == "sent" and _DIGEST.fullmatch(_text(digest)):
                yield _text(digest)

    def answers(self) -> Iterator[WaitingAnswer]:
        """People's answers, oldest first."""
        for number, digest, text in self._rows("answers", "number", "number, digest, feedback"):
            with contextlib.suppress(StorageError):
                if _DIGEST.fullmatch(_text(digest)):
                    yield answers.decode(number, _text(digest), _text(text), where=str(self._path))

    def total(self, name: str) -> int:
        """One of the totals, 0 when it cannot be read."""
        rows = self._select("SELECT num FROM totals WHERE name = ?", name)
        return rows[0][0] if rows and type(rows[0][0]) is int and 0 <= rows[0][0] < 2**53 else 0

    def close(self) -> None:
        """Closes the file."""
        self._db.close()

    def _placed(self, sequence: int, state: EntryState, *rest: object) -> Placed | None:
        digest, size_bytes, text, created_at, attempts, reason = rest
        payload = self._payload(sequence, _text(digest))
        if payload is None or len(payload) != size_bytes:
            return None
        if not isinstance(created_at, float) or type(attempts) is not int:
            return None
        try:
            known = metadata.decode(_text(text), where=str(self._path))
        except StorageError:
            return None
        return Placed(
            sample=Sample(digest=_text(digest), payload=payload, metadata=known),
            text=_text(text),
            created_at=created_at,
            state=state,
            attempts=max(attempts, 0),
            reason=_text(reason),
        )

    def _payload(self, sequence: int, digest: str) -> bytes | None:
        rows = self._select("SELECT data FROM payloads WHERE sequence = ?", sequence)
        data = rows[0][0] if rows else None
        return data if isinstance(data, bytes) and hashlib.sha256(data).hexdigest() == digest else None

    def _rows(self, table: str, key: str, columns: str) -> Iterator[tuple[Any, ...]]:
        """Rows in order of their key; where a page cannot be read, on from the next number that can."""
        query = f"SELECT {columns} FROM {table} WHERE {key} > ? ORDER BY {key} LIMIT 1"  # noqa: S608
        if self._select(f"SELECT {key} FROM {table} LIMIT 0") is None:  # noqa: S608
            return
        last = self._first(table, key) - 1
        end = self._last(table, key)
        gap = 0
        while gap < _MAX_GAP and (end is None or last < end):
            found = self._select(query, last)
            if found is None or (found and not (type(found[0][0]) is int and found[0][0] > last)):
                last, gap = last + 1, gap + 1
            elif not found:
                return
            else:
                last, gap = found[0][0], 0
                yield found[0]

    def _first(self, table: str, key: str) -> int:
        return self._bound(f"SELECT {key} FROM {table} ORDER BY {key} LIMIT 1") or 1  # noqa: S608

    def _last(self, table: str, key: str) -> int | None:
        return self._bound(f"SELECT {key} FROM {table} ORDER BY {key} DESC LIMIT 1")  # noqa: S608

    def _bound(self, query: str) -> int | None:
        rows = self._select(query)
        return rows[0][0] if rows and type(rows[0][0]) is int else None

    def _select(self, query: str, *arguments: object) -> list[tuple[Any, ...]] | None:
        """None for what cannot be read: in a damaged file that is the rule, not the exception."""
        try:
            return self._db.execute(query, arguments).fetchall()
        except (sqlite3.Error, OverflowError, MemoryError):
            return None


def _opened(path: Path) -> sqlite3.Connection:
    try:
        db = sqlite3.connect(path, isolation_level=None)
    except sqlite3.Error as cause:
        raise storage_error(path, cause) from cause
    db.text_factory = bytes
    db.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, _MAX_ROW_BYTES)
    with contextlib.suppress(sqlite3.Error):
        for pragma in ("query_only=ON", "cell_size_check=ON", "trusted_schema=OFF"):
            db.execute(f"PRAGMA {pragma}").fetchall()
    return db


def _text(value: object) -> str:
    """Text as SQLite has it, empty when it is none."""
    try:
        return value.decode() if isinstance(value, bytes) else ""
    except UnicodeDecodeError:
        return ""

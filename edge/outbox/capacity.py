"""How much fits into one outbox file, and making room in it by shedding the least valuable."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from edge.outbox import tally
from edge.outbox.base import AuditAction, AuditRow, OutboxLimits
from edge.outbox.database import expect
from edge.outbox.shedding import HIGHEST, Worth

_RESERVED_PAGES = 8
_CONTENT_PAGES = 12
"""Pages of the tables and indexes themselves, when nothing is in them."""
_SHED_AT_ONCE = 1_000
_LEAST_VALUABLE = """
    SELECT sequence, digest, size_bytes, value FROM entries INDEXED BY entries_by_rank
    WHERE state <> 'sent' AND state <> 'claimed' AND (rank, value) <= (?, ?) ORDER BY rank, value, sequence
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Victim:
    """A sample that is shed."""

    sequence: int
    digest: str
    size_bytes: int
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Need:
    """What is to be made room for.

    Attributes:
        entries: Samples that are added.
        pages: Pages that are needed at most.
        limit: Pages that may be used then.
    """

    entries: int
    pages: int
    limit: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Capacity:
    """The limits of a file in pages.

    A put leaves some of the pages to what must always be possible: claims, receipts, parking, the audit.

    Attributes:
        limits: What the outbox may hold.
        page_bytes: Of this file.
    """

    limits: OutboxLimits
    page_bytes: int

    @property
    def max_pages(self) -> int:
        """Pages of the whole file."""
        return self.limits.max_bytes // self.page_bytes

    @property
    def put_pages(self) -> int:
        """Pages that may be used after a put."""
        return self.max_pages - _RESERVED_PAGES - self.max_pages // 64

    def pages_of(self, size_bytes: int) -> int:
        """Pages that a payload needs at most."""
        return size_bytes // (self.page_bytes - 4) + 2

    def for_sample(self, size_bytes: int) -> Need:
        """What a put needs."""
        return Need(entries=1, pages=self.pages_of(size_bytes), limit=self.put_pages)

    def for_changes(self, num_rows: int) -> Need:
        """What changing rows that are there may need: each can split a page."""
        pages = min(max(num_rows, 0) + 2, self.max_pages - self.put_pages)
        return Need(entries=0, pages=pages, limit=self.max_pages)

    def for_answer(self) -> Need:
        """What a person's answer needs."""
        return Need(entries=0, pages=2, limit=self.put_pages)

    def nothing_more(self) -> Need:
        """What a file needs that may have become too large by a lower limit."""
        return Need(entries=0, pages=0, limit=self.put_pages)

    def is_hopeless(self, need: Need) -> bool:
        """Whether not even an empty outbox has that room."""
        return need.pages + _CONTENT_PAGES > need.limit

    def lacking(self, db: sqlite3.Connection, need: Need) -> tuple[int, int]:
        """Entries and pages by which it does not fit; not positive where it does."""
        entries = tally.count(db).unsent + need.entries - self.limits.max_entries
        return entries, used_pages(db) + need.pages - need.limit


def used_pages(db: sqlite3.Connection) -> int:
    """Pages with something in them."""
    (num_pages,) = db.execute("PRAGMA page_count").fetchone()
    (num_free,) = db.execute("PRAGMA freelist_count").fetchone()
    return int(num_pages) - int(num_free)


def make_room(
    db: sqlite3.Connection, capacity: Capacity, need: Need, *, below: Worth = HIGHEST
) -> tuple[Victim, ...] | None:
    """Sheds, least valuable first, until there is room; the audit is the caller's.

    Args:
        db: Inside a transaction.
        capacity: Of the file.
        need: What there must be room for.
        below: What is worth more than this stays.

    Returns:
        What was shed; None, and nothing is shed, when what may go is not enough.
    """
    if not _is_short(capacity.lacking(db, need)):
        return ()
    if capacity.is_hopeless(need):
        return None
    shed: list[Victim] = []
    db.execute("SAVEPOINT room")
    while _is_short(capacity.lacking(db, need)):
        victims = shed_some(db, capacity, need, below=below)
        if not victims:
            db.execute("ROLLBACK TO room")
            db.execute("RELEASE room")
            return None
        shed += victims
    db.execute("RELEASE room")
    return tuple(shed)


def shed_some(db: sqlite3.Connection, capacity: Capacity, need: Need, *, below: Worth = HIGHEST) -> tuple[Victim, ...]:
    """One round of `make_room`: sheds what may be enough, nothing when all that may go cannot be."""
    entries, pages = capacity.lacking(db, need)
    if not _is_short((entries, pages)):
        return ()
    victims: list[Victim] = []
    rows = db.execute(_LEAST_VALUABLE, (below.rank, below.value))
    for row in rows:
        victims.append(_victim(*row))
        # A payload frees at most the pages that it may need.
        entries, pages = entries - 1, pages - capacity.pages_of(victims[-1].size_bytes)
        if not _is_short((entries, pages)) or len(victims) >= _SHED_AT_ONCE:
            rows.close()
            _delete(db, victims)
            return tuple(victims)
    return ()


def shed_rows(victims: tuple[Victim, ...], *, now: float, detail: str) -> tuple[AuditRow, ...]:
    """What is written down about them."""
    return tuple(
        AuditRow(
            at=now,
            action=AuditAction.SHED,
            digest=victim.digest,
            size_bytes=victim.size_bytes,
            value=victim.value,
            detail=detail,
        )
        for victim in victims
    )


def _victim(sequence: object, digest: object, size_bytes: object, value: object) -> Victim:
    return Victim(
        sequence=expect(int, sequence),
        digest=expect(str, digest),
        size_bytes=expect(int, size_bytes),
        value=expect(float, value),
    )


def _is_short(lacking: tuple[int, int]) -> bool:
    return max(lacking) > 0


def _delete(db: sqlite3.Connection, victims: list[Victim]) -> None:
    sequences = [(victim.sequence,) for victim in victims]
    db.executemany("DELETE FROM payloads WHERE sequence = ?", sequences)
    db.executemany("DELETE FROM entries WHERE sequence = ?", sequences)

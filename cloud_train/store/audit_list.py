"""The audit by the page, newest first. Reads only."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cloud_train.fleet_types import AuditEntry
from cloud_train.store.database import Database
from cloud_train.store.rows import without

if TYPE_CHECKING:
    from sqlalchemy import Select


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditPage:
    """Some entries.

    Attributes:
        entries: Newest first.
        next: The number that the next page begins below, None for the last page.
    """

    entries: tuple[AuditEntry, ...]
    next: int | None


class AuditList:
    """Reads the audit. Thread-safe; raises `StorageError`.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def page(self, *, before: int | None = None, subject: str = "", action: str = "", size: int = 100) -> AuditPage:
        """One page.

        Args:
            before: Number that it begins below, None for the newest.
            subject: What it is about, as `device:<id>`; empty for anything.
            action: What was done; empty for anything.
            size: Most entries on it.
        """
        rows = self._database.read(audit_query(before=before, subject=subject, action=action, size=size + 1))
        entries = tuple(AuditEntry(**without(row, "id")) for row in rows[:size])
        return AuditPage(entries=entries, next=rows[size - 1]["id"] if len(rows) > size else None)


def audit_query(*, before: int | None, subject: str, action: str, size: int) -> Select[Any]:
    """The select behind `AuditList.page`."""
    from cloud_train.store.tables import AUDIT

    query = AUDIT.select()
    if before is not None:
        query = query.where(AUDIT.c.id < before)
    if subject:
        query = query.where(AUDIT.c.subject == subject)
    if action:
        query = query.where(AUDIT.c.action == action)
    return query.order_by(AUDIT.c.id.desc()).limit(size)

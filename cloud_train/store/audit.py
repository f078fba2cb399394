"""The audit: every sample, label, publish and device action, appended and never changed."""

from __future__ import annotations

from typing import Any, Protocol

from cloud_train.fleet_types import AuditEntry
from cloud_train.store.database import Database
from cloud_train.store.rows import fields_of, without


class AuditLog(Protocol):
    """Entries that survive a power cut once a call has returned. Thread-safe; raises `StorageError`."""

    def record(self, *entries: AuditEntry) -> None:
        """Appends entries in one transaction."""
        ...

    def about(self, subject: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """The newest entries about one subject, newest first."""
        ...

    def newest(self, *, limit: int = 100, action: str = "") -> tuple[AuditEntry, ...]:
        """The newest entries, newest first; of one action, when given."""
        ...


class SqlAuditLog:
    """`AuditLog` in the database of the store.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, *entries: AuditEntry) -> None:
        """See `AuditLog.record`."""
        from cloud_train.store.tables import AUDIT

        if entries:
            self._database.write(AUDIT, [fields_of(entry) for entry in entries])

    def about(self, subject: str, *, limit: int = 100) -> tuple[AuditEntry, ...]:
        """See `AuditLog.about`."""
        from cloud_train.store.tables import AUDIT

        return self._newest(AUDIT.select().where(AUDIT.c.subject == subject), limit)

    def newest(self, *, limit: int = 100, action: str = "") -> tuple[AuditEntry, ...]:
        """See `AuditLog.newest`."""
        from cloud_train.store.tables import AUDIT

        query = AUDIT.select()
        return self._newest(query.where(AUDIT.c.action == action) if action else query, limit)

    def _newest(self, query: Any, limit: int) -> tuple[AuditEntry, ...]:  # noqa: ANN401 - any select
        from cloud_train.store.tables import AUDIT

        rows = self._database.read(query.order_by(AUDIT.c.id.desc()).limit(limit))
        return tuple(AuditEntry(**without(row, "id")) for row in rows)

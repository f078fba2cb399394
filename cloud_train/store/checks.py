"""Which samples a worker has decoded: claims with a lease, faults, and the way out of quarantine."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from cloud_train.errors import UnknownSampleError
from cloud_train.fleet_types import AuditEntry
from cloud_train.store.database import Database, insert_rows
from cloud_train.store.rows import fields_of
from cloud_train.store.sql import sample_record
from cloud_train.types import SampleRecord
from edge import durable

if TYPE_CHECKING:
    from sqlalchemy import Connection

MAX_TRIES = 3
"""So often a worker reads a picture whose stored bytes are damaged, a lease apart, before it is put into quarantine."""
_MAX_FAULT = 500
_UNREADABLE = "sample.unreadable"


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckCounts:
    """How far the workers are.

    Attributes:
        unchecked: Samples that no worker has decoded yet.
        quarantined: Samples that failed.
    """

    unchecked: int
    quarantined: int


class SqlCheckStore:
    """Checks of samples, beside their records. Thread-safe; any number of workers may share it.

    Every call raises `StorageError` when the database fails.

    Args:
        database: Of the store.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def claim(self, *, limit: int, now: float, lease_s: float) -> tuple[str, ...]:
        """Takes unchecked samples, oldest first; nobody else gets them before the lease is over.

        Args:
            limit: At most so many.
            now: Seconds since the epoch, UTC.
            lease_s: After so long without a word they are free again: their worker has died.
        """
        from sqlalchemy import select

        from cloud_train.store.tables import SAMPLES

        free = (SAMPLES.c.checked_at.is_(None), SAMPLES.c.checking_until < now)
        oldest = select(SAMPLES.c.digest).where(*free).order_by(SAMPLES.c.received_at).limit(limit)
        if not self._database.read(oldest.limit(1)):
            return ()
        with self._database.connect(writes=True) as connection:
            digests = tuple(connection.execute(oldest.with_for_update(skip_locked=True)).scalars())
            leased = SAMPLES.update().where(SAMPLES.c.digest.in_(digests)).values(checking_until=now + lease_s)
            connection.execute(leased)
        return digests

    def passed(self, digests: tuple[str, ...], *, now: float) -> None:
        """These are sound pictures."""
        from cloud_train.store.tables import SAMPLES

        if digests:
            open_ones = (SAMPLES.c.digest.in_(digests), SAMPLES.c.checked_at.is_(None))
            with self._database.connect(writes=True) as connection:
                connection.execute(SAMPLES.update().where(*open_ones).values(checked_at=now))

    def failed(self, digest: str, fault: str, *, now: float) -> None:
        """Puts a sample into quarantine, and that into the audit, in one transaction."""
        durable.reached("meta.quarantine:before")
        with self._database.connect(writes=True) as connection:
            _quarantine(connection, digest, fault[:_MAX_FAULT] or "it cannot be decoded", now)
        durable.reached("meta.quarantine:after")

    def unreadable(self, digest: str, reason: str, *, now: float) -> bool:
        """Notes that the stored bytes of a sample are damaged; the last of `MAX_TRIES` puts it into quarantine.

        They are counted in the audit, so that any number of workers count together.

        Returns:
            Whether it is in quarantine now.
        """
        from sqlalchemy import func, select

        from cloud_train.store.tables import AUDIT, SAMPLES

        said_before = (AUDIT.c.subject == f"sample:{digest}", AUDIT.c.action == _UNREADABLE)
        open_one = (SAMPLES.c.digest == digest, SAMPLES.c.checked_at.is_(None))
        durable.reached("meta.unreadable:before")
        with self._database.connect(writes=True) as connection:
            if connection.execute(select(SAMPLES.c.digest).where(*open_one)).first() is None:
                return False
            _record(connection, now, "server", _UNREADABLE, digest, reason[:_MAX_FAULT])
            tries = connection.execute(select(func.count()).select_from(AUDIT).where(*said_before)).scalar_one()
            is_last = tries >= MAX_TRIES and _quarantine(connection, digest, reason[:_MAX_FAULT], now)
        durable.reached("meta.unreadable:after")
        return is_last

    def release(self, digest: str, *, who: str, now: float) -> None:
        """Takes a sample out of quarantine: a person has looked at it.

        Args:
            digest: The sample.
            who: As the audit names them, for instance `person:ann`.
            now: Seconds since the epoch, UTC.

        Raises:
            UnknownSampleError: No such sample is in quarantine.
        """
        from cloud_train.store.tables import SAMPLES

        with self._database.connect(writes=True) as connection:
            held = (SAMPLES.c.digest == digest, SAMPLES.c.fault != "")
            if not connection.execute(SAMPLES.update().where(*held).values(checked_at=now, fault="")).rowcount:
                raise UnknownSampleError(f"no sample {digest} is in quarantine", hint="see them with --list")
            _record(connection, now, who, "sample.released", digest, "")

    def quarantined(self, *, limit: int = 100) -> tuple[SampleRecord, ...]:
        """The newest samples in quarantine, with what is wrong with them."""
        from cloud_train.store.tables import SAMPLES

        query = SAMPLES.select().where(SAMPLES.c.fault != "").order_by(SAMPLES.c.received_at.desc()).limit(limit)
        return tuple(sample_record(row) for row in self._database.read(query))

    def counts(self) -> CheckCounts:
        """How far the workers are."""
        from sqlalchemy import func, select

        from cloud_train.store.tables import SAMPLES

        number = select(func.count()).select_from(SAMPLES)
        with self._database.connect() as connection:
            unchecked = connection.execute(number.where(SAMPLES.c.checked_at.is_(None))).scalar_one()
            quarantined = connection.execute(number.where(SAMPLES.c.fault != "")).scalar_one()
        return CheckCounts(unchecked=unchecked, quarantined=quarantined)


def _quarantine(connection: Connection, digest: str, reason: str, now: float) -> bool:
    """Whether the sample was still open."""
    from cloud_train.store.tables import SAMPLES

    open_one = (SAMPLES.c.digest == digest, SAMPLES.c.checked_at.is_(None))
    if not connection.execute(SAMPLES.update().where(*open_one).values(checked_at=now, fault=reason)).rowcount:
        return False
    _record(connection, now, "server", "sample.quarantined", digest, reason)
    return True


def _record(connection: Connection, now: float, who: str, action: str, digest: str, reason: str) -> None:
    from cloud_train.store.tables import AUDIT

    detail = {"reason": reason} if reason else {}
    entry = AuditEntry(at=now, who=who, action=action, subject=f"sample:{digest}", detail=detail)
    insert_rows(connection, AUDIT, [fields_of(entry)])

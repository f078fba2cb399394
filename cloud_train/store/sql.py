"""The meta store on SQLAlchemy."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_train.errors import UnknownSampleError
from cloud_train.fleet_types import AuditEntry
from cloud_train.store.bulk import insert_fresh
from cloud_train.store.database import Database, insert_rows, insert_statement, open_database
from cloud_train.store.rows import fields_of, without
from cloud_train.types import DeviceRecord, Label, SampleRecord
from edge import durable
from edge.errors import StorageError
from edge.outbox.base import SampleMetadata
from edge.types import FeedbackKind, KeepReason, Outcome
from edge.update.types import Release

if TYPE_CHECKING:
    from sqlalchemy import Connection

_IN_CLAUSE = 500


def open_meta_store(where: Path | str) -> SqlMetaStore:
    """Opens a meta store, brings its tables up to date, creates it when missing.

    Args:
        where: Path of an SQLite file, or a database URL.

    Raises:
        StorageError: It cannot be opened, is damaged, or was written by a newer edgeloop.
    """
    return SqlMetaStore(open_database(where))


class SqlMetaStore:
    """`MetaStore` in a database.

    Args:
        database: Where the tables are.
    """

    def __init__(self, database: Database) -> None:
        self.database = database

    def add_samples(self, records: tuple[SampleRecord, ...]) -> frozenset[str]:
        """See `MetaStore.add_samples`."""
        from cloud_train.store.tables import AUDIT, SAMPLES

        if not records:
            return frozenset()
        devices = sorted({record.metadata.device_id for record in records})

        def add(connection: Connection) -> frozenset[str]:
            held = connection.execute(_held_members(), {"devices": devices})
            revoked = frozenset(row.device_id for row in held if row.revoked_at is not None)
            welcome = {record.digest: record for record in records if record.metadata.device_id not in revoked}
            rows = [_sample_row(welcome[digest]) for digest in sorted(welcome)]  # in one order everywhere: no deadlock
            fresh = insert_fresh(connection, SAMPLES, rows, returning="digest")
            insert_fresh(connection, AUDIT, [_stored_row(welcome[digest]) for digest in fresh], returning="id")
            return revoked

        durable.reached("meta.samples:before")
        revoked = self.database.transact(add, alone=False)
        durable.reached("meta.samples:after")
        return frozenset(record.digest for record in records if record.metadata.device_id in revoked)

    def known(self, digests: Iterable[str]) -> frozenset[str]:
        """See `MetaStore.known`."""
        from sqlalchemy import select

        from cloud_train.store.tables import SAMPLES

        wanted, found = list(digests), set[str]()
        with self.database.connect() as connection:
            for start in range(0, len(wanted), _IN_CLAUSE):
                some = SAMPLES.c.digest.in_(wanted[start : start + _IN_CLAUSE])
                found.update(connection.execute(select(SAMPLES.c.digest).where(some)).scalars())
        return frozenset(found)

    def sample(self, digest: str) -> SampleRecord | None:
        """See `MetaStore.sample`."""
        from cloud_train.store.tables import SAMPLES

        rows = self.database.read(SAMPLES.select().where(SAMPLES.c.digest == digest))
        return sample_record(rows[0]) if rows else None

    def samples(self) -> tuple[SampleRecord, ...]:
        """See `MetaStore.samples`."""
        from cloud_train.store.tables import SAMPLES

        order = (SAMPLES.c.received_at, SAMPLES.c.digest)
        rows = self.database.read(SAMPLES.select().where(SAMPLES.c.fault == "").order_by(*order))
        return tuple(sample_record(row) for row in rows)

    def unlabelled(self, *, limit: int) -> tuple[SampleRecord, ...]:
        """See `MetaStore.unlabelled`."""
        from sqlalchemy import exists

        from cloud_train.store.tables import LABELS, SAMPLES

        answered = exists().where(LABELS.c.digest == SAMPLES.c.digest)
        order = (SAMPLES.c.value.desc(), SAMPLES.c.received_at, SAMPLES.c.digest)
        rows = self.database.read(
            SAMPLES.select().where(~answered, SAMPLES.c.fault == "").order_by(*order).limit(limit)
        )
        return tuple(sample_record(row) for row in rows)

    def add_label(self, label: Label, *, through: str = "", now: float | None = None) -> None:
        """See `MetaStore.add_label`."""
        from sqlalchemy.exc import IntegrityError

        from cloud_train.store.tables import AUDIT, LABELS

        row = {**fields_of(label), "kind": label.kind.value}
        durable.reached("meta.labels:before")
        try:
            with self.database.connect(writes=True) as connection:
                insert = insert_statement(connection, LABELS, [row]).returning(LABELS.c.id)
                if connection.execute(insert, [row]).scalars().all():
                    insert_rows(connection, AUDIT, [fields_of(_answered(label, through, now))])
        except StorageError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise UnknownSampleError(
                    f"no sample {label.digest} in this store", hint="see the waiting ones with --list"
                ) from error
            raise
        durable.reached("meta.labels:after")

    def labels(self, digest: str | None = None) -> tuple[Label, ...]:
        """See `MetaStore.labels`."""
        from cloud_train.store.tables import LABELS

        query = LABELS.select().order_by(LABELS.c.id)
        rows = self.database.read(query if digest is None else query.where(LABELS.c.digest == digest))
        return tuple(Label(**{**without(row, "id"), "kind": FeedbackKind(row["kind"])}) for row in rows)

    def record_device(self, device: DeviceRecord) -> None:
        """See `MetaStore.record_device`."""
        from cloud_train.store.tables import DEVICES

        self.database.write(DEVICES, [fields_of(device)], replace=True)

    def devices(self) -> tuple[DeviceRecord, ...]:
        """See `MetaStore.devices`."""
        from cloud_train.store.tables import DEVICES

        rows = self.database.read(DEVICES.select().order_by(DEVICES.c.device_id))
        return tuple(DeviceRecord(**{**row, "rejected": tuple(row["rejected"])}) for row in rows)

    def add_release(self, release: Release, *, now: float) -> None:
        """See `MetaStore.add_release`."""
        from cloud_train.store.tables import RELEASES

        self.database.write(RELEASES, [{**fields_of(release), "published_at": now}])

    def releases(self, channel: str) -> tuple[Release, ...]:
        """See `MetaStore.releases`."""
        from cloud_train.store.tables import RELEASES

        rows = self.database.read(RELEASES.select().where(RELEASES.c.channel == channel).order_by(RELEASES.c.id))
        return tuple(Release(**without(row, "id", "published_at")) for row in rows)

    def close(self) -> None:
        """See `MetaStore.close`."""
        self.database.close()


@cache
def _held_members() -> Any:  # noqa: ANN401 - a select
    """Members by name, locked until the commit: who is being shut out meanwhile is shut out after it."""
    from sqlalchemy import bindparam, select

    from cloud_train.store.tables import MEMBERS

    named = MEMBERS.c.device_id.in_(bindparam("devices", expanding=True))
    query = select(MEMBERS.c.device_id, MEMBERS.c.revoked_at).where(named)
    return query.order_by(MEMBERS.c.device_id).with_for_update(read=True)


def _stored_row(record: SampleRecord) -> dict[str, Any]:
    return {
        "at": record.received_at,
        "who": f"device:{record.metadata.device_id}",
        "action": "sample.stored",
        "subject": f"sample:{record.digest}",
        "detail": "{}",
    }


def _answered(label: Label, through: str, now: float | None) -> AuditEntry:
    """What a device brings is under the device's name: whose answer it is, and of when, it merely says."""
    said = {"kind": label.kind.value, "label": label.label}
    return AuditEntry(
        at=label.at if now is None else now,
        who=through or f"person:{label.who}",
        action="label.added",
        subject=f"sample:{label.digest}",
        detail={**said, "answered_by": label.who} if through else said,
    )


def _sample_row(record: SampleRecord) -> dict[str, Any]:
    """Written out: the way over `dataclasses.fields` takes five times as long."""
    known = record.metadata
    return {
        "digest": record.digest,
        "size_bytes": record.size_bytes,
        "received_at": record.received_at,
        "device_id": known.device_id,
        "captured_at": known.captured_at,
        "source": known.source,
        "prediction_id": known.prediction_id,
        "bundle_digest": known.bundle_digest,
        "label": known.label,
        "confidence": known.confidence,
        "margin": known.margin,
        "outcome": known.outcome.value,
        "reason": known.reason.value,
        "value": known.value,
        "checked_at": record.checked_at,
        "fault": record.fault,
    }


def sample_record(row: Mapping[str, Any]) -> SampleRecord:
    """A row of the table of samples as a value."""
    own = ("digest", "size_bytes", "received_at", "checked_at", "fault")
    enums = {"outcome": Outcome(row["outcome"]), "reason": KeepReason(row["reason"])}
    metadata = SampleMetadata(**{**without(row, *own, "checking_until"), **enums})
    return SampleRecord(metadata=metadata, **{name: row[name] for name in own})

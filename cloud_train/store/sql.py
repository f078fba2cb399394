"""The meta store on SQLAlchemy: SQLite in the store folder by default, another database by URL."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_train.errors import UnknownSampleError
from cloud_train.store.lock import exclusive
from cloud_train.types import DeviceRecord, Label, SampleRecord
from edge import durable
from edge.errors import StorageError
from edge.outbox.base import SampleMetadata
from edge.types import FeedbackKind, KeepReason, Outcome
from edge.update.types import Release

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table

_IN_CLAUSE = 500


def open_meta_store(where: Path | str) -> SqlMetaStore:
    """Opens a meta store, brings its tables up to date, creates it when missing.

    Args:
        where: Path of an SQLite file, or a database URL.

    Raises:
        StorageError: It cannot be opened, is damaged, or was written by a newer edgeloop.
    """
    path = where if isinstance(where, Path) else None
    if path is not None:
        durable.make_folder(path.parent)
    store = SqlMetaStore(_engine(where), name=str(where))
    try:
        if path is None:
            store.migrate()
        else:
            with exclusive(path.with_name(path.name + ".lock")):
                store.migrate()
    except BaseException:
        store.close()
        raise
    return store


def _engine(where: Path | str) -> Engine:
    from sqlalchemy import URL, create_engine, event

    url = URL.create("sqlite", database=str(where)) if isinstance(where, Path) else where
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", lambda connection: connection.exec_driver_sql("BEGIN"))
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own connection
    connection.isolation_level = None  # the driver would leave DDL outside of transactions; "begin" is sent by us
    cursor = connection.cursor()
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


class SqlMetaStore:
    """`MetaStore` on an SQLAlchemy engine. Made by `open_meta_store`.

    Args:
        engine: Where the tables are.
        name: Path or URL, for errors.
    """

    def __init__(self, engine: Engine, *, name: str) -> None:
        self._engine = engine
        self._name = name

    def migrate(self) -> None:
        """Applies the migrations that are missing.

        Raises:
            StorageError: The database is damaged or newer than this edgeloop.
        """
        from alembic import command
        from alembic.config import Config
        from alembic.util import CommandError

        config = Config()
        config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
        with self._connect() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as cause:
                raise StorageError(f"{self._name} was written by a newer edgeloop", hint="update edgeloop") from cause

    def add_samples(self, records: tuple[SampleRecord, ...]) -> None:
        """See `MetaStore.add_samples`."""
        from cloud_train.store.tables import SAMPLES

        rows = [_sample_row(record) for record in records]
        if rows:
            self._write(SAMPLES, rows)

    def known(self, digests: Iterable[str]) -> frozenset[str]:
        """See `MetaStore.known`."""
        from sqlalchemy import select

        from cloud_train.store.tables import SAMPLES

        wanted, found = list(digests), set[str]()
        with self._connect() as connection:
            for start in range(0, len(wanted), _IN_CLAUSE):
                some = SAMPLES.c.digest.in_(wanted[start : start + _IN_CLAUSE])
                found.update(connection.execute(select(SAMPLES.c.digest).where(some)).scalars())
        return frozenset(found)

    def sample(self, digest: str) -> SampleRecord | None:
        """See `MetaStore.sample`."""
        from cloud_train.store.tables import SAMPLES

        rows = self._read(SAMPLES.select().where(SAMPLES.c.digest == digest))
        return _sample_record(rows[0]) if rows else None

    def samples(self) -> tuple[SampleRecord, ...]:
        """See `MetaStore.samples`."""
        from cloud_train.store.tables import SAMPLES

        rows = self._read(SAMPLES.select().order_by(SAMPLES.c.received_at, SAMPLES.c.digest))
        return tuple(_sample_record(row) for row in rows)

    def unlabelled(self, *, limit: int) -> tuple[SampleRecord, ...]:
        """See `MetaStore.unlabelled`."""
        from sqlalchemy import exists

        from cloud_train.store.tables import LABELS, SAMPLES

        answered = exists().where(LABELS.c.digest == SAMPLES.c.digest)
        order = (SAMPLES.c.value.desc(), SAMPLES.c.received_at, SAMPLES.c.digest)
        rows = self._read(SAMPLES.select().where(~answered).order_by(*order).limit(limit))
        return tuple(_sample_record(row) for row in rows)

    def add_label(self, label: Label) -> None:
        """See `MetaStore.add_label`."""
        from sqlalchemy.exc import IntegrityError

        from cloud_train.store.tables import LABELS

        row = {**_fields(label), "kind": label.kind.value}
        try:
            self._write(LABELS, [row])
        except StorageError as error:
            if isinstance(error.__cause__, IntegrityError):
                raise UnknownSampleError(
                    f"no sample {label.digest} in this store", hint="see the waiting ones with --list"
                ) from error
            raise

    def labels(self, digest: str | None = None) -> tuple[Label, ...]:
        """See `MetaStore.labels`."""
        from cloud_train.store.tables import LABELS

        query = LABELS.select().order_by(LABELS.c.id)
        rows = self._read(query if digest is None else query.where(LABELS.c.digest == digest))
        return tuple(Label(**{**_without(row, "id"), "kind": FeedbackKind(row["kind"])}) for row in rows)

    def record_device(self, device: DeviceRecord) -> None:
        """See `MetaStore.record_device`."""
        from cloud_train.store.tables import DEVICES

        self._write(DEVICES, [_fields(device)], replace=True)

    def devices(self) -> tuple[DeviceRecord, ...]:
        """See `MetaStore.devices`."""
        from cloud_train.store.tables import DEVICES

        return tuple(DeviceRecord(**row) for row in self._read(DEVICES.select().order_by(DEVICES.c.device_id)))

    def add_release(self, release: Release, *, now: float) -> None:
        """See `MetaStore.add_release`."""
        from cloud_train.store.tables import RELEASES

        self._write(RELEASES, [{**_fields(release), "published_at": now}])

    def releases(self, channel: str) -> tuple[Release, ...]:
        """See `MetaStore.releases`."""
        from cloud_train.store.tables import RELEASES

        rows = self._read(RELEASES.select().where(RELEASES.c.channel == channel).order_by(RELEASES.c.id))
        return tuple(Release(**_without(row, "id", "published_at")) for row in rows)

    def close(self) -> None:
        """See `MetaStore.close`."""
        self._engine.dispose()

    def _read(self, query: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any select
        with self._connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _write(self, table: Table, rows: list[dict[str, Any]], *, replace: bool = False) -> None:
        durable.reached(f"meta.{table.name}:before")
        with self._connect() as connection:
            connection.execute(_insert(connection, table, replace=replace), rows)
        durable.reached(f"meta.{table.name}:after")

    @contextmanager
    def _connect(self) -> Iterator[Connection]:
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engine.begin() as connection:
                yield connection
        except (SQLAlchemyError, OverflowError) as cause:
            raise _storage_error(self._name, cause) from cause


def _insert(connection: Connection, table: Table, *, replace: bool) -> Any:  # noqa: ANN401 - one type a dialect
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert = dialect.insert(table)
    if not replace:
        return insert.on_conflict_do_nothing()
    keys = [column.name for column in table.primary_key]
    newest = {column.name: insert.excluded[column.name] for column in table.columns if column.name not in keys}
    return insert.on_conflict_do_update(index_elements=keys, set_=newest)


def _storage_error(name: str, cause: Exception) -> StorageError:
    text = " ".join(str(getattr(cause, "orig", None) or cause).split())
    for sign, meaning, hint in (
        ("not a database", "is not a database", "restore it from a backup, or move it away to start an empty store"),
        ("malformed", "is damaged", "restore it from a backup, or move it away to start an empty store"),
        ("full", "cannot be written: the disk is full", "free some space and run the same command again"),
        ("readonly", "cannot be written", "check the owner and permissions of the folder"),
        ("unable to open", "cannot be opened", "check the owner and permissions of the folder"),
        ("locked", "is locked by another process", "stop that process and try again"),
    ):
        if sign in text:
            return StorageError(f"{name} {meaning}", hint=hint)
    return StorageError(f"{name}: {text}", hint="check the database")


def _fields(value: Any) -> dict[str, Any]:  # noqa: ANN401 - any flat dataclass
    return {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}


def _without(row: Mapping[str, Any], *names: str) -> dict[str, Any]:
    return {name: value for name, value in row.items() if name not in names}


def _sample_row(record: SampleRecord) -> dict[str, Any]:
    row = {**_without(_fields(record), "metadata"), **_fields(record.metadata)}
    return {**row, "outcome": record.metadata.outcome.value, "reason": record.metadata.reason.value}


def _sample_record(row: Mapping[str, Any]) -> SampleRecord:
    own = ("digest", "size_bytes", "received_at")
    enums = {"outcome": Outcome(row["outcome"]), "reason": KeepReason(row["reason"])}
    metadata = SampleMetadata(**{**_without(row, *own), **enums})
    return SampleRecord(metadata=metadata, **{name: row[name] for name in own})

"""The database behind every table of the server: SQLite in the store folder by default, PostgreSQL by URL."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from cloud_train.store.engines import checked_url, is_passing, make_engine, public_name, storage_error
from cloud_train.store.lock import exclusive
from edge import durable
from edge.errors import StorageError

if TYPE_CHECKING:
    from alembic.config import Config
    from sqlalchemy import Connection, Engine, Table

T = TypeVar("T")

# Advisory locks of PostgreSQL that edgeloop takes: a space of its own, then what for.
_LOCK_SPACE = 0x65646765
_LOCK_MIGRATION = 1
_LOCK_WRITER = 2
_ATTEMPTS = 5
_FIRST_WAIT_S = 0.02


def open_database(where: Path | str) -> Database:
    """Opens a database, brings its tables up to date, creates them when missing.

    Args:
        where: Path of an SQLite file, or a database URL (`postgresql://…`, `sqlite:///…`).

    Raises:
        StorageError: It cannot be reached or opened, is damaged, or was written by a newer edgeloop.
        UsageError: The URL is none, or of another kind of database.
        MissingExtraError: The driver of PostgreSQL is not installed.
    """
    database = connect_database(where)
    try:
        database.migrate()
    except BaseException:
        database.close()
        raise
    return database


def connect_database(where: Path | str) -> Database:
    """A database as it is: nothing is asked of it yet. Raises as `open_database` does, less `StorageError`."""
    place = where if isinstance(where, Path) else checked_url(where)
    return Database(make_engine(place), name=public_name(place), path=place if isinstance(place, Path) else None)


class Database:
    """An SQLAlchemy engine whose failures are `StorageError`s. Thread-safe. Made by `open_database`.

    Args:
        engine: Where the tables are.
        name: Path or URL without its password, for errors.
        path: The file of SQLite, None for a server.
    """

    def __init__(self, engine: Engine, *, name: str, path: Path | None = None) -> None:
        self.engine = engine
        # Made once: an engine with options of its own costs as much as the whole of a small transaction.
        self._engines = {writes: engine.execution_options(edgeloop_writes=writes) for writes in (False, True)}
        self.name = name
        self.path = path

    def migrate(self, revision: str = "head") -> None:
        """Applies the migrations that are missing; of several processes one does it and the others wait.

        Args:
            revision: How far; everything by default.

        Raises:
            StorageError: The database is damaged or newer than this edgeloop.
        """
        if self.path is None:
            self._upgrade(revision)
            return
        durable.make_folder(self.path.parent)
        with exclusive(self.path.with_name(self.path.name + ".lock")):
            self._upgrade(revision)

    def revision(self) -> str:
        """The last migration that was applied, empty before the first."""
        from alembic.migration import MigrationContext

        with self.connect() as connection:
            return MigrationContext.configure(connection).get_current_revision() or ""

    @contextmanager
    def connect(self, *, writes: bool = False, alone: bool = True) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, rolled back when it raises.

        Each statement sees what was committed before it began. A transaction that decides by what it has read either
        is `alone`, or locks the rows it has read (`with_for_update`), or decides inside one statement.

        Args:
            writes: Whether it may write.
            alone: Whether it is the only such writer from its beginning to its end. SQLite has one writer at a time
                anyway; on PostgreSQL False lets several go side by side.

        Raises:
            StorageError: The database failed.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self._engines[writes].begin() as connection:
                if writes and alone:
                    self._lock(connection, _LOCK_WRITER)
                yield connection
        except (SQLAlchemyError, OverflowError) as cause:
            raise storage_error(self.name, cause) from cause

    def transact(self, work: Callable[[Connection], T], *, alone: bool = True) -> T:
        """Runs a transaction that writes; one that lost to another writer (deadlock, conflict) is run again.

        Args:
            work: What to do; may be called several times, so it changes nothing but the database.
            alone: See `connect`.

        Raises:
            StorageError: The database failed; nothing was written.
        """
        for attempt in range(1, _ATTEMPTS + 1):
            try:
                with self.connect(writes=True, alone=alone) as connection:
                    return work(connection)
            except StorageError as error:
                if (
                    attempt == _ATTEMPTS
                    or not isinstance(error.__cause__, Exception)
                    or not is_passing(error.__cause__)
                ):
                    raise
            time.sleep(_FIRST_WAIT_S * 2**attempt)
        raise AssertionError  # the last attempt returns or raises

    def read(self, query: Any) -> list[dict[str, Any]]:  # noqa: ANN401 - any select
        """Rows of one select, in a transaction of their own."""
        with self.connect() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def write(self, table: Table, rows: list[dict[str, Any]], *, replace: bool = False) -> None:
        """Inserts rows in one transaction; durable on return.

        Args:
            table: Where.
            rows: One dict a row.
            replace: Whether a row of the same key is replaced rather than left as it is.
        """
        durable.reached(f"meta.{table.name}:before")
        self.transact(lambda connection: insert_rows(connection, table, rows, replace=replace), alone=False)
        durable.reached(f"meta.{table.name}:after")

    def close(self) -> None:
        """Closes all connections. Calling it twice is harmless."""
        self.engine.dispose()

    def _upgrade(self, revision: str) -> None:
        from alembic import command
        from alembic.util import CommandError

        config = _alembic_config()
        with self.connect() as connection:
            self._lock(connection, _LOCK_MIGRATION)
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, revision)
            except CommandError as cause:
                raise StorageError(f"{self.name} was written by a newer edgeloop", hint="update edgeloop") from cause

    def _lock(self, connection: Connection, what: int) -> None:
        """Waits for the lock; the end of the transaction frees it, also when its process dies."""
        if self.path is None:
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_SPACE}, {what})")


def insert_rows(connection: Connection, table: Table, rows: list[dict[str, Any]], *, replace: bool = False) -> None:
    """Inserts rows within a transaction; see `Database.write`."""
    if rows:
        connection.execute(insert_statement(connection, table, rows, replace=replace), rows)


def insert_statement(connection: Connection, table: Table, rows: list[dict[str, Any]], *, replace: bool = False) -> Any:  # noqa: ANN401 - one type a dialect
    """The insert behind `insert_rows`, for callers that want more of it, as RETURNING."""
    from sqlalchemy.dialects import postgresql, sqlite

    dialect = postgresql if connection.dialect.name == "postgresql" else sqlite
    insert: Any = dialect.insert(table)
    if replace:
        keys = [column.name for column in table.primary_key]
        given = [column for column in table.columns if column.name not in keys and column.name in rows[0]]
        newest = {column.name: insert.excluded[column.name] for column in given}
        return insert.on_conflict_do_update(index_elements=keys, set_=newest)
    return insert.on_conflict_do_nothing()


def _alembic_config() -> Config:
    from alembic.config import Config

    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations").replace("%", "%%"))
    return config

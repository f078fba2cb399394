"""The database behind every table of the server: SQLite in the store folder by default, another by URL."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from cloud_train.store.lock import exclusive
from edge import durable
from edge.errors import StorageError

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine, Table


def open_database(where: Path | str) -> Database:
    """Opens a database, brings its tables up to date, creates it when missing.

    Args:
        where: Path of an SQLite file, or a database URL (`postgresql+psycopg://…`).

    Raises:
        StorageError: It cannot be opened, is damaged, or was written by a newer edgeloop.
    """
    path = where if isinstance(where, Path) else None
    if path is not None:
        durable.make_folder(path.parent)
    database = Database(_engine(where), name=_public_name(where))
    try:
        if path is None:
            database.migrate()
        else:
            with exclusive(path.with_name(path.name + ".lock")):
                database.migrate()
    except BaseException:
        database.close()
        raise
    return database


class Database:
    """An SQLAlchemy engine whose failures are `StorageError`s. Thread-safe. Made by `open_database`.

    Args:
        engine: Where the tables are.
        name: Path or URL without its password, for errors.
    """

    def __init__(self, engine: Engine, *, name: str) -> None:
        self.engine = engine
        self.name = name

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
        with self.connect() as connection:
            config.attributes["connection"] = connection
            try:
                command.upgrade(config, "head")
            except CommandError as cause:
                raise StorageError(f"{self.name} was written by a newer edgeloop", hint="update edgeloop") from cause

    @contextmanager
    def connect(self, *, writes: bool = False) -> Iterator[Connection]:
        """One transaction: committed at the end of the block, rolled back when it raises.

        Args:
            writes: Whether it may write after it has read: SQLite then lets no other writer in from the beginning.

        Raises:
            StorageError: The database failed.
        """
        from sqlalchemy.exc import SQLAlchemyError

        try:
            with self.engine.execution_options(edgeloop_writes=writes).begin() as connection:
                yield connection
        except (SQLAlchemyError, OverflowError) as cause:
            raise _storage_error(self.name, cause) from cause

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
        with self.connect(writes=True) as connection:
            insert_rows(connection, table, rows, replace=replace)
        durable.reached(f"meta.{table.name}:after")

    def close(self) -> None:
        """Closes all connections. Calling it twice is harmless."""
        self.engine.dispose()


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


def _engine(where: Path | str) -> Engine:
    from sqlalchemy import URL, create_engine, event

    url = URL.create("sqlite", database=str(where)) if isinstance(where, Path) else where
    engine = create_engine(url)
    if engine.dialect.name == "sqlite":
        event.listen(engine, "connect", _prepare_sqlite)
        event.listen(engine, "begin", _begin_sqlite)
    return engine


def _prepare_sqlite(connection: Any, _record: object) -> None:  # noqa: ANN401 - the driver's own connection
    connection.isolation_level = None  # the driver would leave DDL outside of transactions; "begin" is sent by us
    cursor = connection.cursor()
    for pragma in ("busy_timeout=10000", "journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def _begin_sqlite(connection: Connection) -> None:
    writes = connection.get_execution_options().get("edgeloop_writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")


def _public_name(where: Path | str) -> str:
    from sqlalchemy import make_url

    return str(where) if isinstance(where, Path) else make_url(where).render_as_string(hide_password=True)


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

"""The tables as lines of JSON and back: the same for every database, so a backup of one can go into another."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from itertools import islice
from typing import IO, TYPE_CHECKING, Any

from edge.errors import FormatError

if TYPE_CHECKING:
    from sqlalchemy import Connection, MetaData, Table

    from cloud_train.store.database import Database

_AT_ONCE = 500
_VERSIONS = "alembic_version"


@contextmanager
def frozen(database: Database) -> Iterator[Connection]:
    """A transaction that sees all tables as they are at one moment, while others write on.

    Raises:
        StorageError: The database failed.
    """
    from sqlalchemy.exc import SQLAlchemyError

    from cloud_train.store.engines import storage_error

    level = {"isolation_level": "REPEATABLE READ"} if database.path is None else {}
    try:
        with database.engine.execution_options(**level).begin() as connection:
            yield connection
    except SQLAlchemyError as cause:
        raise storage_error(database.name, cause) from cause


def table_names() -> tuple[str, ...]:
    """All tables, those that others refer to first."""
    from cloud_train.store.tables import TABLES

    return tuple(table.name for table in TABLES.sorted_tables)


def dump_table(connection: Connection, name: str, file: IO[bytes]) -> int:
    """Writes a table, one JSON object a line.

    Returns:
        How many rows.
    """
    from cloud_train.store.tables import TABLES

    rows, table = 0, TABLES.tables[name]
    query = table.select().order_by(*table.primary_key.columns).execution_options(yield_per=_AT_ONCE)
    for row in connection.execute(query).mappings():
        file.write(json.dumps(dict(row), ensure_ascii=False, separators=(",", ":")).encode() + b"\n")
        rows += 1
    return rows


def is_empty(database: Database) -> bool:
    """Whether none of the tables has a row."""
    with database.connect() as connection:
        tables = [table for name, table in _tables(connection).items() if name != _VERSIONS]
        return all(connection.execute(table.select().limit(1)).first() is None for table in tables)


@contextmanager
def loading(database: Database, revision: str) -> Iterator[Loader]:
    """A transaction that fills an empty database with the tables of a backup; all of them are there after it, or none.

    Args:
        database: Without rows, see `is_empty`.
        revision: The schema that the backup was made of; the tables are brought up to date afterwards.

    Raises:
        StorageError: The database failed, or the backup was written by a newer edgeloop.
    """
    if database.revision() not in ("", revision):
        _clear(database)  # tables without rows, of another schema
    database.migrate(revision)
    with database.connect(writes=True) as connection:
        yield Loader(connection)
    database.migrate()


class Loader:
    """Takes the rows of one table after the other. Made by `loading`."""

    def __init__(self, connection: Connection) -> None:
        self._connection = connection
        self._tables = _tables(connection)

    def has(self, name: str) -> bool:
        """Whether the schema of the backup has a table."""
        return name in self._tables

    def load(self, name: str, lines: Iterable[bytes]) -> int:
        """Inserts the rows of a table.

        Raises:
            FormatError: There is no such table, or a line is no row of it.
        """
        if name not in self._tables or name == _VERSIONS:
            raise FormatError(f"the backup holds an unknown table {name!r}")
        table, rows, todo = self._tables[name], 0, iter(lines)
        while group := [_row(line, name) for line in islice(todo, _AT_ONCE)]:
            self._connection.execute(table.insert(), group)
            rows += len(group)
        self._count_on(table)
        return rows

    def _count_on(self, table: Table) -> None:
        """Has PostgreSQL give new rows numbers after those that came with their own."""
        column = table.autoincrement_column
        if self._connection.dialect.name != "postgresql" or column is None:
            return
        name, key = table.name, column.name
        self._connection.exec_driver_sql(
            f"SELECT setval(pg_get_serial_sequence('{name}', '{key}'), max({key})) FROM {name} HAVING max({key}) > 0"  # noqa: S608 - names of our own tables
        )


def _tables(connection: Connection) -> dict[str, Table]:
    return dict(_reflected(connection).tables)


def _reflected(connection: Connection) -> MetaData:
    from sqlalchemy import MetaData

    found = MetaData()
    found.reflect(connection, only=lambda name, _: name == _VERSIONS or name in table_names())
    return found


def _clear(database: Database) -> None:
    with database.connect(writes=True) as connection:
        _reflected(connection).drop_all(connection)


def _row(line: bytes, name: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError as cause:
        raise FormatError(f"table {name!r} of the backup is damaged") from cause
    if not isinstance(row, dict):
        raise FormatError(f"table {name!r} of the backup is damaged")
    return row

"""Statements that run very often, built once: to build one takes longer than to run it."""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table


def upsert(connection: Connection, table: Table, row: dict[str, Any], *, kept: frozenset[str] = frozenset()) -> Any:  # noqa: ANN401 - one type a dialect
    """An insert that replaces the row of the same key.

    Args:
        connection: Whose dialect it is for.
        table: Where.
        row: Names of the columns that are given.
        kept: Columns that an existing row keeps.
    """
    return _upsert(connection.dialect.name, table, tuple(row), kept)


@lru_cache(maxsize=64)
def by_key(table: Table, column: str) -> Any:  # noqa: ANN401 - a select
    """Rows whose column is the parameter `key`."""
    from sqlalchemy import bindparam

    return table.select().where(table.c[column] == bindparam("key"))


@lru_cache(maxsize=64)
def _upsert(dialect: str, table: Table, names: tuple[str, ...], kept: frozenset[str]) -> Any:  # noqa: ANN401
    from sqlalchemy.dialects import postgresql, sqlite

    insert: Any = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    keys = [column.name for column in table.primary_key]
    newest = {name: insert.excluded[name] for name in names if name not in keys and name not in kept}
    return insert.on_conflict_do_update(index_elements=keys, set_=newest)

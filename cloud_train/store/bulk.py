"""Many rows in one statement, without a compiler in between: for what is written two thousand times a second.

SQLAlchemy's own way costs 0.3 ms of CPU a sample in groups of eight; this costs a tenth of it.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import chain
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sqlalchemy import Connection, Table

MAX_ROWS = 256
"""Rows of one statement; SQLite takes 32,766 values at a time."""


def insert_fresh(connection: Connection, table: Table, rows: list[dict[str, Any]], *, returning: str) -> list[Any]:
    """Inserts rows; those whose key is there already are left as they are.

    Args:
        connection: In a transaction.
        table: Where.
        rows: One dict a row, all with the same columns; what goes into a column of JSON is its text.
        returning: The column whose values are wanted back.

    Returns:
        That column of the rows that were inserted, in no order.
    """
    found: list[Any] = []
    for start in range(0, len(rows), MAX_ROWS):
        some = rows[start : start + MAX_ROWS]
        text = _text(connection.dialect.name, table.name, tuple(some[0]), len(some), returning)
        values = tuple(chain.from_iterable(row.values() for row in some))
        found.extend(connection.exec_driver_sql(text, values).scalars())
    return found


@lru_cache(maxsize=1024)
def _text(dialect: str, table: str, columns: tuple[str, ...], num_rows: int, returning: str) -> str:
    """Names come from our own tables, values never: they are parameters."""
    mark = "%s" if dialect == "postgresql" else "?"
    row = f"({', '.join([mark] * len(columns))})"
    names = ", ".join(f'"{column}"' for column in columns)
    values = ", ".join([row] * num_rows)
    return f'INSERT INTO "{table}" ({names}) VALUES {values} ON CONFLICT DO NOTHING RETURNING "{returning}"'  # noqa: S608

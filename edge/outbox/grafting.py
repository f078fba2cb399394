"""A new first page for a damaged outbox file whose own is lost: without it SQLite reads nothing of all the others.

The first page holds what kind of file it is and where its tables begin. As every outbox is made by the same statements,
these are in the same places, and the pages of one that was just made fit. https://www.sqlite.org/fileformat2.html
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from edge import durable
from edge.outbox import schema
from edge.outbox.database import PAGE_BYTES

_VERSION_1_PAGE_BYTES = 16_384
_INTERIOR = 5
"""Kind of a page that only says which other pages the rows are in."""


def graft(path: Path) -> bool:
    """Gives a file that is read no more, and that no process has open, the first page of a new outbox.

    Returns:
        Whether its rows can be read now; if not, it is as it was.

    Raises:
        StorageError: It cannot be written.
    """
    for page_bytes, version in ((PAGE_BYTES, schema.SCHEMA_VERSION), (_VERSION_1_PAGE_BYTES, 1)):
        try:
            if _graft(path, page_bytes, _pages_of_schema(page_bytes, version)):
                return True
        except OSError as cause:
            raise durable.storage_error(path, cause) from cause
    return False


def _graft(path: Path, page_bytes: int, pages: dict[int, bytes]) -> bool:
    with path.open("r+b") as file:
        num_pages = os.fstat(file.fileno()).st_size // page_bytes
        if num_pages < max(pages):
            return False
        pages = pages | {1: _with_counts(pages[1], num_pages)}
        before = {number: _swap(file.fileno(), (number - 1) * page_bytes, new) for number, new in pages.items()}
        os.fsync(file.fileno())
        if _has_rows(path):
            return True
        for number, old in before.items():
            _swap(file.fileno(), (number - 1) * page_bytes, old)
    return False


def _swap(handle: int, offset: int, new: bytes) -> bytes:
    old = os.pread(handle, len(new), offset)
    os.pwrite(handle, new, offset)
    return old


def _pages_of_schema(page_bytes: int, version: int) -> dict[int, bytes]:
    """Numbers and content of the pages of a new outbox that say where its tables are."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as db:
        db.execute(f"PRAGMA page_size={page_bytes}")
        db.execute("BEGIN")
        schema.build(db, from_version=0, to_version=version)
        db.execute("COMMIT")
        data = db.serialize()
    first = data[:page_bytes]
    return {number: data[(number - 1) * page_bytes : number * page_bytes] for number in (1, *_children(first))}


def _children(first: bytes) -> list[int]:
    """Pages that the first one points to, when there is more to say than fits into it."""
    if first[100] != _INTERIOR:
        return []
    num_cells = int.from_bytes(first[103:105], "big")
    cells = [int.from_bytes(first[at : at + 2], "big") for at in range(112, 112 + 2 * num_cells, 2)]
    return [int.from_bytes(first[at : at + 4], "big") for at in (*cells, 108)]


def _with_counts(page: bytes, num_pages: int) -> bytes:
    """The header for a file of this size, with a log, without a list of free pages."""
    header = bytearray(page)
    header[18:20] = b"\x02\x02"
    header[28:32] = num_pages.to_bytes(4, "big")
    header[32:40] = bytes(8)
    header[92:96] = header[24:28]
    return bytes(header)


def _has_rows(path: Path) -> bool:
    try:
        with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
            db.execute("PRAGMA query_only=ON")
            return bool(db.execute("SELECT digest FROM entries LIMIT 1").fetchall())
    except sqlite3.Error:
        return False

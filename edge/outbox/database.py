"""One SQLite connection with the durability, the locking and the errors of the outbox."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from edge import durable
from edge.errors import DamagedError, StorageError

T = TypeVar("T")

PAGE_BYTES = 2_048
"""Of a new file; one that version 1 made has 16,384 for ever."""
BUSY_TIMEOUT_MS = 5_000
WAL_BYTES = 4 * 1024 * 1024
"""The log beside the file is written back at the latest when it has grown to this, and cut to it afterwards."""
IDLE_WAL_BYTES = 3_584 * 1024
"""Written back from here on when there is time: earlier means more flushes a sample, later means a put has to do it."""

_DAMAGE = (
    "SQLITE_CORRUPT",
    "SQLITE_NOTADB",
    "SQLITE_CONSTRAINT_PRIMARYKEY",
    "SQLITE_CONSTRAINT_UNIQUE",
)
_MISSING = ("no such table", "no such index", "no such column", "has no column", "no query solution")
"""What SQLITE_ERROR says when a table is not what the schema says: the statements themselves are sound."""
_ANSWERS = {
    "SQLITE_FULL": ("no space left on the disk", "free some space and run the same command again"),
    "SQLITE_READONLY": ("it is read-only", "remount the disk for writing, or check the permissions"),
    "SQLITE_CANTOPEN": ("it cannot be opened", "check that the folder exists and may be written"),
    "SQLITE_IOERR": ("the disk failed or is full", "check the disk and its free space"),
    "SQLITE_NOTADB": ("it is damaged or not an outbox", "move it away; a new one is made"),
    "SQLITE_BUSY": ("another process holds it", "wait for the other edgeloop process, or stop it"),
}


class Database:
    """A connection that several threads may use, one at a time.

    Args:
        path: The file; its folder must exist.

    Attributes:
        path: The same.
        connection: For the functions that a `reading` or `transaction` block hands it to.

    Raises:
        StorageError: The file cannot be opened.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._tidying = threading.Lock()
        self._tidier: sqlite3.Connection | None = None
        try:
            self.connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self.connection.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
        except sqlite3.Error as cause:
            raise storage_error(path, cause) from cause

    @contextlib.contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """No other thread uses the connection meanwhile.

        Raises:
            DamagedError: The file is not as it was written.
            StorageError: Whatever else SQLite says.
        """
        with self._lock:
            try:
                yield self.connection
            except sqlite3.Error as cause:
                raise storage_error(self.path, cause) from cause

    @contextlib.contextmanager
    def transaction(self, point: str) -> Iterator[sqlite3.Connection]:
        """One durable write: all of the block or nothing of it.

        Args:
            point: Its name for `durable.reached`, after `outbox.`.
        """
        with self.reading() as db:
            durable.reached(f"outbox.{point}:before")
            try:
                db.execute("BEGIN IMMEDIATE")
                yield db
                db.execute("COMMIT")
            finally:
                if db.in_transaction:
                    db.execute("ROLLBACK")
            durable.reached(f"outbox.{point}:after")

    def write_back(self) -> None:
        """Writes the log back when it is large enough to be worth it, so that no put has to.

        Over a connection of its own: puts of other threads go on meanwhile.
        """
        with self.reading() as db:
            (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
        if _num_logged_pages(self.path) * page_bytes < IDLE_WAL_BYTES:
            return
        with self._tidying:
            try:
                if self._tidier is None:  # kept: every new one flushes the folder once more
                    self._tidier = sqlite3.connect(self.path, isolation_level=None, check_same_thread=False)
                    self._tidier.execute("PRAGMA synchronous=FULL")
                self._tidier.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchall()
            except sqlite3.Error as cause:
                raise storage_error(self.path, cause) from cause

    def close(self) -> None:
        """Closes the connections."""
        with self._tidying:
            if self._tidier is not None:
                self._tidier.close()
                self._tidier = None
        with self.reading() as db:
            db.close()


def _num_logged_pages(path: Path) -> int:
    """Pages in the log that are not written back yet, out of its index: https://www.sqlite.org/walformat.html."""
    try:
        with path.with_name(f"{path.name}-shm").open("rb") as file:
            index = file.read(100)
    except OSError:
        return 0
    return int.from_bytes(index[16:20], sys.byteorder) - int.from_bytes(index[96:100], sys.byteorder)


def settle(db: sqlite3.Connection) -> None:
    """Sets what a connection to an outbox works with: a log that is flushed at every commit."""
    db.execute("PRAGMA journal_mode=WAL").fetchall()
    db.execute("PRAGMA synchronous=FULL")
    (page_bytes,) = db.execute("PRAGMA page_size").fetchone()
    db.execute(f"PRAGMA wal_autocheckpoint={WAL_BYTES // page_bytes}").fetchall()
    db.execute(f"PRAGMA journal_size_limit={WAL_BYTES}").fetchall()
    db.execute("PRAGMA cell_size_check=ON")
    # Wiping what is freed would write every picture twice more.
    db.execute("PRAGMA secure_delete=FAST").fetchall()
    db.execute("PRAGMA temp_store=MEMORY")


@contextlib.contextmanager
def one_moment(db: sqlite3.Connection) -> Iterator[None]:
    """Reads of the block see the file as it was at the first of them, whatever another process writes meanwhile."""
    if db.in_transaction:
        yield
        return
    db.execute("BEGIN")
    try:
        yield
    finally:
        if db.in_transaction:
            db.execute("ROLLBACK")


def expect(kind: type[T], value: object) -> T:
    """A value out of a row, which in a damaged file can be of any type.

    Raises:
        DamagedError: It is of another one.
    """
    if type(value) is not kind:
        raise DamagedError(f"the outbox is damaged: expected {kind.__name__}, found {type(value).__name__}")
    return value


def has_room_for(path: Path, size_bytes: int) -> bool:
    """Whether the disk of a file has room for so much, twice, and for the log."""
    try:
        return shutil.disk_usage(path.parent).free >= 2 * size_bytes + WAL_BYTES
    except OSError as cause:
        raise durable.storage_error(path, cause) from cause


def give_back(path: Path) -> None:
    """Makes a file smaller that is mostly free pages; where SQLite cannot do that, it stays, to be used again.

    SQLite builds a second copy for it, beside the file and not where temporary files lie, which is memory on many
    devices, and puts it in place by one transaction.

    Args:
        path: The file.
    """
    folder = str(path.parent.resolve()).replace("'", "''")
    durable.reached("outbox.give_back:before")
    with contextlib.suppress(sqlite3.Error), contextlib.closing(sqlite3.connect(path, isolation_level=None)) as db:
        db.execute(f"PRAGMA temp_store_directory='{folder}'")
        db.execute("PRAGMA temp_store=FILE")
        try:
            db.execute("VACUUM")
            db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        finally:
            db.execute("PRAGMA temp_store_directory=''")
    durable.reached("outbox.give_back:after")


def storage_error(path: Path, cause: sqlite3.Error) -> StorageError:
    """What SQLite's answer means for a person, in one line."""
    name = getattr(cause, "sqlite_errorname", None) or ""
    kind = DamagedError if _is_damage(cause, name) else StorageError
    for prefix, (what, hint) in _ANSWERS.items():
        if name.startswith(prefix):
            return kind(f"outbox {path}: {what}", hint=hint)
    if kind is DamagedError:
        return DamagedError(f"outbox {path}: it is damaged: {cause}", hint="move it away; a new one is made")
    return StorageError(f"outbox {path}: {cause}", hint="check the disk")


def _is_damage(cause: sqlite3.Error, name: str) -> bool:
    if name.startswith(_DAMAGE):
        return True
    if name.startswith("SQLITE_ERROR"):
        return any(words in str(cause) for words in _MISSING)
    # Text that is no text is the one error of this kind that comes without a name.
    return type(cause) is sqlite3.OperationalError and not name

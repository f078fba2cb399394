"""The outbox: can it be read, is it whole, what waits in it. Nothing is changed."""

from __future__ import annotations

import contextlib
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from edge.doctor.types import Finding, State, Subject
from edge.outbox.schema import APPLICATION_ID

_READING_S = 8.0
_STEPS = 100_000
_FULL = 0.95
_DAMAGED_FIX = "start the agent: it sets the damaged file aside and takes over what can be read"


def examine_outbox(subject: Subject) -> tuple[Finding, ...]:
    """One finding on the file, and one on damaged files that were set aside."""
    return (_examine_file(subject), *_examine_set_aside(subject.home.outbox))


def _examine_file(subject: Subject) -> Finding:
    file = subject.home.outbox
    if not file.exists():
        return Finding(name="outbox", state=State.OK, detail="none yet; it is made at the first start")
    try:
        with _opened(file, is_used=subject.is_running) as db:
            problem = _whose(db) or ("" if subject.is_running else _damage(db))
            counts, used = ({}, 0) if problem else (_counts(db), _used_bytes(db))
    except sqlite3.Error as cause:
        return _unreadable(cause)
    if problem:
        return Finding(name="outbox", state=State.FAIL, detail=problem, fix=_DAMAGED_FIX)
    return _judged(subject, counts, used)


def _judged(subject: Subject, counts: dict[str, int], used: int) -> Finding:
    waiting, limit = counts.get("pending", 0) + counts.get("claimed", 0), subject.settings.outbox_max_bytes
    detail = f"{waiting} waiting, {counts.get('parked', 0)} parked, {used / 1e6:.1f} of {limit / 1e6:.0f} MB"
    is_full = used >= _FULL * limit or waiting >= _FULL * subject.settings.outbox_max_entries
    if is_full and waiting:
        fix = "let it send (`edgeloop device sync`), or raise outbox_max_bytes and outbox_max_entries"
        return Finding(name="outbox", state=State.WARN, detail=f"{detail}: full, the least valuable goes", fix=fix)
    return Finding(name="outbox", state=State.OK, detail=detail)


def _examine_set_aside(file: Path) -> tuple[Finding, ...]:
    found = sorted(file.parent.glob(f"{file.name}.damaged-*"))
    if not found:
        return ()
    detail = (
        f"{len(found)} damaged file{'s' if len(found) > 1 else ''} set aside: {', '.join(one.name for one in found)}"
    )
    fix = "check the disk's health; remove them when nobody wants to look into them any more"
    return (Finding(name="outbox damage", state=State.WARN, detail=detail, fix=fix),)


@contextlib.contextmanager
def _opened(file: Path, *, is_used: bool) -> Iterator[sqlite3.Connection]:
    """A connection that cannot write, and whose queries end in time."""
    log = file.with_name(f"{file.name}-wal")
    # Where nobody writes and nothing is left to be taken over, nothing need be made beside the file.
    mode = "ro" if is_used or (log.exists() and log.stat().st_size) else "ro&immutable=1"
    name = f"file:{quote(str(file.absolute()))}?mode={mode}"
    db = sqlite3.connect(name, uri=True, timeout=2.0, isolation_level=None)
    deadline = time.monotonic() + _READING_S
    db.set_progress_handler(lambda: int(time.monotonic() > deadline), _STEPS)
    with contextlib.closing(db):
        yield db


def _whose(db: sqlite3.Connection) -> str:
    (application,) = db.execute("PRAGMA application_id").fetchone()
    (num_tables,) = db.execute("SELECT count(*) FROM sqlite_master").fetchone()
    return "" if application == APPLICATION_ID else ("it is empty" if not num_tables else "the file is not an outbox")


def _damage(db: sqlite3.Connection) -> str:
    """What SQLite finds wrong; an outbox too large to be read in time is taken for whole as far as it was read."""
    try:
        (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
    except sqlite3.OperationalError as cause:
        if getattr(cause, "sqlite_errorname", "") == "SQLITE_INTERRUPT":
            db.set_progress_handler(None, 0)
            return ""
        raise
    return "" if answer == "ok" else f"it is damaged: {str(answer).splitlines()[-1]}"


def _counts(db: sqlite3.Connection) -> dict[str, int]:
    return dict(db.execute("SELECT state, count(*) FROM entries GROUP BY state").fetchall())


def _used_bytes(db: sqlite3.Connection) -> int:
    pages, free, size = (
        db.execute(f"PRAGMA {name}").fetchone()[0] for name in ("page_count", "freelist_count", "page_size")
    )
    return int((pages - free) * size)


def _unreadable(cause: sqlite3.Error) -> Finding:
    name = getattr(cause, "sqlite_errorname", "")
    if name.startswith(("SQLITE_CORRUPT", "SQLITE_NOTADB")):
        return Finding(name="outbox", state=State.FAIL, detail=f"it is damaged: {cause}", fix=_DAMAGED_FIX)
    if name.startswith("SQLITE_BUSY"):
        fix = "wait, and run the doctor again"
        return Finding(name="outbox", state=State.WARN, detail="another process holds it", fix=fix)
    fix = "check owner and permissions of the home; the doctor must run as the agent's user or as root"
    return Finding(name="outbox", state=State.FAIL, detail=f"it cannot be read: {cause}", fix=fix)

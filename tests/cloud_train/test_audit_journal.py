"""The audit of what happens at the door: everything at first, then numbers, never without bound."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest

from cloud_train.ingest.journal import MANY, Journal, JournalLimits
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import open_database


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def audit(tmp_path: Path) -> SqlAuditLog:
    return SqlAuditLog(open_database(tmp_path / "meta.sqlite"))


def test_entries_are_written_when_flushed_and_logged_at_once(
    audit: SqlAuditLog, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    journal = Journal(audit, clock)
    with caplog.at_level(logging.INFO, logger="edgeloop.audit"):
        journal.note("device:a", "sample.refused", "sample:1", reason="too large")
    assert audit.newest() == ()
    assert journal.flush() == 1
    (entry,) = audit.newest()
    assert (entry.at, entry.who, entry.action, entry.detail) == (
        1000.0,
        "device:a",
        "sample.refused",
        {"reason": "too large"},
    )
    (line,) = caplog.messages
    assert json.loads(line)["subject"] == "sample:1"


def test_a_flood_of_one_caller_becomes_a_number(audit: SqlAuditLog, clock: Clock) -> None:
    journal = Journal(audit, clock, JournalLimits(each_minute=3))
    for number in range(1000):
        journal.note("device:bad", "sample.refused", f"sample:{number}")
    journal.note("device:good", "sample.refused", "sample:x")
    assert journal.flush() == 4
    clock.now += 61
    assert journal.flush() == 1
    newest = audit.newest()[0]
    assert (newest.who, newest.subject, newest.detail) == ("device:bad", "more", {"times": "997"})
    journal.note("device:bad", "sample.refused", "sample:again")
    assert journal.flush() == 1


def test_a_flood_of_callers_is_counted_together(audit: SqlAuditLog, clock: Clock) -> None:
    journal = Journal(audit, clock, JournalLimits(each_minute=2, callers=10))
    for number in range(500):
        journal.note(f"peer:{number}", "device.over_limit", "x")
    assert journal.flush() == 12
    assert sum(entry.who == MANY for entry in audit.newest()) == 0
    journal.close()
    (many,) = (entry for entry in audit.newest() if entry.subject == "more")
    assert (many.who, many.detail) == (MANY, {"times": "488"})


def test_what_waits_is_bounded_while_the_database_is_away(audit: SqlAuditLog, clock: Clock, tmp_path: Path) -> None:
    class Broken:
        def record(self, *entries: object) -> None:
            raise OSError("away")

    journal = Journal(Broken(), clock, JournalLimits(each_minute=10**6, callers=10**6, waiting=50))
    for number in range(500):
        journal.note(f"device:{number}", "sample.refused", "x")
    with pytest.raises(OSError, match="away"):
        journal.flush()
    journal._audit = audit
    assert journal.flush() == 50

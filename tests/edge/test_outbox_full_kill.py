"""kill -9 in a full outbox, and while one is opened that must be migrated, made smaller or salvaged."""

from __future__ import annotations

import dataclasses
import itertools
import os
import shutil
import signal
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from sample_values import make_sample

from edge import durable
from edge.outbox.base import EntryState, OutboxLimits, SampleOutbox
from edge.outbox.database import PAGE_BYTES
from edge.outbox.memory import MemoryOutbox
from edge.outbox.recovering import RecoveringOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

HERE = Path(__file__).resolve().parent
V1 = HERE.parent / "compat" / "outbox_v1.sqlite"


ANSWER = Feedback(kind=FeedbackKind.CONFIRMED, label="tea", who="ann", at=1.0)
LIMITS = OutboxLimits(max_entries=3, max_remembered=2, max_audit_rows=6)
SAMPLES = [make_sample(number, size_bytes=9000 + number, value=(number * 37 % 10) / 10) for number in range(12)]
Call = Callable[[SampleOutbox], object]


def calls() -> list[Call]:
    """Everything that an outbox can be asked to change."""
    made: list[Call] = []
    for begin in range(0, len(SAMPLES), 3):
        group, now = SAMPLES[begin : begin + 3], float(begin)
        made.append(lambda outbox, group=group, now=now: outbox.put_many(group, now=now))
        made.append(lambda outbox, group=group, now=now: outbox.put_answer(group[1].digest, ANSWER, now=now))
        made.append(lambda outbox, now=now: outbox.claim(limit=2, now=now, lease_s=1e9))
        made.append(lambda outbox, group=group, now=now: outbox.mark_sent((group[2].digest,), now=now))
        made.append(lambda outbox, group=group: outbox.park(group[0].digest, reason="no"))
        made.append(lambda outbox, now=now: take_answers(outbox, now))
        made.append(lambda outbox: outbox.release_all())
    return made


def take_answers(outbox: SampleOutbox, now: float) -> None:
    """One write, whichever it is."""
    for waiting in outbox.waiting_answers(limit=1):
        if now % 2:
            outbox.refuse_answer(waiting.number, reason="unknown", now=now)
        else:
            outbox.answers_sent((waiting.number,))


def live(path: Path, journal: Path) -> None:
    """The same calls in every life; the journal says how many have returned, `MemoryOutbox` what is there then."""
    handle = os.open(journal, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    outbox = SqliteOutbox(path, LIMITS, clock=lambda: 0.0)
    for call in calls():
        call(outbox)
        os.write(handle, b".")
    outbox.close()


def in_a_child(work: Callable[[], object], prepare: Callable[[int], None], number: int) -> bool:
    """Does the work in a process of its own, which ends itself at the n-th point; whether it has."""
    child = os.fork()
    if child == 0:
        try:
            prepare(number)
            work()
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status in (0, signal.SIGKILL), "the work failed"
    return status == signal.SIGKILL


def kill_at_point(number: int) -> None:
    points = itertools.count(1)

    def observe(_: str) -> None:
        if next(points) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    durable.observe(observe)


def kill_at_statement(number: int) -> None:
    statements = itertools.count(1)
    connect = sqlite3.connect

    def trace(_: str) -> None:
        if next(statements) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    def connected(*arguments: object, **options: object) -> sqlite3.Connection:
        connection = connect(*arguments, **options)
        connection.set_trace_callback(trace)
        return connection

    sqlite3.connect = connected


def points_of(work: Callable[[], None]) -> list[str]:
    points: list[str] = []
    durable.observe(points.append)
    try:
        work()
    finally:
        durable.observe(None)
    return points


def content(outbox: SampleOutbox) -> tuple[object, ...]:
    waiting = [(one.digest, one.feedback) for one in outbox.waiting_answers(limit=99)]
    stats = dataclasses.replace(outbox.stats(), file_bytes=0)
    return outbox.entries(), outbox.audit(limit=99), waiting, stats


def test_a_kill_at_every_durable_write_of_a_full_outbox_leaves_each_call_done_or_not(tmp_path: Path) -> None:
    (tmp_path / "counted").mkdir()
    points = points_of(lambda: live(tmp_path / "counted" / "outbox.sqlite", tmp_path / "counted" / "journal"))
    assert {point.split(":")[0] for point in points} >= {"outbox.put", "outbox.put_answer", "outbox.refuse_answer"}
    oracle = MemoryOutbox(LIMITS)
    expected = [content(oracle)]
    for call in calls():
        call(oracle)
        expected.append(content(oracle))
    assert oracle.stats().shed > 4
    for number in range(1, len(points) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, journal = folder / "outbox.sqlite", folder / "journal"
        assert in_a_child(lambda: live(path, journal), kill_at_point, number)  # noqa: B023
        num_done = journal.stat().st_size if journal.exists() else 0
        outbox = SqliteOutbox(path, LIMITS)
        assert content(outbox) in expected[num_done : num_done + 2], points[number - 1]
        payloads = {sample.digest: sample.payload for sample in SAMPLES}
        for entry in outbox.entries():
            if entry.state is not EntryState.SENT:
                assert outbox.payload(entry.digest) == payloads[entry.digest]
        outbox.close()


@pytest.mark.slow
def test_a_kill_at_every_statement_of_the_migration_leaves_version_1_or_2(tmp_path: Path) -> None:
    shutil.copy(V1, tmp_path / "whole.sqlite")
    outbox = SqliteOutbox(tmp_path / "whole.sqlite")
    expected = content(outbox)
    outbox.close()
    path = tmp_path / "outbox.sqlite"
    versions = []
    for number in range(1, 200):
        shutil.copy(V1, path)
        killed = in_a_child(lambda: SqliteOutbox(path).close(), kill_at_statement, number)
        with sqlite3.connect(path) as db:
            versions += db.execute("PRAGMA user_version").fetchone()
            assert db.execute("SELECT count(*) FROM entries").fetchone() == (4,)
        db.close()
        outbox = SqliteOutbox(path)
        assert content(outbox) == expected
        outbox.close()
        if not killed:
            break
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}
    assert versions.count(1) > 10, "not killed inside of the migration"


def prepare_damaged(path: Path) -> dict[str, EntryState]:
    """An outbox with a damaged page of the table of entries; what of it can be saved."""
    outbox = SqliteOutbox(path)
    samples = [make_sample(number, size_bytes=3 * PAGE_BYTES, value=number / 100) for number in range(80)]
    outbox.put_many(samples, now=1.0)
    outbox.park(samples[70].digest, reason="no")
    outbox.mark_sent(tuple(sample.digest for sample in samples[60:64]), now=2.0)
    outbox.put_answer(samples[75].digest, ANSWER, now=3.0)
    outbox.put_answer(samples[60].digest, ANSWER, now=3.0)
    outbox.close()
    with sqlite3.connect(path) as db:
        (page,) = db.execute(
            "SELECT pageno FROM dbstat WHERE name = 'entries' AND pagetype = 'leaf' ORDER BY path LIMIT 1 OFFSET 1"
        ).fetchone()
    db.close()
    data = bytearray(path.read_bytes())
    data[(page - 1) * PAGE_BYTES : page * PAGE_BYTES] = b"\xaa" * PAGE_BYTES
    path.write_bytes(data)
    return {sample.digest: EntryState.PENDING for sample in samples[20:60]} | {
        samples[70].digest: EntryState.PARKED,
        samples[61].digest: EntryState.SENT,
    }


def recovered(path: Path) -> RecoveringOutbox:
    return RecoveringOutbox(path, report=lambda line: None, clock=lambda: 7.0)


def check_salvaged(path: Path, wanted: dict[str, EntryState]) -> None:
    outbox = recovered(path)
    outbox.entries()
    found = {entry.digest: entry.state for entry in outbox.entries()}
    assert {digest: found.get(digest) for digest in wanted} == wanted
    for digest, state in found.items():
        if state is not EntryState.SENT:
            outbox.payload(digest)
    stats = outbox.stats()
    assert (stats.sent, stats.answers) == (4, 2)
    assert len(found) >= 65
    assert [one.feedback for one in outbox.waiting_answers(limit=9)] == [ANSWER]
    assert outbox.put(make_sample(999), now=9.0)
    outbox.close()
    assert sorted(other.name for other in path.parent.glob("outbox.sqlite*")) == [
        "outbox.sqlite",
        "outbox.sqlite.damaged-1",
    ]


def open_and_read(path: Path) -> None:
    outbox = recovered(path)
    outbox.entries()
    outbox.close()


def test_a_kill_at_every_durable_write_of_a_salvage_loses_nothing_that_can_be_read(tmp_path: Path) -> None:
    original = tmp_path / "original.sqlite"
    wanted = prepare_damaged(original)
    counted = tmp_path / "counted"
    counted.mkdir()
    shutil.copy(original, counted / "outbox.sqlite")
    points = points_of(lambda: open_and_read(counted / "outbox.sqlite"))
    check_salvaged(counted / "outbox.sqlite", wanted)
    assert {point.split(":")[0] for point in points} == {
        "outbox.quarantine.mark",
        "outbox.quarantine",
        "outbox.create",
        "outbox.put_answer",
        "outbox.salvage",
        "outbox.salvaged",
    }
    for number in range(1, len(points) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        path = folder / "outbox.sqlite"
        shutil.copy(original, path)
        assert in_a_child(lambda: open_and_read(path), kill_at_point, number), points[number - 1]  # noqa: B023
        if number % 2:
            in_a_child(lambda: open_and_read(path), kill_at_point, 4)  # noqa: B023
        check_salvaged(path, wanted)


def test_a_kill_while_a_lower_limit_is_applied_leaves_the_best(tmp_path: Path) -> None:
    original = tmp_path / "original.sqlite"
    outbox = SqliteOutbox(original)
    samples = [make_sample(number, size_bytes=20_000, value=number / 100) for number in range(60)]
    outbox.put_many(samples, now=1.0)
    outbox.close()
    limits = OutboxLimits(max_bytes=1_000_000, max_entries=10)
    path = tmp_path / "outbox.sqlite"
    for number in (1, 2, 3, 4):
        shutil.copy(original, path)
        assert in_a_child(lambda: SqliteOutbox(path, limits).close(), kill_at_point, number)
        outbox = SqliteOutbox(path, limits)
        assert [entry.digest for entry in outbox.entries()] == [sample.digest for sample in samples[50:]]
        assert outbox.stats().shed == 50
        assert outbox.stats().file_bytes <= limits.max_bytes
        outbox.close()
        assert path.stat().st_size <= limits.max_bytes

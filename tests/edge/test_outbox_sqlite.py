"""What the outbox on disk promises beyond the contract: its file, its errors, other processes."""

from __future__ import annotations

import hashlib
import json
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sample_values import make_sample

from edge import durable
from edge.errors import DamagedError, StorageError
from edge.outbox import schema
from edge.outbox.base import EntryState
from edge.outbox.database import PAGE_BYTES
from edge.outbox.schema import SCHEMA_VERSION
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

TESTS = Path(__file__).resolve().parents[1]
ANSWER = Feedback(kind=FeedbackKind.CONFIRMED, label="tea", who="ann", at=1.0)


def pragma(path: Path, name: str) -> object:
    with sqlite3.connect(path) as db:
        return db.execute(f"PRAGMA {name}").fetchone()[0]


def test_the_file_is_as_the_format_page_says(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "outbox.sqlite"
    SqliteOutbox(path).close()
    assert pragma(path, "user_version") == SCHEMA_VERSION == 2
    assert pragma(path, "journal_mode") == "wal"
    assert pragma(path, "page_size") == PAGE_BYTES == 2_048
    assert pragma(path, "application_id") == int.from_bytes(b"ELOB", "big")


def test_every_connection_waits_for_the_disk(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite")
    assert outbox._database.connection.execute("PRAGMA synchronous").fetchone() == (2,)
    outbox.close()


def test_what_was_put_is_there_after_reopening(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    samples = [make_sample(number, size_bytes=50_000) for number in range(5)]
    outbox = SqliteOutbox(path)
    for sample in samples:
        outbox.put(sample, now=1.0)
    outbox.mark_sent((samples[0].digest,), now=2.0)
    before = outbox.entries()
    outbox.close()
    again = SqliteOutbox(path)
    assert again.entries() == before
    assert all(again.payload(sample.digest) == sample.payload for sample in samples[1:])
    assert not again.put(samples[0], now=3.0)
    again.close()


def test_the_reason_for_parking_stands_in_the_file(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    outbox.put(make_sample(1), now=1.0)
    outbox.park(make_sample(1).digest, reason="not a picture")
    outbox.close()
    with sqlite3.connect(path) as db:
        assert db.execute("SELECT state, reason FROM entries").fetchall() == [("parked", "not a picture")]


def test_every_change_reports_its_durable_writes(tmp_path: Path) -> None:
    points: list[str] = []
    durable.observe(points.append)
    try:
        outbox = SqliteOutbox(tmp_path / "outbox.sqlite")
        digest = make_sample(1).digest
        outbox.put(make_sample(1), now=1.0)
        outbox.claim(limit=1, now=1.0, lease_s=1)
        outbox.release((digest,))
        outbox.park(digest, reason="")
        outbox.mark_sent((digest,), now=1.0)
        outbox.put_many([make_sample(2), make_sample(3)], now=1.0)
        outbox.put_answer(digest, ANSWER, now=1.0)
        outbox.answers_sent((1,))
        outbox.refuse_answer(1, reason="", now=1.0)
        outbox.release_all()
        outbox.maintain()
        outbox.close()
    finally:
        durable.observe(None)
    changes = ("create", "put", "claim", "release", "park", "mark_sent")
    changes += ("put", "put_answer", "answers_sent", "refuse_answer", "release")
    assert points == [f"outbox.{change}:{moment}" for change in changes for moment in ("before", "after")]


def test_an_idle_moment_is_used_to_write_the_log_back(tmp_path: Path) -> None:
    """So that no put has to: it would take as long as many."""
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    for number in range(20):
        outbox.put(make_sample(number, size_bytes=100_000), now=1.0)
    outbox.maintain()
    assert path.stat().st_size < 500_000, "too early: it would cost flushes"
    outbox.put_many([make_sample(number, size_bytes=100_000) for number in range(100, 116)], now=1.0)
    assert path.stat().st_size < 500_000
    outbox.maintain()
    assert path.stat().st_size > 3_200_000
    outbox.close()


@pytest.mark.parametrize(
    "damage",
    [
        "UPDATE entries SET value = 'high'",
        "UPDATE entries SET size_bytes = 'big'",
        "UPDATE entries SET metadata = x'00'",
        "UPDATE entries SET metadata = cast(x'ff00fe' AS TEXT)",
        "DROP INDEX entries_by_rank",
    ],
)
def test_what_was_never_written_is_damage(tmp_path: Path, damage: str) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    outbox.put(make_sample(1), now=1.0)
    with sqlite3.connect(path) as db:
        db.execute(damage)
    with pytest.raises(DamagedError):
        outbox.claim(limit=1, now=2.0, lease_s=9.0)
    outbox.close()


def test_a_newer_schema_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    SqliteOutbox(path).close()
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=3")
    before = hashlib.sha256(path.read_bytes()).hexdigest()
    with pytest.raises(StorageError, match=r"schema 3.*up to 2.*update edgeloop") as caught:
        SqliteOutbox(path)
    assert "\n" not in str(caught.value)
    assert hashlib.sha256(path.read_bytes()).hexdigest() == before


def test_a_database_of_somebody_else_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as db:
        db.execute("CREATE TABLE photos (name TEXT)")
    before = path.read_bytes()
    with pytest.raises(StorageError, match="is not an outbox"):
        SqliteOutbox(path)
    assert path.read_bytes() == before


def test_a_file_that_is_no_database_is_named(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(b"this is not a database, whatever its name says" * 100)
    with pytest.raises(StorageError, match=r"outbox\.sqlite: it is damaged"):
        SqliteOutbox(path)


def test_damage_in_the_pages_is_named(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    for number in range(40):
        outbox.put(make_sample(number, size_bytes=5_000), now=1.0)
    outbox.close()
    damaged = bytearray(path.read_bytes())
    damaged[PAGE_BYTES:] = b"\xaa" * (len(damaged) - PAGE_BYTES)
    path.write_bytes(damaged)
    with pytest.raises(StorageError, match=r"outbox\.sqlite: it is damaged"):
        SqliteOutbox(path).entries()


def test_damaged_metadata_is_named_with_its_digest(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    outbox.put(make_sample(1), now=1.0)
    with sqlite3.connect(path) as db:
        db.execute("""UPDATE entries SET metadata = '{"label":3}'""")
    with pytest.raises(StorageError, match=f"{make_sample(1).digest}: damaged metadata"):
        outbox.entries()
    outbox.close()


def test_a_folder_in_its_place_is_named(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be opened"):
        SqliteOutbox(tmp_path)


def test_after_closing_every_call_says_so(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite")
    outbox.close()
    with pytest.raises(StorageError, match=r"outbox\.sqlite.*closed"):
        outbox.put(make_sample(1), now=1.0)


def test_a_claim_that_cannot_be_written_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    outbox.put(make_sample(1), now=1.0)
    with sqlite3.connect(path) as db:
        db.execute("CREATE TRIGGER stop BEFORE UPDATE ON entries BEGIN SELECT raise(ABORT, 'no'); END")
    with pytest.raises(StorageError):
        outbox.claim(limit=1, now=2.0, lease_s=10)
    assert [entry.state for entry in outbox.entries()] == [EntryState.PENDING]
    outbox.close()


TWO_PROCESSES = """
import json, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from sample_values import make_sample
from edge.outbox import schema
from edge.outbox.sqlite import SqliteOutbox
sys.stdin.readline()
outbox = SqliteOutbox(Path(sys.argv[2]))
kept = [number for number in range(30) if outbox.put(make_sample(number), now=1.0)]
claimed = [entry.digest for _ in range(20) for entry in outbox.claim(limit=2, now=1.0, lease_s=60)]
outbox.close()
print(json.dumps([kept, claimed]))
"""


def test_two_processes_may_open_it_at_the_same_moment(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    command = [sys.executable, "-c", TWO_PROCESSES, str(TESTS), str(path)]
    processes = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=TESTS.parent)
        for _ in range(3)
    ]
    for process in processes:
        assert process.stdin is not None
        process.stdin.write("go\n")
        process.stdin.flush()
    answers = [json.loads(process.communicate(timeout=60)[0]) for process in processes]
    kept = [number for numbers, _ in answers for number in numbers]
    claimed = [digest for _, digests in answers for digest in digests]
    assert sorted(kept) == list(range(30))
    assert len(claimed) == len(set(claimed)) > 0


def test_one_that_another_process_makes_meanwhile_is_an_outbox(tmp_path: Path) -> None:
    """The three things that tell an outbox are read at one moment, not before and after another's first write."""
    path = tmp_path / "outbox.sqlite"
    reader = sqlite3.connect(path, isolation_level=None)
    reader.execute("PRAGMA journal_mode=WAL")
    made: list[SqliteOutbox] = []

    def meanwhile(statement: str) -> None:
        if statement == "PRAGMA user_version" and not made:
            made.append(SqliteOutbox(path))

    reader.set_trace_callback(meanwhile)
    assert schema.version_of(path, reader) == 0
    assert made
    assert schema.version_of(path, reader) == 2
    reader.close()
    made[0].close()

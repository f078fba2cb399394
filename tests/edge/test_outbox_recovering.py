"""What a damaged outbox file leads to: set aside, salvaged, said; and what is no damage."""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path

import pytest
from sample_values import make_sample

from edge.errors import DamagedError, StorageError
from edge.outbox.base import AuditAction, EntryState, OutboxLimits, Sample
from edge.outbox.database import PAGE_BYTES
from edge.outbox.recovering import RecoveringOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

V1 = Path(__file__).resolve().parents[1] / "compat" / "outbox_v1.sqlite"
ANSWER = Feedback(kind=FeedbackKind.CONFIRMED, label="tea", who="ann", at=1.0)
SAMPLES = [make_sample(number, size_bytes=6_000 + number, value=number / 100) for number in range(40)]


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An outbox with something of everything."""
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    outbox.put_many(SAMPLES, now=1.5)
    outbox.claim(limit=2, now=2.0, lease_s=60)
    outbox.park(SAMPLES[5].digest, reason="not a picture")
    outbox.put_answer(SAMPLES[6].digest, ANSWER, now=2.0)
    outbox.put_answer(SAMPLES[7].digest, ANSWER, now=2.0)
    outbox.mark_sent((SAMPLES[7].digest, SAMPLES[8].digest), now=3.0)
    outbox.close()
    return path


class Told:
    """An outbox and what it has reported."""

    def __init__(self, path: Path, limits: OutboxLimits | None = None) -> None:
        self.lines: list[str] = []
        self.outbox = RecoveringOutbox(path, limits, report=self.lines.append, clock=lambda: 50.0)


def damage(path: Path, *, at: int, filling: bytes) -> None:
    data = bytearray(path.read_bytes())
    data[at : at + len(filling)] = filling
    path.write_bytes(data)


def damage_a_payload(path: Path, sample: Sample) -> None:
    at = path.read_bytes().index(sample.payload[100:200])
    damage(path, at=at, filling=b"\0")


def states(outbox: RecoveringOutbox) -> dict[str, EntryState]:
    return {entry.digest: entry.state for entry in outbox.entries()}


def check_everything_but(outbox: RecoveringOutbox, lost: set[int]) -> None:
    found = states(outbox)
    special = {5: EntryState.PARKED, 7: EntryState.SENT, 8: EntryState.SENT}
    wanted = {n: special.get(n, EntryState.PENDING) for n in range(len(SAMPLES)) if n not in lost}
    assert found == {SAMPLES[number].digest: state for number, state in wanted.items()}
    for number, state in wanted.items():
        if state is not EntryState.SENT:
            assert outbox.payload(SAMPLES[number].digest) == SAMPLES[number].payload
    assert [entry.metadata for entry in outbox.entries() if entry.state is not EntryState.SENT] == [
        SAMPLES[number].metadata for number, state in wanted.items() if state is not EntryState.SENT
    ]


def test_a_damaged_payload_is_noticed_when_it_is_read_and_the_others_go_on(path: Path) -> None:
    damage_a_payload(path, SAMPLES[20])
    told = Told(path)
    assert told.lines == []
    with pytest.raises(KeyError):
        told.outbox.payload(SAMPLES[20].digest)
    check_everything_but(told.outbox, {20})
    aside, salvaged = told.lines
    assert SAMPLES[20].digest in aside
    assert "set aside as outbox.sqlite.damaged-1" in aside
    assert "out of outbox.sqlite.damaged-1: 37 samples, 2 answers, 2 digests" in salvaged
    assert "at least 1 sample is lost" in salvaged
    told.outbox.close()


def test_the_audit_and_the_totals_say_what_has_happened(path: Path) -> None:
    damage_a_payload(path, SAMPLES[20])
    size = path.stat().st_size
    told = Told(path)
    with pytest.raises(KeyError):
        told.outbox.payload(SAMPLES[20].digest)
    salvaged, quarantined = told.outbox.audit(limit=9)
    assert (quarantined.action, quarantined.size_bytes, quarantined.at) == (AuditAction.QUARANTINED, size, 50.0)
    assert "damaged-1" in quarantined.detail
    assert SAMPLES[20].digest in quarantined.detail
    assert salvaged.action is AuditAction.SALVAGED
    assert salvaged.size_bytes == sum(len(SAMPLES[n].payload) for n in range(40) if n not in (7, 8, 20))
    assert "37 samples" in salvaged.detail
    stats = told.outbox.stats()
    assert (stats.pending, stats.parked, stats.sent, stats.answers) == (36, 1, 2, 2)
    told.outbox.close()


def test_answers_and_their_weight_are_taken_over(path: Path) -> None:
    damage(path, at=0, filling=bytes(100))
    told = Told(path, OutboxLimits(max_entries=2))
    assert set(states(told.outbox)) == {SAMPLES[number].digest for number in (6, 7, 8, 39)}
    assert [one.digest for one in told.outbox.waiting_answers(limit=9)] == [SAMPLES[7].digest]
    told.outbox.close()


@pytest.mark.parametrize("filling", [bytes(PAGE_BYTES), b"\xff" * 100, b"\xaa" * 512, b"not a database" * 20], ids=len)
def test_without_its_first_page_nothing_else_is_lost(path: Path, filling: bytes) -> None:
    damage(path, at=0, filling=filling)
    told = Told(path)
    check_everything_but(told.outbox, set())
    assert told.outbox.stats().answers == 2
    assert len(told.lines) == 2
    told.outbox.close()


def test_a_file_of_version_1_is_salvaged_without_its_first_page(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    path.write_bytes(V1.read_bytes())
    damage(path, at=0, filling=bytes(16_384))
    told = Told(path)
    assert list(states(told.outbox).values()) == [
        EntryState.SENT,
        EntryState.PENDING,
        EntryState.PENDING,
        EntryState.PARKED,
    ]
    told.outbox.close()


def test_what_is_no_outbox_at_all_is_set_aside_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    rubbish = b"this is not a database" * 1000
    path.write_bytes(rubbish)
    told = Told(path)
    assert told.outbox.put(make_sample(1), now=1.0)
    assert (tmp_path / "outbox.sqlite.damaged-1").read_bytes() == rubbish
    told.outbox.close()


def test_damaged_metadata_costs_its_own_sample_only(path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("UPDATE entries SET metadata = '{}' WHERE digest = ?", (SAMPLES[3].digest,))
    db.close()
    told = Told(path)
    check_everything_but(told.outbox, {3})
    told.outbox.close()


@pytest.mark.parametrize("table", ["answers", "audit", "totals", "payloads", "entries"])
def test_a_missing_table_is_damage(path: Path, table: str) -> None:
    with sqlite3.connect(path) as db:
        db.execute(f"DROP TABLE {table}")
    db.close()
    told = Told(path)
    for call in (told.outbox.stats, lambda: told.outbox.audit(limit=1), lambda: told.outbox.payload(SAMPLES[0].digest)):
        try:
            call()
        except KeyError:
            assert table in ("payloads", "entries")
    assert told.outbox.put(make_sample(99), now=1.0)
    assert len(told.lines) == 2
    told.outbox.close()


def test_damage_twice_keeps_the_newest_damaged_file_only(path: Path) -> None:
    for number in (1, 2, 3):
        damage(path, at=0, filling=bytes(100))
        told = Told(path)
        check_everything_but(told.outbox, set())
        told.outbox.close()
        assert sorted(other.name for other in path.parent.iterdir()) == [
            "outbox.sqlite",
            f"outbox.sqlite.damaged-{number}",
        ]


def test_an_older_damaged_file_is_not_overwritten(path: Path) -> None:
    kept = path.with_name("outbox.sqlite.damaged-7.unsalvaged")
    kept.write_text("a reason")
    path.with_name("outbox.sqlite.damaged-7").write_bytes(b"rubbish")
    damage(path, at=0, filling=bytes(100))
    told = Told(path)
    check_everything_but(told.outbox, set())
    assert "damaged-8" in told.lines[0]
    told.outbox.close()
    assert not kept.exists(), "read as well, with nothing in it"


def test_a_salvage_that_the_disk_has_no_room_for_goes_on_at_the_next_start(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    damage(path, at=0, filling=bytes(100))

    def full(*arguments: object) -> None:
        raise StorageError("no space left on the disk")

    with monkeypatch.context() as patch:
        patch.setattr("edge.outbox.placing._DiskRoom.take", full)
        told = Told(path)
        assert told.outbox.stats().pending == 0
        assert "could not be salvaged yet: no space left" in told.lines[-1]
        told.outbox.close()
    assert path.with_name("outbox.sqlite.damaged-1.unsalvaged").exists()
    told = Told(path)
    check_everything_but(told.outbox, set())
    assert len(told.lines) == 1
    told.outbox.close()


def test_what_is_put_after_the_damage_survives_the_end_of_the_old_file(path: Path) -> None:
    """The old connection is gone before the new file is there: closing it later would remove the new one's log."""
    damage_a_payload(path, SAMPLES[20])
    told = Told(path)
    with pytest.raises(KeyError):
        told.outbox.payload(SAMPLES[20].digest)
    fresh = make_sample(500)
    assert told.outbox.put(fresh, now=1.0)
    log = path.with_name("outbox.sqlite-wal")
    assert log.stat().st_size > 0
    other = SqliteOutbox(path)
    assert other.payload(fresh.digest) == fresh.payload
    other.close()
    told.outbox.close()


def test_many_threads_find_one_damage(path: Path) -> None:
    damage_a_payload(path, SAMPLES[20])
    told = Told(path)
    failures: list[BaseException] = []

    def read_all() -> None:
        try:
            for entry in told.outbox.entries():
                if entry.state is not EntryState.SENT and entry.digest != SAMPLES[20].digest:
                    told.outbox.payload(entry.digest)
            told.outbox.payload(SAMPLES[20].digest)
        except KeyError:
            pass
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=read_all) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert failures == []
    assert len(told.lines) == 2
    told.outbox.close()


def test_a_newer_file_and_one_of_another_program_are_no_damage(path: Path, tmp_path: Path) -> None:
    with sqlite3.connect(path) as db:
        db.execute("PRAGMA user_version=3")
    db.close()
    with pytest.raises(StorageError, match="update edgeloop"):
        Told(path)
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE photos (name TEXT)")
    db.close()
    before = other.read_bytes()
    with pytest.raises(StorageError, match="is not an outbox") as caught:
        Told(other)
    assert not isinstance(caught.value, DamagedError)
    assert other.read_bytes() == before
    assert not list(tmp_path.glob("*damaged*"))


@pytest.mark.parametrize("what", ["FULL", "READONLY", "BUSY", "IOERR_WRITE", "CANTOPEN"])
def test_a_disk_that_fails_is_no_damage(path: Path, what: str) -> None:
    told = Told(path)

    class Failing:
        in_transaction = False

        def execute(self, *arguments: object) -> None:
            error = sqlite3.OperationalError("failing")
            error.sqlite_errorname = f"SQLITE_{what}"
            raise error

    database = told.outbox._inner._database
    connection, database.connection = database.connection, Failing()
    with pytest.raises(StorageError) as caught:
        told.outbox.put(make_sample(99), now=1.0)
    assert not isinstance(caught.value, DamagedError)
    database.connection = connection
    told.outbox.close()
    assert told.lines == []
    assert [other.name for other in path.parent.iterdir()] == ["outbox.sqlite"]


def test_after_closing_every_call_says_so(path: Path) -> None:
    told = Told(path)
    told.outbox.close()
    told.outbox.close()
    with pytest.raises(StorageError, match="closed"):
        told.outbox.stats()
    assert told.lines == []


def test_damage_is_an_error_of_its_own_to_the_plain_outbox(path: Path) -> None:
    damage_a_payload(path, SAMPLES[20])
    outbox = SqliteOutbox(path)
    with pytest.raises(DamagedError, match=SAMPLES[20].digest):
        outbox.payload(SAMPLES[20].digest)
    assert outbox.payload(SAMPLES[21].digest) == SAMPLES[21].payload
    outbox.close()
    damage(path, at=0, filling=bytes(100))
    with pytest.raises(DamagedError, match="damaged or not an outbox"):
        SqliteOutbox(path)

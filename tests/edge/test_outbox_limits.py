"""What the limits mean for the file: its size, its speed when it is full, and what happens when they are lowered."""

from __future__ import annotations

import random
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
from sample_values import make_sample

from edge.errors import StorageError
from edge.outbox.base import AuditAction, EntryState, OutboxLimits, PutOutcome
from edge.outbox.database import WAL_BYTES
from edge.outbox.sqlite import SqliteOutbox
from edge.types import Feedback, FeedbackKind

SMALL = OutboxLimits(max_bytes=1_000_000)
V1 = Path(__file__).resolve().parents[1] / "compat" / "outbox_v1.sqlite"


@pytest.mark.parametrize("sizes", [(20,), (700, 3_000), (20_000,), (60_000, 90), (90_000,)])
@pytest.mark.parametrize("origin", ["new", "version 1"])
def test_the_file_never_grows_beyond_its_limit_and_always_takes_and_sends(
    tmp_path: Path, sizes: tuple[int, ...], origin: str
) -> None:
    """A seeded life at the limit: every call does its work, whatever was sent, parked, answered or shed."""
    path = tmp_path / "outbox.sqlite"
    if origin == "version 1":
        shutil.copy(V1, path)
    randomly = random.Random(sizes[0])
    outbox = SqliteOutbox(path, SMALL, clock=lambda: 5.0)
    outbox._database.connection.execute("PRAGMA synchronous=OFF")
    num_kept = 0
    for round_number in range(50):
        group = [
            make_sample(
                round_number * 1000 + number, size_bytes=randomly.choice(sizes), value=round(randomly.random(), 1)
            )
            for number in range(randomly.choice((1, 8, 30 if sizes[0] > 100 else 150)))
        ]
        num_kept += outbox.put_many(group, now=1.0).count(PutOutcome.KEPT)
        if round_number % 3 == 0:
            answered = Feedback(kind=FeedbackKind.CORRECTED, label="x" * 200, who="ann", at=float(round_number))
            outbox.put_answer(group[0].digest, answered, now=1.0)
        claimed = [entry.digest for entry in outbox.claim(limit=randomly.choice((1, 32, 256)), now=1.0, lease_s=9.0)]
        outbox.mark_sent(tuple(claimed[::3]), now=1.0)
        for digest in claimed[1::3]:
            outbox.park(digest, reason="not a picture " * 20)
        outbox.release(tuple(claimed[2::3]))
        assert outbox.stats().file_bytes <= SMALL.max_bytes
    stats = outbox.stats()
    assert stats.shed > 0
    assert num_kept > 50
    assert sum(entry.state is EntryState.SENT for entry in outbox.entries()) <= SMALL.num_remembered
    for entry in outbox.entries():
        if entry.state is not EntryState.SENT:
            outbox.payload(entry.digest)
    assert outbox._database.connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
    outbox.close()
    assert path.stat().st_size <= SMALL.max_bytes


def test_the_room_of_what_was_sent_is_used_again(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", SMALL)
    for number in range(60):
        sample = make_sample(number, size_bytes=100_000)
        assert outbox.put(sample, now=1.0)
        outbox.mark_sent((sample.digest,), now=2.0)
    assert outbox.stats().shed == 0
    assert outbox.stats().file_bytes < 300_000
    outbox.close()


def test_a_log_stays_within_its_bound(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    log = path.with_name("outbox.sqlite-wal")
    for number in range(120):
        outbox.put(make_sample(number, size_bytes=100_000), now=1.0)
        assert log.stat().st_size <= WAL_BYTES + 200_000
    outbox.close()


def steps_of_a_put(path: Path, num_entries: int) -> int:
    """Instructions of SQLite's machine for a put into a full outbox: a measure of work that no load disturbs."""
    outbox = SqliteOutbox(path, OutboxLimits(max_entries=num_entries))
    connection = outbox._database.connection
    connection.execute("PRAGMA synchronous=OFF")
    outbox.put_many([make_sample(n, size_bytes=32, value=n % 10 / 20) for n in range(num_entries)], now=1.0)
    ticks: list[None] = []
    connection.set_progress_handler(lambda: ticks.append(None), 10)
    assert outbox.put(make_sample(-1, value=0.9), now=1.0)
    assert not outbox.put(make_sample(-2, value=-0.1), now=1.0)
    assert len(outbox.claim(limit=8, now=1.0, lease_s=9.0)) == 8
    outbox.release_all()
    outbox.stats()
    connection.set_progress_handler(None, 0)
    assert outbox.stats().shed == 2
    outbox.close()
    return len(ticks)


def test_a_full_outbox_is_not_read_through_for_every_put(tmp_path: Path) -> None:
    few = steps_of_a_put(tmp_path / "few.sqlite", 100)
    many = steps_of_a_put(tmp_path / "many.sqlite", 4_000)
    assert many < 2 * few + 50


def test_what_does_not_fit_after_all_leaves_everything_as_it_was(tmp_path: Path) -> None:
    """Many small ones share their pages: shedding them frees less than each could have needed."""
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", SMALL)
    small = [make_sample(number, size_bytes=100, value=0.1) for number in range(40)]
    large = [make_sample(number, size_bytes=100_000, value=0.9) for number in range(100, 108)]
    outbox.put_many([*small, *large], now=1.0)
    before = outbox.entries()
    assert len(before) == 48
    assert outbox.put_many([make_sample(200, size_bytes=250_000, value=0.5)], now=2.0) == (PutOutcome.SHED,)
    assert outbox.entries() == before
    assert [row.digest for row in outbox.audit(limit=9)] == [make_sample(200, size_bytes=250_000).digest]
    outbox.close()


def test_answers_alone_can_fill_it_and_then_say_so(tmp_path: Path) -> None:
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite", SMALL)
    outbox._database.connection.execute("PRAGMA synchronous=OFF")
    sample = make_sample(1, size_bytes=50_000)
    outbox.put(sample, now=1.0)

    def answer_for_ever() -> None:
        for number in range(10_000):
            feedback = Feedback(kind=FeedbackKind.CORRECTED, label="x" * 500, who="y" * 500, at=float(number))
            outbox.put_answer(f"{number:064x}", feedback, now=1.0)

    with pytest.raises(StorageError, match="full of answers"):
        answer_for_ever()
    assert outbox.stats().answers > 200
    assert outbox.stats().shed == 1, "a sample without an answer is worth less than an answer"
    assert outbox.stats().file_bytes <= SMALL.max_bytes
    taken = outbox.waiting_answers(limit=100)
    outbox.answers_sent(tuple(one.number for one in taken))
    assert outbox.put(make_sample(2, size_bytes=50_000), now=1.0)
    outbox.close()


def filled(path: Path, num_samples: int) -> None:
    outbox = SqliteOutbox(path)
    outbox.put_many(
        [make_sample(number, size_bytes=30_000, value=number / 1000) for number in range(num_samples)], now=1.0
    )
    outbox.mark_sent(tuple(make_sample(number, size_bytes=30_000).digest for number in range(10)), now=2.0)
    outbox.close()


def test_a_lower_limit_sheds_when_the_file_is_opened_and_gives_its_space_back(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    filled(path, 100)
    assert path.stat().st_size > 3_000_000
    outbox = SqliteOutbox(path, SMALL, clock=lambda: 77.0)
    stats = outbox.stats()
    unsent = [entry for entry in outbox.entries() if entry.state is EntryState.PENDING]
    assert [entry.digest for entry in unsent] == [
        make_sample(number, size_bytes=30_000).digest for number in range(100 - len(unsent), 100)
    ]
    assert stats.shed == 90 - len(unsent) > 50
    assert stats.file_bytes <= SMALL.max_bytes
    assert {(row.at, row.action) for row in outbox.audit(limit=999)} == {(77.0, AuditAction.SHED)}
    for entry in unsent:
        outbox.payload(entry.digest)
    outbox.close()
    assert path.stat().st_size <= SMALL.max_bytes
    assert [other.name for other in tmp_path.iterdir()] == ["outbox.sqlite"]


def test_a_file_that_cannot_be_made_smaller_is_used_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "outbox.sqlite"
    filled(path, 100)
    size = path.stat().st_size
    with monkeypatch.context() as patch:
        patch.setattr(shutil, "disk_usage", lambda folder: SimpleNamespace(free=0))
        outbox = SqliteOutbox(path, SMALL)
    num_left = outbox.stats().pending
    assert 10 < num_left < 40
    for number in range(100, 150):
        assert outbox.put(make_sample(number, size_bytes=30_000, value=1.0), now=1.0)
    assert outbox.stats().pending == num_left
    outbox.close()
    assert path.stat().st_size == size


def test_fewer_digests_are_remembered_under_a_lower_limit(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    filled(path, 20)
    outbox = SqliteOutbox(path, OutboxLimits(max_remembered=4))
    sent = [entry.digest for entry in outbox.entries() if entry.state is EntryState.SENT]
    assert sent == [make_sample(number, size_bytes=30_000).digest for number in range(6, 10)]
    assert outbox.stats().sent == 10
    outbox.close()


def test_counts_see_what_another_connection_has_written(tmp_path: Path) -> None:
    path = tmp_path / "outbox.sqlite"
    one, other = SqliteOutbox(path, OutboxLimits(max_entries=3)), SqliteOutbox(path, OutboxLimits(max_entries=3))
    for number in range(3):
        (one, other)[number % 2].put(make_sample(number), now=1.0)
    assert one.stats() == other.stats()
    assert one.stats().pending == 3
    assert one.put(make_sample(9), now=1.0)
    assert [outbox.stats().pending for outbox in (one, other)] == [3, 3]
    one.close()
    other.close()

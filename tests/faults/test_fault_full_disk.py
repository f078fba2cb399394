"""The disk is full: frames are answered on, nothing is half-written, and what waited is kept once there is room."""

from __future__ import annotations

import contextlib
import hashlib
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device_runs import DeviceRun
from loop_disks import new_disk
from loopback_server import ServerState
from sample_values import make_sample

from edge.errors import StorageError
from edge.outbox.base import OutboxLimits, PutOutcome, Sample
from edge.outbox.sqlite import SqliteOutbox
from edge.sync.types import Directive

SIZE = 30_000
GROUP = 8

pytestmark = pytest.mark.faults


def groups() -> Iterator[list[Sample]]:
    for begin in range(0, 100_000, GROUP):
        yield [make_sample(number, size_bytes=SIZE) for number in range(begin, begin + GROUP)]


def test_a_group_is_kept_whole_or_not_at_all(tmp_path: Path) -> None:
    with new_disk(tmp_path / "small") as disk, contextlib.closing(SqliteOutbox(disk.folder / "o.sqlite")) as outbox:
        kept: list[str] = []
        group: list[Sample] = []
        error = ""
        for group in groups():
            try:
                assert set(outbox.put_many(group, now=1.0)) == {PutOutcome.KEPT}
            except StorageError as problem:
                error = problem.message
                break
            kept += [sample.digest for sample in group]
        assert "no space left on the disk" in error
        assert len(kept) > 10 * GROUP
        assert [entry.digest for entry in outbox.entries()] == kept
        filler = disk.fill()
        with pytest.raises(StorageError):
            outbox.put_many(group, now=1.0)
        assert [entry.digest for entry in outbox.entries()] == kept
        filler.unlink()
        # There is room to send: what was kept goes, and then there is room to keep.
        while claimed := outbox.claim(limit=32, now=2.0, lease_s=60):
            outbox.mark_sent(tuple(entry.digest for entry in claimed), now=2.0)
        assert set(outbox.put_many(group, now=3.0)) == {PutOutcome.KEPT}
        check_whole(disk.folder / "o.sqlite")


def test_an_outbox_at_its_cap_sheds_on_a_disk_without_room(tmp_path: Path) -> None:
    """Its file does not grow any more, and its log has the room that is kept for sending."""
    limits = OutboxLimits(max_bytes=2_000_000)
    with new_disk(tmp_path / "small") as disk:
        with contextlib.closing(SqliteOutbox(disk.folder / "o.sqlite", limits)) as outbox:
            for group in list_of(groups(), 12):
                outbox.put_many(group, now=1.0)
            before = outbox.stats()
            assert before.shed > 0
            filler = disk.fill()
            with pytest.raises(StorageError):
                fill_log(outbox)
            kept = {entry.digest for entry in outbox.entries()}
            filler.unlink()
            best = make_sample(-1, size_bytes=SIZE, value=1.0)
            assert outbox.put_many([best], now=2.0) == (PutOutcome.KEPT,)
            after = {entry.digest for entry in outbox.entries()}
            assert best.digest in after
            assert 0 < len(kept - after) <= 2
            assert outbox.stats().file_bytes <= limits.max_bytes
        check_whole(disk.folder / "o.sqlite")


def test_the_agent_answers_on_and_keeps_what_waited(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    with new_disk(tmp_path / "small") as disk:
        run = start(disk.folder / "home", live)
        run.until(lambda: len(state.stored) >= 5, "five samples on the server")
        filler = disk.fill()
        before = len(run.notes.acknowledged)
        run.until(lambda: any("no space left" in line for line in run.said), "the full disk is said")
        run.answer_more(20)
        full = len(run.notes.acknowledged)
        filler.unlink()
        handed = set(run.notes.digests("handed"))
        assert len(handed) > full >= before
        run.until(lambda: handed <= run.notes.acknowledged, "what waited is kept")
        run.until(lambda: handed <= set(state.stored), "what waited has arrived")
        assert run.status["keep_failed"] == 0
        assert run.stop() == 0
        check_whole(disk.folder / "home" / "outbox.sqlite")
    assert set(state.stored_times.values()) == {1}


def test_status_says_when_all_is_well_again(tmp_path: Path, start: Callable[..., DeviceRun], live: str) -> None:
    with new_disk(tmp_path / "small") as disk:
        run = start(disk.folder / "home", live)
        run.answer_more()
        filler = disk.fill()
        run.until(lambda: any("no space left" in line for line in run.said), "the full disk is said")
        filler.unlink()
        handed = set(run.notes.digests("handed"))
        run.until(lambda: handed <= run.notes.acknowledged, "what waited is kept")
        kept_at = time.time()
        run.until(lambda: run.status.get("at", -1) > kept_at, "a newer status")
        run.until(lambda: run.errors == "", "all is well again", timeout_s=4)


def test_check_ins_go_on(tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState) -> None:
    """Nothing can be claimed for sending then: the server must hear of the device all the same."""
    with new_disk(tmp_path / "small") as disk:
        state.directive = Directive(channel="stable", bundle_digest="", check_in_s=0.3)
        run = start(disk.folder / "home", live)
        run.answer_more()
        state.gone = True
        waiting = len(run.notes.acknowledged) + 5
        run.until(lambda: len(run.notes.acknowledged) >= waiting, "samples that wait")
        filler = disk.fill()
        run.until(lambda: any("no space left" in line for line in run.said), "the full disk is said")
        state.gone = False
        statuses = len(state.statuses)
        run.until(lambda: len(state.statuses) >= statuses + 3, "check-ins", timeout_s=10)
        assert state.statuses[-1].last_error
        filler.unlink()
        run.until(lambda: run.notes.acknowledged <= set(state.stored), "all has arrived")


def test_the_agent_starts_on_a_full_disk_answers_and_makes_up_for_it(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    with new_disk(tmp_path / "small") as disk:
        run = start(disk.folder / "home", live)
        run.until(lambda: len(state.stored) >= 5, "five samples on the server")
        state.gone = True
        before = len(state.stored)
        run.until(lambda: len(run.notes.acknowledged) >= before + 5, "five samples that wait")
        run.stop()
        state.gone = False
        acknowledged = run.notes.acknowledged
        filler = disk.fill()
        run = start(disk.folder / "home", live)
        run.until(lambda: any("it is opened when the disk allows it" in line for line in run.said), "the disk is said")
        run.answer_more()
        filler.unlink()
        run.until(lambda: acknowledged <= set(state.stored), "all that was acknowledged has arrived")
        run.until(lambda: run.notes.acknowledged > acknowledged, "more is kept")
        run.stop()
        check_whole(disk.folder / "home" / "outbox.sqlite")
    assert set(state.stored_times.values()) == {1}


def fill_log(outbox: SqliteOutbox) -> None:
    """Writes until there is no room for the log either."""
    while True:
        outbox.release(tuple(entry.digest for entry in outbox.claim(limit=32, now=2.0, lease_s=60)))


def list_of(items: Iterator[list[Sample]], number: int) -> list[list[Sample]]:
    return [group for group, _ in zip(items, range(number), strict=False)]


def check_whole(path: Path) -> None:
    """The file is sound, and every payload is what its digest says."""
    with contextlib.closing(sqlite3.connect(path)) as db:
        assert db.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        rows = db.execute("SELECT digest, data FROM entries JOIN payloads USING (sequence)").fetchall()
        (num_unsent,) = db.execute("SELECT count(*) FROM entries WHERE state <> 'sent'").fetchone()
    assert len(rows) == num_unsent
    assert all(hashlib.sha256(data).hexdigest() == digest for digest, data in rows)

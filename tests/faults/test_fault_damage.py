"""The outbox file rots: it is set aside, a new one goes on, both are said, and what can be read is not lost."""

from __future__ import annotations

import contextlib
import os
import sqlite3
from collections.abc import Callable
from pathlib import Path

import pytest
from device_runs import DeviceRun
from loopback_server import ServerState
from sample_values import make_sample

from edge.outbox.base import AuditAction
from edge.outbox.recovering import RecoveringOutbox
from edge.outbox.sqlite import SqliteOutbox

NUM_SAMPLES = 40
SIZE = 9_000


def overwrite(path: Path, *, begin: int, size: int) -> None:
    """Other bytes in the middle of a file, written through."""
    handle = os.open(path, os.O_WRONLY)
    try:
        os.pwrite(handle, b"rotten!!" * (size // 8), begin)
        os.fsync(handle)
    finally:
        os.close(handle)


def write_back(path: Path) -> None:
    """All that is in the log goes into the file, so that it matters what the file holds."""
    with contextlib.closing(sqlite3.connect(path, timeout=20)) as db:
        assert db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0] == 0


def fill(path: Path) -> dict[str, bytes]:
    """A stopped device's outbox with samples that wait."""
    samples = [make_sample(number, size_bytes=SIZE) for number in range(NUM_SAMPLES)]
    with contextlib.closing(SqliteOutbox(path)) as outbox:
        outbox.put_many(samples, now=1.0)
    write_back(path)
    return {sample.digest: sample.payload for sample in samples}


def reopened(path: Path, said: list[str]) -> RecoveringOutbox:
    return RecoveringOutbox(path, report=said.append, clock=lambda: 1.0)


def rot(path: Path, payload: bytes) -> None:
    """Other bytes in the middle of one sample, and nowhere else."""
    piece = payload[len(payload) // 2 :][:64]
    assert path.read_bytes().count(piece) == 1
    overwrite(path, begin=path.read_bytes().find(piece), size=64)


@pytest.mark.parametrize("place", ["head", "sample", "half", "everything"])
def test_the_outbox_starts_anew_with_what_can_be_read(tmp_path: Path, place: str) -> None:
    path, said = tmp_path / "outbox.sqlite", []
    payloads = fill(path)
    size = path.stat().st_size
    rotten = list(payloads)[NUM_SAMPLES // 2]
    if place == "sample":
        rot(path, payloads[rotten])
    else:
        begin, length = {"head": (0, 64), "half": (size // 2, size // 2), "everything": (0, size)}[place]
        overwrite(path, begin=begin, size=length)
    with contextlib.closing(reopened(path, said)) as outbox:
        read_all(outbox)
        left = read_all(outbox)
        assert {digest: payloads[digest] for digest in left} == left
        if place == "sample":
            assert set(left) == set(payloads) - {rotten}
        assert outbox.put(make_sample(-1), now=2.0)
        actions = {row.action for row in outbox.audit(limit=9)}
    assert len(said) == 2
    assert "set aside as outbox.sqlite.damaged-1" in said[0]
    assert "out of outbox.sqlite.damaged-1" in said[1]
    assert actions == {AuditAction.QUARANTINED, AuditAction.SALVAGED}
    assert (tmp_path / "outbox.sqlite.damaged-1").exists()
    # It is sound from now on.
    again: list[str] = []
    with contextlib.closing(reopened(path, again)) as outbox:
        assert len(read_all(outbox)) == len(left) + 1
    assert again == []


def read_all(outbox: RecoveringOutbox) -> dict[str, bytes]:
    """What the uploader would read."""
    found = {}
    for entry in outbox.entries():
        with contextlib.suppress(KeyError):
            found[entry.digest] = outbox.payload(entry.digest)
    return found


def test_the_agent_starts_on_a_rotten_outbox(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    path = tmp_path / "home" / "outbox.sqlite"
    payloads = fill(path)
    rotten = list(payloads)[NUM_SAMPLES // 2]
    rot(path, payloads[rotten])
    run = start(tmp_path / "home", live)
    run.answer_more(10)
    run.until(lambda: any("set aside as outbox.sqlite.damaged-1" in line for line in run.said), "it is said")
    run.until(lambda: any("out of outbox.sqlite.damaged-1" in line for line in run.said), "what was saved is said")
    run.until(lambda: set(payloads) - {rotten} <= set(state.stored), "what could be read has arrived")
    run.until(lambda: run.notes.acknowledged <= set(state.stored), "what was kept since has arrived")
    run.until(lambda: 0 <= run.status.get("outbox_pending", -1) <= 5, "nothing old waits")
    assert run.stop() == 0
    check_reported(path)
    assert set(state.stored_times.values()) == {1}


def test_the_agent_never_stops_answering_when_its_outbox_rots_under_way(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    path = tmp_path / "home" / "outbox.sqlite"
    payloads = fill(path)
    (tmp_path / "home" / "metered").touch()
    run = start(tmp_path / "home", live)
    run.until(lambda: len(run.notes.acknowledged) >= 5, "five samples that wait")
    before = run.notes.acknowledged
    write_back(path)
    rotten = list(payloads)[NUM_SAMPLES // 2]
    rot(path, payloads[rotten])
    (tmp_path / "home" / "metered").unlink()
    run.until(lambda: any("set aside as outbox.sqlite.damaged-1" in line for line in run.said), "it is said")
    run.until(lambda: run.errors, "status.json says it")
    run.answer_more(10)
    known = (set(payloads) | before) - {rotten}
    run.until(lambda: known <= set(state.stored), "what could be read has arrived")
    run.until(lambda: run.notes.acknowledged <= set(state.stored), "what was kept since has arrived")
    assert run.status["frames_dropped"] == run.status["keep_failed"] == 0
    assert run.stop() == 0
    check_reported(path)
    assert set(state.stored_times.values()) == {1}


def check_reported(path: Path) -> None:
    with contextlib.closing(SqliteOutbox(path)) as outbox:
        assert {row.action for row in outbox.audit(limit=9)} == {AuditAction.QUARANTINED, AuditAction.SALVAGED}
    assert path.with_name("outbox.sqlite.damaged-1").exists()

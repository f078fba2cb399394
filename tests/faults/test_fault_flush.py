"""Every second flush of the disk fails: nothing that was acknowledged is lost, and nothing is there twice."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device_runs import DeviceRun
from device_world import process_environment
from failing_calls import FLUSHES, FailingCalls
from loopback_server import ServerState

from edge.outbox.base import EntryState
from edge.outbox.sqlite import SqliteOutbox

LIFE = Path(__file__).with_name("stubborn_life.py")
NUM_SAMPLES = 60

pytestmark = pytest.mark.faults


@pytest.fixture
def failing() -> Iterator[FailingCalls]:
    calls = FailingCalls()
    yield calls
    calls.close()


def lines(journal: Path) -> list[list[str]]:
    return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []


def check(path: Path, journal: Path) -> None:
    kept = [digest for verb, *rest in lines(journal) if verb == "kept" for digest in rest]
    sent = {digest for verb, *rest in lines(journal) if verb == "sent" for digest in rest}
    assert len(set(kept)) == NUM_SAMPLES
    with contextlib.closing(SqliteOutbox(path)) as outbox:
        entries = {entry.digest: entry for entry in outbox.entries()}
        assert len(entries) == len(outbox.entries())
        assert set(entries) == set(kept)
        assert {digest for digest, entry in entries.items() if entry.state is EntryState.SENT} == sent
        for digest in set(entries) - sent:
            assert len(outbox.payload(digest)) == entries[digest].size_bytes


def live(path: Path, journal: Path, *before: str) -> subprocess.Popen[bytes]:
    command = [*before, sys.executable, str(LIFE), str(path), str(journal), str(NUM_SAMPLES)]
    return subprocess.Popen(command, env=process_environment())


def test_the_outbox_keeps_what_it_has_acknowledged(tmp_path: Path, failing: FailingCalls) -> None:
    path, journal = tmp_path / "outbox.sqlite", tmp_path / "journal"
    process = live(path, journal, *failing.before)
    deadline = time.monotonic() + 30
    while len(lines(journal)) < 5:
        assert time.monotonic() < deadline
        time.sleep(0.001)
    failing.fail(process.pid)
    assert process.wait(60) == 0
    assert lines(journal).count(["failed"]) >= 3
    check(path, journal)


def test_the_outbox_is_made_on_a_disk_that_fails_now_and_then(tmp_path: Path, failing: FailingCalls) -> None:
    path, journal = tmp_path / "outbox.sqlite", tmp_path / "journal"
    told = [word for name in FLUSHES for word in ("-c", f"enable_random name={name},probability=0.4,failinfo=5")]
    process = live(path, journal, *failing.before, *told)
    assert process.wait(60) == 0
    check(path, journal)


def test_the_agent_answers_on_and_keeps_all(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState, failing: FailingCalls
) -> None:
    run = start(tmp_path / "home", live, before=failing.before)
    run.until(lambda: len(state.stored) >= 5, "five samples on the server")
    failing.fail(run.process.pid, share=0.7)
    run.until(lambda: any("the disk failed" in line for line in run.said), "the disk is said")
    run.answer_more(20)
    failing.heal(run.process.pid)
    handed = set(run.notes.digests("handed"))
    run.until(lambda: handed <= run.notes.acknowledged, "what waited is kept")
    run.until(lambda: run.notes.acknowledged <= set(state.stored), "all has arrived")
    assert run.stop() == 0
    assert set(state.stored_times.values()) == {1}

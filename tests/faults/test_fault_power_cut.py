"""The plug is pulled: what a disk holds at that moment, with all that the kernel had not flushed yet gone."""

from __future__ import annotations

import contextlib
import hashlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device_runs import DeviceRun
from device_world import process_environment
from loop_disks import mounted, new_disk
from loopback_server import ServerState
from sample_values import make_sample

from edge.outbox.base import EntryState
from edge.outbox.sqlite import SqliteOutbox

LIFE = Path(__file__).resolve().parents[1] / "edge" / "outbox_life.py"
NUM_SAMPLES = 100_000

pytestmark = pytest.mark.faults


@contextlib.contextmanager
def standing_still(process: subprocess.Popen[bytes]) -> Iterator[None]:
    """It does nothing during the block, and is killed at its end."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED)
    try:
        yield
    finally:
        process.kill()
        process.wait(30)


def test_what_was_not_flushed_is_lost(tmp_path: Path) -> None:
    """Otherwise the other tests would say nothing."""
    with new_disk(tmp_path / "live") as disk:
        (disk.folder / "flushed").write_bytes(b"x" * 100)
        with (disk.folder / "flushed").open("rb") as file:
            os.fsync(file.fileno())
        (disk.folder / "written").write_bytes(b"x" * 100)
        copy = disk.cut_power(tmp_path / "copy.img")
    with mounted(copy, tmp_path / "copy") as disk:
        assert (disk.folder / "flushed").read_bytes() == b"x" * 100
        assert not (disk.folder / "written").exists() or (disk.folder / "written").stat().st_size == 0


@pytest.mark.parametrize("num_lines", [2, 23, 180])
def test_the_outbox_has_all_that_it_acknowledged(tmp_path: Path, num_lines: int) -> None:
    journal = tmp_path / "journal"
    with new_disk(tmp_path / "live") as disk:
        command = [sys.executable, str(LIFE), str(disk.folder / "outbox.sqlite"), str(journal), str(NUM_SAMPLES), "0"]
        process = subprocess.Popen(command, env=process_environment())
        try:
            wait_for_lines(process, journal, num_lines)
        finally:
            with standing_still(process):
                lines = [line.split() for line in journal.read_text().splitlines()]
                copy = disk.cut_power(tmp_path / "copy.img")
    with mounted(copy, tmp_path / "copy") as disk, contextlib.closing(opened(disk.folder)) as outbox:
        entries = {entry.digest: entry.state for entry in outbox.entries()}
        assert {digest for verb, *rest in lines if verb == "kept" for digest in rest} <= set(entries)
        assert all(entries[digest] is EntryState.SENT for verb, *rest in lines if verb == "sent" for digest in rest)
        check_payloads(outbox)
        assert outbox.put(make_sample(-1), now=1.0)


def test_the_agent_has_all_that_it_acknowledged_and_sends_it_once(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    copy = tmp_path / "copy.img"
    with new_disk(tmp_path / "live") as disk:
        run = start(disk.folder / "home", live)
        run.until(lambda: len(state.stored) >= 5, "five samples on the server")
        state.gone = True
        before = len(state.stored)
        run.until(lambda: len(run.notes.acknowledged) >= before + 10, "ten samples that wait")
        with standing_still(run.process):
            acknowledged = run.notes.acknowledged
            disk.cut_power(copy)
    waiting = acknowledged - set(state.stored)
    assert len(waiting) >= 5
    with mounted(copy, tmp_path / "copy") as disk:
        with contextlib.closing(opened(disk.folder / "home")) as outbox:
            assert acknowledged <= {entry.digest for entry in outbox.entries()}
            check_payloads(outbox)
        state.gone = False
        run = start(disk.folder / "home", live)
        run.until(lambda: acknowledged <= set(state.stored), "all that was acknowledged has arrived")
        run.answer_more()
        assert run.stop() == 0
    assert set(state.stored_times.values()) == {1}


def opened(folder: Path) -> SqliteOutbox:
    assert (folder / "outbox.sqlite").exists()
    return SqliteOutbox(folder / "outbox.sqlite")


def check_payloads(outbox: SqliteOutbox) -> None:
    for entry in outbox.entries():
        if entry.state is not EntryState.SENT:
            assert hashlib.sha256(outbox.payload(entry.digest)).hexdigest() == entry.digest


def wait_for_lines(process: subprocess.Popen[bytes], journal: Path, number: int) -> None:
    deadline = time.monotonic() + 30
    while not journal.exists() or journal.read_bytes().count(b"\n") < number:
        assert process.poll() is None, "the life was over before the cut"
        assert time.monotonic() < deadline
        time.sleep(0.001)

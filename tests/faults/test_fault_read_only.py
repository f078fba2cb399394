"""The disk turns read-only under way, as ext4 does it when it meets damage: frames are answered on, nothing is lost."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from pathlib import Path

import pytest
from device_runs import DeviceRun
from loop_disks import LoopDisk, mounted, new_disk, repair
from loopback_server import ServerState
from sample_values import make_sample

from edge.errors import StorageError
from edge.outbox.sqlite import SqliteOutbox

# Linux refuses `mount -o remount,ro` while a file is open for writing: while an outbox is in use, only damage does it.
ON_DAMAGE = "errors=remount-ro"

pytestmark = pytest.mark.faults


def test_the_outbox_says_so_and_has_everything_afterwards(tmp_path: Path) -> None:
    samples = [make_sample(number, size_bytes=3000) for number in range(8)]
    with new_disk(tmp_path / "bad", options=ON_DAMAGE) as disk, opened(disk) as outbox:
        for sample in samples:
            assert outbox.put(sample, now=1.0)
        disk.turn_read_only()
        with pytest.raises(StorageError, match=r"outbox\.sqlite: ") as caught:
            outbox.put(make_sample(99), now=2.0)
        assert "\n" not in str(caught.value)
        assert caught.value.hint
        with pytest.raises(StorageError):
            outbox.claim(limit=4, now=2.0, lease_s=60)
        # Reading goes on.
        assert len(outbox.entries()) == len(samples)
        assert all(outbox.payload(sample.digest) == sample.payload for sample in samples)
    repair(disk.image)
    with mounted(disk.image, tmp_path / "again") as disk, opened(disk) as outbox:
        assert {entry.digest for entry in outbox.entries()} == {sample.digest for sample in samples}
        assert outbox.put(make_sample(99), now=3.0)


def test_the_agent_answers_on_and_after_a_restart_all_arrives(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    with new_disk(tmp_path / "bad", options=ON_DAMAGE) as disk:
        run = start(disk.folder / "home", live)
        run.until(lambda: len(state.stored) >= 5, "five samples on the server")
        state.gone = True
        before = len(state.stored)
        run.until(lambda: len(run.notes.acknowledged) >= before + 5, "five samples that wait")
        disk.turn_read_only()
        run.until(lambda: any(is_about_the_disk(line) for line in run.said), "the disk is said")
        run.answer_more(20)
        acknowledged = run.notes.acknowledged
        state.gone = False
        run.answer_more(20)
        run.kill()
    repair(disk.image)
    with mounted(disk.image, tmp_path / "again") as disk:
        run = start(disk.folder / "home", live)
        run.until(lambda: acknowledged <= set(state.stored), "all that was acknowledged has arrived")
        run.until(lambda: run.notes.acknowledged > acknowledged, "more is kept")
        assert run.stop() == 0
    assert set(state.stored_times.values()) == {1}


def test_a_home_that_is_read_only_from_the_start_is_one_clear_error(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    with new_disk(tmp_path / "bad") as disk:
        run = start(disk.folder / "home", live)
        run.until(lambda: len(state.stored) >= 5, "five samples on the server")
        assert run.stop() == 0
    with mounted(disk.image, tmp_path / "again", options="ro") as disk:
        run = start(disk.folder / "home", live)
        assert run.wait() == 1
        assert len(run.said) == 1
        lock = disk.folder / "home" / "agent.lock"
        assert run.said[0].startswith(f"edgeloop: error: cannot write {lock}: read-only file system")


def opened(disk: LoopDisk) -> contextlib.closing[SqliteOutbox]:
    return contextlib.closing(SqliteOutbox(disk.folder / "outbox.sqlite"))


def is_about_the_disk(line: str) -> bool:
    return any(words in line for words in ("read-only", "the disk failed", "cannot be opened"))

"""A disk that is full, read-only or failing: one clear line, nothing half-kept, and on it goes when there is room."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import textwrap
from collections.abc import Iterator
from pathlib import Path

import pytest
from sample_values import make_sample

from edge.errors import StorageError
from edge.outbox.base import EntryState
from edge.outbox.sqlite import WAL_BYTES, SqliteOutbox

TESTS = Path(__file__).resolve().parents[1]
SIZE = 30_000

LIMITED = """
    import resource, sys
    from pathlib import Path
    sys.path.insert(0, sys.argv[1])
    from sample_values import make_sample
    from edge.errors import StorageError
    from edge.outbox.sqlite import SqliteOutbox
    outbox = SqliteOutbox(Path(sys.argv[2]))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_000_000, unlimited[1]))
    kept = []
    try:
        for number in range(1000):
            kept += [number] * outbox.put(make_sample(number, size_bytes=30_000), now=number)
    except StorageError as error:
        print(error)
    before = outbox.entries()
    assert len(before) == len(kept), "a put that failed has left something"
    for number in range(len(kept)):
        sample = make_sample(number, size_bytes=30_000)
        assert outbox.payload(sample.digest) == sample.payload
    resource.setrlimit(resource.RLIMIT_FSIZE, unlimited)
    assert outbox.put(make_sample(len(kept), size_bytes=30_000), now=0), "there is room again"
    print(len(kept))
"""


def test_a_write_that_fails_leaves_the_outbox_as_it_was(tmp_path: Path) -> None:
    command = [sys.executable, "-c", textwrap.dedent(LIMITED), str(TESTS), str(tmp_path / "outbox.sqlite")]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, cwd=TESTS.parent)
    assert done.returncode == 0, done.stderr
    line, num_kept = done.stdout.splitlines()
    assert line.startswith(f"outbox {tmp_path}/outbox.sqlite: the disk failed or is full")
    assert "(check the disk and its free space)" in line
    outbox = SqliteOutbox(tmp_path / "outbox.sqlite")
    assert outbox.stats().pending == int(num_kept) + 1 > 1
    outbox.close()


@contextlib.contextmanager
def small_disk(folder: Path, options: str = "size=12m") -> Iterator[Path]:
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(folder)], capture_output=True)  # noqa: S607
    if mounted.returncode:
        pytest.skip("no tmpfs can be mounted here")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "--lazy", str(folder)], check=True)  # noqa: S607


def fill(outbox: SqliteOutbox, *, begin: int = 0) -> tuple[list[int], StorageError]:
    kept: list[int] = []
    for number in range(begin, begin + 10_000):
        try:
            outbox.put(make_sample(number, size_bytes=SIZE), now=float(number))
        except StorageError as error:
            return kept, error
        kept.append(number)
    raise AssertionError("the disk never filled up")


def fill_up_the_rest(folder: Path) -> Path:
    filler = folder / "filler"
    with contextlib.suppress(OSError), filler.open("wb", buffering=0) as file:
        while True:
            file.write(b"x" * 4096)
    return filler


@pytest.mark.faults
def test_an_outbox_that_has_filled_the_disk_can_still_empty_itself(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        outbox = SqliteOutbox(disk / "outbox.sqlite")
        kept, error = fill(outbox)
        assert "no space left on the disk" in error.message
        assert error.hint.startswith("free some space")
        assert len(kept) > 50
        assert len(outbox.entries()) == len(kept)
        while claimed := outbox.claim(limit=8, now=1e6, lease_s=60):
            outbox.mark_sent(tuple(entry.digest for entry in claimed), now=1e6)
        assert outbox.stats().sent == len(kept)
        again, _ = fill(outbox, begin=20_000)
        assert len(again) > len(kept) / 2, "the room of what was sent is not used again"
        outbox.close()


def claim_and_release_for_ever(outbox: SqliteOutbox) -> None:
    while True:
        outbox.release(tuple(entry.digest for entry in outbox.claim(limit=20, now=2.0, lease_s=60)))


@pytest.mark.faults
def test_a_disk_that_others_have_filled_loses_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        outbox = SqliteOutbox(disk / "outbox.sqlite")
        samples = [make_sample(number, size_bytes=SIZE) for number in range(20)]
        for sample in samples:
            outbox.put(sample, now=1.0)
        filler = fill_up_the_rest(disk)
        with pytest.raises(StorageError, match="no space left on the disk"):
            outbox.put(make_sample(99, size_bytes=SIZE), now=2.0)
        before = outbox.entries()
        with pytest.raises(StorageError, match="no space left on the disk"):
            claim_and_release_for_ever(outbox)
        assert len(before) == len(outbox.entries()) == 20
        assert all(outbox.payload(sample.digest) == sample.payload for sample in samples)
        filler.unlink()
        outbox.mark_sent((samples[0].digest,), now=3.0)
        assert outbox.put(make_sample(99, size_bytes=SIZE), now=4.0)
        outbox.close()


@pytest.mark.faults
def test_a_disk_that_turns_read_only_is_named(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk") as disk:
        outbox = SqliteOutbox(disk / "outbox.sqlite")
        outbox.put(make_sample(1), now=1.0)
        outbox.close()
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)  # noqa: S607
        with pytest.raises(StorageError, match=r"outbox\.sqlite: it (is read-only|cannot be opened)") as caught:
            SqliteOutbox(disk / "outbox.sqlite").put(make_sample(2), now=2.0)
        assert "\n" not in str(caught.value)
        subprocess.run(["mount", "-o", "remount,rw", str(disk)], check=True)  # noqa: S607
        outbox = SqliteOutbox(disk / "outbox.sqlite")
        assert [entry.state for entry in outbox.entries()] == [EntryState.PENDING]
        outbox.close()


@pytest.mark.faults
def test_a_disk_without_room_for_sending_keeps_nothing(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", f"size={WAL_BYTES}") as disk:
        outbox = SqliteOutbox(disk / "outbox.sqlite")
        with pytest.raises(StorageError, match="no space left on the disk"):
            outbox.put(make_sample(1), now=1.0)
        assert outbox.entries() == ()
        outbox.close()

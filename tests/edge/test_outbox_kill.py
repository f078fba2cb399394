"""kill -9 at every durable write of the outbox and at random moments: nothing kept is lost, nothing is there twice."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import pytest
from sample_values import make_sample

from edge import durable
from edge.outbox.base import EntryState
from edge.outbox.sqlite import SqliteOutbox

LIFE = Path(__file__).with_name("outbox_life.py")
ROOT = LIFE.parents[2]
NUM_SAMPLES = 6


def start(path: Path, journal: Path, *, num_samples: int, kill_at: int = 0) -> subprocess.Popen[bytes]:
    command = [sys.executable, str(LIFE), str(path), str(journal), str(num_samples), str(kill_at)]
    return subprocess.Popen(command, cwd=ROOT)


def lines(journal: Path) -> list[list[str]]:
    return [line.split() for line in journal.read_text().splitlines()] if journal.exists() else []


def of(journal: Path, verb: str) -> list[str]:
    return [digest for first, *digests in lines(journal) if first == verb for digest in digests]


def check(path: Path, journal: Path, *, num_samples: int) -> None:
    """Holds the file against the journal of all processes that have lived on it."""
    payloads = {sample.digest: sample.payload for sample in made(num_samples)}
    outbox = SqliteOutbox(path)
    entries = {entry.digest: entry for entry in outbox.entries()}
    assert len(entries) == len(outbox.entries()), "a sample is there twice"
    assert set(of(journal, "kept")) <= set(entries), "a kept sample is lost"
    assert set(entries) <= set(of(journal, "begin")), "a sample is there that was never put"
    assert max(Counter(of(journal, "kept")).values(), default=0) <= 1, "a sample was kept again"
    assert all(entries[digest].state is EntryState.SENT for digest in of(journal, "sent"))
    parked = set(of(journal, "parked")) - set(of(journal, "sent"))
    assert all(entries[digest].state is EntryState.PARKED for digest in parked)
    for digest, entry in entries.items():
        if entry.state is EntryState.SENT:
            with pytest.raises(KeyError):
                outbox.payload(digest)
        else:
            assert outbox.payload(digest) == payloads[digest], "a picture is damaged"
    outbox.close()


def made(num_samples: int) -> list:
    return [
        make_sample(number, size_bytes=3000 + number, value=(number * 37 % 100) / 100) for number in range(num_samples)
    ]


def finish(path: Path, journal: Path, *, num_samples: int) -> None:
    """The same command again, undisturbed: everything is there in the end."""
    assert start(path, journal, num_samples=num_samples).wait(60) == 0
    check(path, journal, num_samples=num_samples)
    outbox = SqliteOutbox(path)
    assert {entry.digest for entry in outbox.entries()} == {sample.digest for sample in made(num_samples)}
    outbox.close()


def points_of_a_life(tmp_path: Path) -> list[str]:
    import outbox_life

    points: list[str] = []
    durable.observe(points.append)
    try:
        outbox_life.live(tmp_path / "outbox.sqlite", tmp_path / "journal", NUM_SAMPLES)
    finally:
        durable.observe(None)
    return points


def test_a_kill_at_every_durable_write_loses_and_doubles_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.syspath_prepend(str(LIFE.parent))
    (tmp_path / "counted").mkdir()
    points = points_of_a_life(tmp_path / "counted")
    changes = ("create", "put", "claim", "mark_sent", "park", "release")
    assert set(points) == {f"outbox.{change}:{moment}" for change in changes for moment in ("before", "after")}
    for number in range(1, len(points) + 1):
        folder = tmp_path / str(number)
        folder.mkdir()
        path, journal = folder / "outbox.sqlite", folder / "journal"
        killed = start(path, journal, num_samples=NUM_SAMPLES, kill_at=number)
        assert killed.wait(60) == -signal.SIGKILL, f"{points[number - 1]} was not reached"
        check(path, journal, num_samples=NUM_SAMPLES)
        if number % 6 == 1:
            finish(path, journal, num_samples=NUM_SAMPLES)


@pytest.mark.parametrize("seed", range(10))
def test_a_kill_at_a_random_moment_loses_and_doubles_nothing(tmp_path: Path, seed: int) -> None:
    path, journal = tmp_path / "outbox.sqlite", tmp_path / "journal"
    num_samples = 3000
    process = start(path, journal, num_samples=num_samples)
    deadline = time.monotonic() + 30
    while not journal.exists() and time.monotonic() < deadline:
        time.sleep(0.002)
    time.sleep(random.Random(seed).uniform(0.0, 0.3))
    process.kill()
    assert process.wait(30) == -signal.SIGKILL, "the life was over before the kill"
    check(path, journal, num_samples=num_samples)


def test_lives_that_are_killed_again_and_again_come_to_an_end(tmp_path: Path) -> None:
    path, journal = tmp_path / "outbox.sqlite", tmp_path / "journal"
    for kill_at in (3, 9, 14, 20):
        start(path, journal, num_samples=12, kill_at=kill_at).wait(60)
        check(path, journal, num_samples=12)
    finish(path, journal, num_samples=12)

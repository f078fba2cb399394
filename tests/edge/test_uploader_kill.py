"""kill -9 while the outbox is being emptied: every sample reaches the server, none is freed before it is there."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from loopback_server import RunningServer, loopback_server
from sample_values import make_sample

from edge.outbox.base import EntryState
from edge.outbox.sqlite import SqliteOutbox

LIFE = Path(__file__).with_name("drain_life.py")
ROOT = LIFE.parents[2]
SAMPLES = [make_sample(number, size_bytes=20_000) for number in range(20)]
NUM_POINTS = 2 * (2 + 3)
"""Before and after each write: two claims, of twelve and of eight samples; receipts by eight, four and eight."""


@pytest.fixture
def server() -> Iterator[RunningServer]:
    with loopback_server() as running:
        yield running


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "outbox.sqlite"
    outbox = SqliteOutbox(path)
    for sample in SAMPLES:
        outbox.put(sample, now=1.0)
    outbox.close()
    return path


def start(path: Path, server: RunningServer, kill_at: int) -> subprocess.Popen[str]:
    command = [sys.executable, str(LIFE), str(path), server.target, str(kill_at)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)


def check(path: Path, server: RunningServer) -> None:
    outbox = SqliteOutbox(path)
    entries = {entry.digest: entry.state for entry in outbox.entries()}
    assert set(entries) == {sample.digest for sample in SAMPLES}
    for sample in SAMPLES:
        if entries[sample.digest] is EntryState.SENT:
            assert server.state.stored[sample.digest] == sample.payload, "freed, and not on the server"
        else:
            assert outbox.payload(sample.digest) == sample.payload
    outbox.close()


def finish(path: Path, server: RunningServer) -> None:
    said, _ = start(path, server, 0).communicate(timeout=60)
    assert "DrainResult" in said
    check(path, server)
    assert server.state.stored == {sample.digest: sample.payload for sample in SAMPLES}
    outbox = SqliteOutbox(path)
    assert outbox.stats().sent == len(SAMPLES)
    outbox.close()


@pytest.mark.parametrize("number", range(1, NUM_POINTS + 1))
def test_a_kill_at_every_durable_write_of_a_drain(path: Path, server: RunningServer, number: int) -> None:
    process = start(path, server, number)
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    check(path, server)
    finish(path, server)


def test_these_are_all_the_durable_writes_of_a_drain(path: Path, server: RunningServer) -> None:
    process = start(path, server, NUM_POINTS + 1)
    assert "sent=20" in process.communicate(timeout=60)[0]
    assert process.returncode == 0


@pytest.mark.parametrize("seed", range(5))
def test_a_kill_at_a_random_moment_of_a_drain(path: Path, server: RunningServer, seed: int) -> None:
    process = start(path, server, 0)
    assert process.stdout is not None
    assert process.stdout.readline() == "ready\n"
    time.sleep(random.Random(seed).uniform(0.0, 0.03))
    process.kill()
    process.communicate(timeout=60)
    check(path, server)
    finish(path, server)

"""A command on the leash ends with its parent, however that one ends."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

_PARENT = """
import subprocess, sys, time
child = subprocess.Popen(
    [sys.executable, "-m", "cloud_train.demo.leash", *sys.argv[1:]],
    stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True,
)
print(child.pid, flush=True)
time.sleep(600)
"""


@pytest.fixture
def family(tmp_path: Path, repository: Path) -> Iterator[tuple[subprocess.Popen[str], int]]:
    """A parent, and the pid of its child: a server that is ready."""
    serve = ["serve", "--store", str(tmp_path / "store"), "--listen", "127.0.0.1:0", "--plaintext"]
    line = [sys.executable, "-c", _PARENT, *serve]
    parent = subprocess.Popen(line, stdout=subprocess.PIPE, text=True, cwd=repository)
    child = int(parent.stdout.readline())
    wait_until((tmp_path / "store" / "server.json").exists, seconds=60)
    yield parent, child
    parent.kill()
    parent.communicate()
    if lives(child):
        os.kill(child, signal.SIGKILL)


def wait_until(happened: Callable[[], bool], *, seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not happened():
        assert time.monotonic() < deadline, f"waited {seconds} s in vain"
        time.sleep(0.02)


def lives(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_the_child_ends_when_its_parent_is_killed(
    family: tuple[subprocess.Popen[str], int], tmp_path: Path, number: signal.Signals
) -> None:
    parent, child = family
    assert lives(child)
    assert json.loads((tmp_path / "store" / "server.json").read_bytes())["pid"] == child
    parent.send_signal(number)
    parent.wait(20)
    wait_until(lambda: not lives(child), seconds=20)


def test_a_command_on_the_leash_ends_by_itself_as_well(repository: Path) -> None:
    line = [sys.executable, "-m", "cloud_train.demo.leash", "--version"]
    with subprocess.Popen(line, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=repository) as process:
        said = process.stdout.read()
        assert process.wait(20) == 0
    assert said.startswith(b"edgeloop, version ")

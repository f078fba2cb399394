"""Durable workflows in real processes that die, fail and are interrupted; the oracle is the steps' own journal."""

from __future__ import annotations

import contextlib
import json
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import pytest
from serving import Finished

LIFE = Path(__file__).with_name("durable_life.py")
ANSWER = "{'made': {'pictures': ['käse.png'], 'share': 0.1}, 'three': 3}\n"


def command(folder: Path, *arguments: str) -> list[str]:
    return [sys.executable, str(LIFE), str(folder), *arguments]


def live(folder: Path, *arguments: str) -> Finished:
    run = subprocess.run(command(folder, *arguments), capture_output=True, text=True, check=False, timeout=60)
    return Finished(run.returncode, run.stdout, run.stderr)


def journal(folder: Path) -> list[str]:
    return (folder / "journal").read_text().split()


def statuses(folder: Path) -> dict[str, str]:
    with contextlib.closing(sqlite3.connect(folder / "state" / "runs.sqlite")) as database:
        return dict(database.execute("select workflow_uuid, status from workflow_status order by created_at"))


@pytest.mark.parametrize("workflow", ["steps", "nested"])
def test_a_killed_process_goes_on_at_the_unfinished_step(tmp_path: Path, workflow: str) -> None:
    assert live(tmp_path, "run", workflow, "kill", "kill", "fine").returncode == -signal.SIGKILL
    assert live(tmp_path, "run", workflow).returncode == -signal.SIGKILL
    finished = live(tmp_path, "run", workflow)
    assert finished == (0, ANSWER, "")
    assert journal(tmp_path) == ["one", "two", "two", "two", "three"]


def test_a_finished_run_gives_its_answer_and_runs_nothing(tmp_path: Path) -> None:
    assert live(tmp_path, "run", "steps", "fine") == (0, ANSWER, "")
    assert live(tmp_path, "run", "steps") == (0, ANSWER, "")
    assert journal(tmp_path) == ["one", "two", "three"]


@pytest.mark.parametrize("workflow", ["steps", "nested"])
def test_a_failed_run_keeps_its_line_and_code_and_is_started_anew(tmp_path: Path, workflow: str) -> None:
    failed = live(tmp_path, "run", workflow, "usage", "fine")
    assert failed == (2, "", "edgeloop: error: the field is empty (put pictures into it)\n")
    assert live(tmp_path, "run", workflow) == (0, ANSWER, "")
    ended = statuses(tmp_path)
    assert (ended["run-1"], ended["run-2"]) == ("ERROR", "SUCCESS")
    assert "run-3" not in ended
    assert journal(tmp_path) == ["one", "two", "one", "two", "three"]


def test_an_error_after_a_kill_keeps_its_line_and_code(tmp_path: Path) -> None:
    """Here the step runs in what DBOS recovered, and its error comes back from the database."""
    assert live(tmp_path, "run", "steps", "kill", "usage").returncode == -signal.SIGKILL
    failed = live(tmp_path, "run", "steps")
    assert failed == (2, "", "edgeloop: error: the field is empty (put pictures into it)\n")


def test_a_defect_after_a_kill_is_named(tmp_path: Path) -> None:
    assert live(tmp_path, "run", "steps", "kill", "defect").returncode == -signal.SIGKILL
    assert live(tmp_path, "run", "steps") == (1, "", "edgeloop: error: KeyError: 'zonk'\n")


def test_ctrl_c_ends_at_once_and_the_next_start_goes_on(tmp_path: Path) -> None:
    run = subprocess.Popen(
        command(tmp_path, "run", "steps", "wait", "fine"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert run.stdout.readline() == "waiting\n"
    begun = time.monotonic()
    run.send_signal(signal.SIGINT)
    _, said = run.communicate(timeout=50)
    assert time.monotonic() - begun < 30, "it waited for the step"
    assert (run.returncode, said) == (130, "edgeloop: stopped; the same command goes on from here\n")
    assert live(tmp_path, "run", "steps") == (0, ANSWER, "")
    assert journal(tmp_path) == ["one", "two", "two", "three"]


def test_what_another_run_left_is_not_picked_up(tmp_path: Path) -> None:
    assert live(tmp_path, "old", "steps", "kill", "fine").returncode == -signal.SIGKILL
    assert live(tmp_path, "new", "steps") == (0, ANSWER, "")
    assert journal(tmp_path) == ["one", "two", "one", "two", "three"]
    assert statuses(tmp_path) == {"old-1": "PENDING", "new-1": "SUCCESS"}


def test_the_state_is_json_and_nothing_is_pickled(tmp_path: Path) -> None:
    assert live(tmp_path, "run", "nested", "usage", "fine").returncode == 2
    assert live(tmp_path, "run", "nested").returncode == 0
    database = tmp_path / "state" / "runs.sqlite"
    written = b"".join(path.read_bytes() for path in database.parent.glob("runs.sqlite*"))
    assert not [mark for mark in (b"gASV", b"\x80\x04\x95", b"py_pickle") if mark in written]
    values = list(stored_values(database))
    assert len(values) > 10
    for value in values:
        json.loads(value)


def stored_values(database: Path) -> list[str]:
    """Every input, output and error of workflows and steps."""
    columns = {
        "workflow_input": ["inputs"],
        "workflow_output": ["output", "error"],
        "workflow_status": ["inputs", "output", "error"],
        "operation_outputs": ["output", "error"],
    }
    with contextlib.closing(sqlite3.connect(database)) as connection:
        return [
            value
            for table, names in columns.items()
            for name in names
            for (value,) in connection.execute(f"select {name} from {table} where {name} is not null")  # noqa: S608
        ]

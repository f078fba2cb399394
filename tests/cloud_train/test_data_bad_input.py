"""Every bad input of `edgeloop data`: one line, the right exit code, nothing half-written."""

from __future__ import annotations

import json
import random
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from picture_folders import BAD_FILES, patterned, write_folder

from cloud_train.cli import edgeloop
from cloud_train.datasets.snapshot_file import load_snapshot
from edge import durable
from edge.errors import EdgeloopError

COUNTS = {"a": 3, "b": 3}


def _data(*arguments: object) -> Result:
    return CliRunner().invoke(edgeloop, ["data", *(str(one) for one in arguments)])


def _failure(result: Result) -> EdgeloopError:
    """The error that the wrapper prints as one line."""
    assert isinstance(result.exception, EdgeloopError), result.exception
    assert "\n" not in str(result.exception)
    assert result.exception.hint
    return result.exception


def _files(folder: Path) -> list[str]:
    """Every file but what a killed write had not finished, which nothing ever reads."""
    found = (path for path in folder.rglob("*") if path.is_file() and path.suffix != ".tmp")
    return sorted(path.relative_to(folder).as_posix() for path in found)


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file_is_reported_and_skipped(tmp_path: Path, name: str) -> None:
    write_folder(tmp_path / "in", COUNTS)
    data, reason = BAD_FILES[name]
    (tmp_path / "in" / "a" / name).write_bytes(data)
    told = _data("inspect", tmp_path / "in")
    assert told.exit_code == 0
    assert "1 files skipped" in told.stdout
    assert any(line.startswith(f"  a/{name}: ") and reason in line for line in told.stdout.splitlines())
    made = _data("snapshot", tmp_path / "in", "--store", tmp_path / "store", "--name", "x", "--json")
    assert made.exit_code == 0
    answer = json.loads(made.stdout)
    assert answer["pictures"] == 6
    assert [line.startswith(f"a/{name}: ") for line in answer["skipped"]] == [True]
    assert load_snapshot(Path(answer["path"])).skipped == tuple(answer["skipped"])


def test_all_of_them_together_in_json(tmp_path: Path) -> None:
    write_folder(tmp_path, COUNTS)
    for name, (data, _) in BAD_FILES.items():
        (tmp_path / "b" / name).write_bytes(data)
    answer = json.loads(_data("inspect", tmp_path, "--json").stdout)
    assert [line.split(":")[0] for line in answer["skipped"]] == sorted(f"b/{name}" for name in BAD_FILES)
    assert (answer["pictures"], answer["classes"]) == (6, COUNTS)


FOLDERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "missing": (lambda folder: None, "no such folder"),
    "a file": (lambda folder: folder.write_bytes(b"x"), "no such folder"),
    "empty": (lambda folder: folder.mkdir(), "the folder is empty"),
    "one class": (lambda folder: write_folder(folder, {"a": 3}), "all pictures are of one class, 'a'"),
    "no class folders": (lambda folder: (folder.mkdir(), (folder / "x.png").write_bytes(patterned("x"))), "no usable"),
    "only bad files": (lambda folder: (write_folder(folder, {"a": 0}), (folder / "a/x.jpg").touch()), "no usable"),
    "ready splits": (lambda folder: write_folder(folder, {"train/a": 1, "test/a": 1}), "not classes"),
}


@pytest.mark.parametrize("command", ["inspect", "snapshot"])
@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_that_cannot_teach(tmp_path: Path, case: str, command: str) -> None:
    make, message = FOLDERS[case]
    make(tmp_path / "in")
    more = ["--store", tmp_path / "store", "--name", "x"] if command == "snapshot" else []
    error = _failure(_data(command, tmp_path / "in", *more))
    assert error.exit_code == 2
    assert message in str(error)
    assert "in" in error.message
    assert not (tmp_path / "store").exists() or _files(tmp_path / "store") == []


@pytest.mark.parametrize("options", [[], ["--store", "x"], ["--name", "x"]])
def test_a_missing_option_is_named(tmp_path: Path, options: list[str]) -> None:
    result = _data("snapshot", write_folder(tmp_path, COUNTS), *options)
    assert result.exit_code == 2
    assert "Missing option" in result.stderr


@pytest.mark.parametrize("place", ["store", "store/blobs", "store/snapshots"])
def test_a_store_that_cannot_be_written(tmp_path: Path, place: str) -> None:
    """A file where a folder has to be: also root is refused."""
    write_folder(tmp_path / "in", COUNTS)
    (tmp_path / place).parent.mkdir(exist_ok=True)
    (tmp_path / place).write_bytes(b"")
    error = _failure(_data("snapshot", tmp_path / "in", "--store", tmp_path / "store", "--name", "x"))
    assert error.exit_code == 1
    assert place in str(error)
    assert not list(tmp_path.rglob("*.json"))
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.faults
def test_a_full_disk_leaves_no_half_snapshot(tmp_path: Path) -> None:
    root = tmp_path / "in"
    for label in "ab":
        (root / label).mkdir(parents=True)
        for number in range(12):
            rng = random.Random(f"{label} {number}")
            noise = rng.randbytes(100 * 100 * 3)
            from PIL import Image

            Image.frombytes("RGB", (100, 100), noise).save(root / label / f"{number}.png")
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)], check=True)  # noqa: S607
    try:
        error = _failure(_data("snapshot", root, "--store", disk / "store", "--name", "x"))
        assert error.exit_code == 1
        assert "no space left" in str(error)
        assert not list(disk.rglob("*.json"))
        subprocess.run(["mount", "-o", "remount,size=8m", str(disk)], check=True)  # noqa: S607
        made = _data("snapshot", root, "--store", disk / "store", "--name", "x", "--json")
        assert json.loads(made.stdout)["pictures"] == 24
        assert not list(disk.rglob("*.tmp"))
    finally:
        subprocess.run(["umount", str(disk)], check=True)  # noqa: S607


def _points(folder: Path, store: Path) -> tuple[int, dict[str, object]]:
    """How many durable writes an undisturbed run passes, and what it says."""
    passed: list[str] = []
    durable.observe(passed.append)
    try:
        made = _data("snapshot", folder, "--store", store, "--name", "kill", "--json")
    finally:
        durable.observe(None)
    return len(passed), json.loads(made.stdout)


def test_killed_at_every_durable_write_it_resumes_to_the_same_digest(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", {"a": 2, "b": 2})
    num_points, expected = _points(folder, tmp_path / "undisturbed")
    wanted = _files(tmp_path / "undisturbed")
    assert num_points == 3 * (4 + 1)
    script = Path(__file__).with_name("killed_snapshot.py")
    runs = [
        subprocess.Popen(
            [sys.executable, str(script), str(folder), str(tmp_path / f"s{number}"), str(number)],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        for number in range(num_points)
    ]
    assert [run.wait() for run in runs] == [137] * num_points
    for number in range(num_points):
        store = tmp_path / f"s{number}"
        for path in store.glob("snapshots/*.json"):
            assert path.stem == expected["digest"]
            load_snapshot(path)
        again = _data("snapshot", folder, "--store", store, "--name", "kill", "--json")
        assert json.loads(again.stdout)["digest"] == expected["digest"]
        assert _files(store) == wanted
        assert not list(store.glob("snapshots/.*.tmp"))


def test_what_was_there_stays_when_a_run_fails(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "in", COUNTS)
    assert _data("snapshot", folder, "--store", tmp_path / "store", "--name", "x").exit_code == 0
    before = _files(tmp_path / "store")
    shutil.rmtree(folder / "a")
    _failure(_data("snapshot", folder, "--store", tmp_path / "store", "--name", "x"))
    assert _files(tmp_path / "store") == before


def test_the_command_prints_one_line_and_no_traceback(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-c",
        "from cloud_train.cli import main; main()",
        "data",
        "inspect",
        str(tmp_path / "no"),
    ]
    found = subprocess.run(command, capture_output=True, text=True, check=False)
    assert found.returncode == 2
    assert found.stdout == ""
    assert found.stderr.startswith(f"edgeloop: error: {tmp_path / 'no'}: no such folder (")
    assert found.stderr.count("\n") == 1


@pytest.mark.parametrize("arguments", [["--help"], ["inspect", "--help"], ["snapshot", "--help"]])
def test_help(arguments: list[str]) -> None:
    result = _data(*arguments)
    assert result.exit_code == 0
    assert "FOLDER" in result.stdout or "inspect" in result.stdout

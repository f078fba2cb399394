"""`edgeloop demo` given what it cannot use: one line, the right exit code, nothing half-written."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
from serving import Finished, edgeloop
from tiny_training import write_coloured

from cloud_train.datasets.snapshot import load_snapshot
from cloud_train.store.layout import StoreLayout
from cloud_train.store.lock import exclusive

TINY = ("--app", "shelf", "--epochs", "1")


class Row(NamedTuple):
    """One bad input.

    `given` makes the files under a folder and answers the arguments; the work folder is `FOLDER/work` unless they name
    another. `left` names what may lie in the work folder afterwards, None where there must be none.
    """

    given: Callable[[Path], list[str]]
    says: str
    code: int
    left: set[str] | None = None


def data(folder: Path, *labels: str) -> list[str]:
    """Arguments of a folder of pictures with these classes."""
    if labels:
        write_coloured(folder / "data", 20, labels=labels)
    else:
        (folder / "data").mkdir()
    return ["--data", str(folder / "data"), *TINY]


def good_data(folder: Path) -> list[str]:
    return data(folder, "blue", "green", "red")


def file(folder: Path, content: bytes = b"in the way") -> str:
    (folder / "file").write_bytes(content)
    return str(folder / "file")


def damaged_options(folder: Path) -> list[str]:
    (folder / "work").mkdir()
    (folder / "work" / "demo.json").write_bytes(b'{"work": ')
    return []


def options_of_another_demo(folder: Path) -> list[str]:
    (folder / "work").mkdir()
    from demo_values import demo_options

    from edge import jsonvalue

    (folder / "work" / "demo.json").write_bytes(jsonvalue.pretty_bytes(demo_options(folder / "work")))
    return ["--seed", "8"]


BEGUN = {"demo.json", "demo.lock", "demo.sqlite", "store"}
ROWS = {
    "missing data folder": Row(
        lambda folder: ["--data", str(folder / "gone")], "FOLDER/gone: no such data folder (name a folder", 2
    ),
    "a file as data folder": Row(lambda folder: ["--data", file(folder)], "FOLDER/file: no such data folder", 2),
    "empty data folder": Row(data, "FOLDER/data: the folder is empty (put one folder of pictures", 2, BEGUN),
    "one-class folder": Row(
        lambda folder: data(folder, "red"),
        "FOLDER/data: all pictures are of one class, 'red' (at least two class folders are needed)",
        2,
        BEGUN,
    ),
    "missing weights file": Row(
        lambda folder: [*good_data(folder), "--weights", str(folder / "gone")],
        "FOLDER/gone: no such weights file (check the path)",
        2,
    ),
    "a folder as weights file": Row(
        lambda folder: [*good_data(folder), "--weights", str(folder)], "FOLDER: no such weights file", 2
    ),
    "unknown application": Row(
        lambda folder: [*good_data(folder), "--app", "bogus"],
        "'bogus' is not an application of the model zoo (there are shelf, transfer)",
        2,
    ),
    "unknown option": Row(lambda _: ["--bogus"], "No such option '--bogus'", 2),
    "more unknown classes than classes": Row(
        lambda folder: [*good_data(folder), "--num-unknown", "3"], "3 of 3 classes held back", 2, BEGUN
    ),
    "epochs below zero": Row(lambda _: ["--epochs", "-1"], "Invalid value for '--epochs'", 2),
    "missing device python": Row(
        lambda folder: ["--device-python", str(folder / "gone")],
        "FOLDER/gone: no such Python for the device (name one that has edgeloop with --device-python)",
        2,
    ),
    "a device python that cannot run": Row(
        lambda folder: ["--device-python", file(folder)], "FOLDER/file: no such Python for the device", 2
    ),
    "work folder is a file": Row(lambda folder: ["--work", file(folder)], "Directory 'FOLDER/file' is a file", 2),
    "work folder below a file": Row(
        lambda folder: ["--work", f"{file(folder)}/work"], "cannot write FOLDER/file/work: not a directory", 1
    ),
    "work folder of other options": Row(
        options_of_another_demo,
        "FOLDER/work holds a demo with other options (",
        2,
        {"demo.json", "demo.lock"},
    ),
    "damaged options in the work folder": Row(damaged_options, "FOLDER/work/demo.json", 1, {"demo.json", "demo.lock"}),
}


@pytest.mark.parametrize("name", ROWS)
def test_bad_input(tmp_path: Path, name: str) -> None:
    row = ROWS[name]
    arguments = row.given(tmp_path)
    finished = run_demo(tmp_path, *arguments)
    assert finished.returncode == row.code, finished
    assert_one_line(finished, row.says.replace("FOLDER", str(tmp_path)))
    work = tmp_path / "work"
    assert work.exists() is (row.left is not None)
    if row.left is not None:
        assert {path.name for path in work.iterdir()} <= row.left
        assert_nothing_half_written(work)


def run_demo(folder: Path, *arguments: str) -> Finished:
    work = () if "--work" in arguments else ("--work", folder / "work")
    return edgeloop("demo", *work, *arguments)


def assert_one_line(finished: Finished, says: str) -> None:
    assert finished.stderr.startswith("edgeloop: error: "), finished.stderr
    assert finished.stderr.count("\n") == 1, finished.stderr
    assert says in finished.stderr
    assert "Traceback" not in finished.stdout + finished.stderr


def assert_nothing_half_written(work: Path) -> None:
    """Whatever has its final name is whole; of snapshots and bundles nothing else is there."""
    layout = StoreLayout(root=work / "store")
    for path in layout.snapshots.glob("*"):
        load_snapshot(path)
    assert not list(layout.bundles.glob("*"))
    assert not list(layout.runs.glob("*/*"))
    assert not list(layout.reports.glob("*"))
    assert not list(work.rglob(".*.tmp"))


def test_a_corrected_word_needs_no_other_work_folder(tmp_path: Path) -> None:
    """What is wrong on its face is found before the work folder is taken for it."""
    arguments = data(tmp_path)
    run_demo(tmp_path, *arguments, "--weights", "gone.safetensors")
    run_demo(tmp_path, *arguments, "--app", "bogus")
    run_demo(tmp_path, *arguments, "--device-python", "gone")
    assert_one_line(run_demo(tmp_path, *arguments), "the folder is empty")


@pytest.mark.slow
def test_unreadable_pictures_are_passed_over_by_name_and_garbage_weights_end_the_demo(tmp_path: Path) -> None:
    arguments, weights = good_data(tmp_path), file(tmp_path, b"no tensors at all " * 100)
    first = tmp_path / "data" / "red" / "000.png"
    (first.parent / "torn.png").write_bytes(first.read_bytes()[:-60])
    (first.parent / "twice.png").write_bytes(first.read_bytes())
    (first.parent / "words.jpg").write_bytes(b"these are words")
    finished = run_demo(tmp_path, *arguments, "--weights", weights)
    assert finished.returncode == 2
    assert "skipped red/torn.png: " in finished.stdout
    assert "skipped red/words.jpg: " in finished.stdout
    assert "2 files skipped, 1 exact duplicates left out" in finished.stdout
    assert_one_line(finished, f"weights file {weights} is not a safetensors file (convert it, or check the download)")
    assert len(list((tmp_path / "work" / "store" / "snapshots").iterdir())) == 2
    assert_nothing_half_written(tmp_path / "work")


def test_a_second_demo_in_the_same_work_folder(tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    with exclusive(work / "demo.lock"):
        finished = run_demo(tmp_path, "--seed", "8")
    assert finished.returncode == 2
    assert_one_line(finished, f"{work}: another demo is running in this folder (wait for it, or name another folder")
    assert {path.name for path in work.iterdir()} == {"demo.lock"}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_work_folder_that_may_not_be_written(tmp_path: Path) -> None:
    (tmp_path / "work").mkdir(mode=0o500)
    finished = run_demo(tmp_path)
    assert finished.returncode == 1
    assert_one_line(finished, f"cannot write {tmp_path / 'work'}")

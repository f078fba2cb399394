from __future__ import annotations

from pathlib import Path

import pytest
from demo_values import demo_options

from cloud_train.demo.options import claim_work_folder
from edge.errors import FormatError, StorageError, UsageError


def test_a_new_work_folder_is_made_and_says_for_what(tmp_path: Path) -> None:
    options = demo_options(tmp_path / "a" / "work", data="/pictures")
    claim_work_folder(options)
    assert [path.name for path in options.folder.iterdir()] == ["demo.json"]
    assert '"data": "/pictures"' in (options.folder / "demo.json").read_text()


def test_the_same_options_come_back(tmp_path: Path) -> None:
    options = demo_options(tmp_path)
    claim_work_folder(options)
    before = (tmp_path / "demo.json").stat()
    claim_work_folder(demo_options(tmp_path))
    after = (tmp_path / "demo.json").stat()
    assert (after.st_ino, after.st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_other_options_are_refused_by_name_and_change_nothing(tmp_path: Path) -> None:
    claim_work_folder(demo_options(tmp_path))
    before = (tmp_path / "demo.json").read_bytes()
    with pytest.raises(UsageError) as raised:
        claim_work_folder(demo_options(tmp_path, seed=8, epochs=2))
    assert raised.value.message == f"{tmp_path} holds a demo with other options (epochs, seed)"
    assert "--work" in raised.value.hint
    assert (tmp_path / "demo.json").read_bytes() == before


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"work": 3}'], ids=["empty", "torn", "a list", "other"])
def test_a_damaged_options_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "demo.json").write_bytes(content)
    with pytest.raises(FormatError, match=r"demo\.json"):
        claim_work_folder(demo_options(tmp_path))
    assert (tmp_path / "demo.json").read_bytes() == content


def test_a_work_folder_below_a_file_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StorageError, match=r"cannot write .*/file/work: not a directory"):
        claim_work_folder(demo_options(tmp_path / "file" / "work"))


def test_where_things_lie(tmp_path: Path) -> None:
    options = demo_options(tmp_path)
    places = (options.store, options.field, options.device, options.logs, options.report)
    assert [path.relative_to(tmp_path).as_posix() for path in places] == [
        "store",
        "field",
        "device",
        "logs",
        "report.html",
    ]

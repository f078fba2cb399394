from __future__ import annotations

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from edge import durable
from edge.errors import StorageError

_KILLED = """
import os, signal, sys
from pathlib import Path
from edge import durable

def end_at(point):
    if point == sys.argv[1]:
        os.kill(os.getpid(), signal.SIGKILL)

durable.observe(end_at)
folder = Path(sys.argv[2])
durable.write_bytes(folder / "state.json", b"new" * 1000, point="state")
durable.publish_folder(folder / "staging", folder / "published", point="publish")
"""


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_write_replaces_whole(tmp_path: Path, durable_points: list[str]) -> None:
    path = tmp_path / "state.json"
    durable.write_bytes(path, b"old", point="state")
    durable.write_chunks(path, (b"new ", b"content"), point="state")
    assert path.read_bytes() == b"new content"
    assert names(tmp_path) == ["state.json"]
    assert durable_points == ["state:before", "state:written", "state:after"] * 2


def test_failing_source_leaves_the_old_content(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")

    def chunks() -> object:
        yield b"half"
        raise KeyError("source failed")

    with pytest.raises(KeyError):
        durable.write_chunks(path, chunks())
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state.json"]


def test_folder_that_is_missing_or_a_file(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match=r"cannot write .*state\.json: no such file"):
        durable.write_bytes(tmp_path / "gone" / "state.json", b"x")
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="is a directory"):
        durable.write_bytes(tmp_path / "folder", b"x")
    assert names(tmp_path) == ["folder"]
    with pytest.raises(StorageError, match="cannot write"):
        durable.make_folder(Path("/proc/edgeloop/x"))


@pytest.mark.parametrize(
    ("code", "hint"),
    [
        (errno.ENOSPC, "free some space"),
        (errno.EDQUOT, "free some space"),
        (errno.EROFS, "remount"),
        (errno.EACCES, "permissions"),
        (errno.EPERM, "permissions"),
        (errno.EIO, "check the disk"),
    ],
)
def test_each_failure_says_what_to_do(code: int, hint: str) -> None:
    error = durable.storage_error(Path("/somewhere/file"), OSError(code, os.strerror(code)))
    assert hint in error.hint
    assert "/somewhere/file" in error.message
    assert os.strerror(code).lower() in error.message


def test_failing_fsync_is_a_storage_error_and_the_old_content_stands(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "state.json"
    path.write_bytes(b"old")

    def failing(handle: int) -> None:
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(os, "fsync", failing)
    with pytest.raises(StorageError, match="input/output error"):
        durable.write_bytes(path, b"new")
    assert path.read_bytes() == b"old"
    assert names(tmp_path) == ["state.json"]


def test_make_folder_with_parents_twice(tmp_path: Path) -> None:
    durable.make_folder(tmp_path / "a" / "b" / "c")
    durable.make_folder(tmp_path / "a" / "b" / "c")
    assert (tmp_path / "a" / "b" / "c").is_dir()


def test_publish_folder(tmp_path: Path, durable_points: list[str]) -> None:
    staging = tmp_path / "staging"
    (staging / "deep").mkdir(parents=True)
    (staging / "deep" / "file").write_bytes(b"x")
    durable.publish_folder(staging, tmp_path / "published", point="publish")
    assert names(tmp_path) == ["published"]
    assert (tmp_path / "published" / "deep" / "file").read_bytes() == b"x"
    assert durable_points == ["publish:before", "publish:after"]


def test_publish_onto_something_leaves_both(tmp_path: Path) -> None:
    for name in ("staging", "published"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    with pytest.raises(StorageError, match="published: directory not empty"):
        durable.publish_folder(tmp_path / "staging", tmp_path / "published")
    assert (tmp_path / "published" / "file").read_text() == "published"
    assert (tmp_path / "staging" / "file").read_text() == "staging"


def test_publish_files_moves_all(tmp_path: Path, durable_points: list[str]) -> None:
    moves = []
    for name in ("first", "second"):
        (tmp_path / f"{name}.part").write_text(name)
        moves.append((tmp_path / f"{name}.part", tmp_path / name))
    durable.publish_files(moves, point="group")
    durable.publish_files((), point="group")
    assert names(tmp_path) == ["first", "second"]
    assert durable_points == ["group:before", "group:after"] * 2
    with pytest.raises(StorageError, match="third: no such file"):
        durable.publish_files([(tmp_path / "gone.part", tmp_path / "third")])


def test_replace_bytes_is_whole_and_cleans_up(tmp_path: Path) -> None:
    durable.replace_bytes(tmp_path / "status.json", b"old")
    durable.replace_bytes(tmp_path / "status.json", b"new")
    assert (tmp_path / "status.json").read_bytes() == b"new"
    (tmp_path / "folder").mkdir()
    with pytest.raises(StorageError, match="folder: is a directory"):
        durable.replace_bytes(tmp_path / "folder", b"x")
    assert names(tmp_path) == ["folder", "status.json"]


def test_sweep_removes_only_leftovers(tmp_path: Path) -> None:
    for name in (".state.json.abc.tmp", ".other.xyz.tmp", "state.json", "visible.tmp", ".hidden"):
        (tmp_path / name).write_text("x")
    (tmp_path / ".folder.tmp").mkdir()
    assert durable.sweep(tmp_path) == 2
    assert names(tmp_path) == [".folder.tmp", ".hidden", "state.json", "visible.tmp"]


@pytest.mark.parametrize(
    ("point", "new_content", "published"),
    [
        ("state:before", False, False),
        ("state:written", False, False),
        ("state:after", True, False),
        ("publish:before", True, False),
        ("publish:after", True, True),
    ],
)
def test_killed_at_every_durable_write(point: str, new_content: bool, published: bool, tmp_path: Path) -> None:
    (tmp_path / "state.json").write_bytes(b"old")
    (tmp_path / "staging").mkdir()
    (tmp_path / "staging" / "file").write_bytes(b"x")
    ended = subprocess.run([sys.executable, "-c", _KILLED, point, str(tmp_path)], check=False)
    assert ended.returncode == -9
    assert (tmp_path / "state.json").read_bytes() == (b"new" * 1000 if new_content else b"old")
    assert (tmp_path / "published").exists() is published
    assert (tmp_path / "staging").exists() is not published
    leftovers = durable.sweep(tmp_path)
    assert leftovers == (1 if point == "state:written" else 0)


@pytest.mark.faults
def test_full_and_read_only_disk(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    subprocess.run(["/bin/mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], check=True)
    try:
        path = disk / "state.json"
        durable.write_bytes(path, b"old")
        with pytest.raises(StorageError, match="no space left on device"):
            durable.write_bytes(path, b"x" * 200_000)
        assert path.read_bytes() == b"old"
        assert names(disk) == ["state.json"]
        subprocess.run(["/bin/mount", "-o", "remount,ro", str(disk)], check=True)
        with pytest.raises(StorageError, match="read-only file system"):
            durable.write_bytes(path, b"new")
        with pytest.raises(StorageError, match="read-only file system"):
            durable.make_folder(disk / "a" / "b")
        assert path.read_bytes() == b"old"
    finally:
        subprocess.run(["/bin/umount", str(disk)], check=True)

"""What every `PublishedFiles` promises, and how a repository gets there."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from cloud_train.store import objects
from cloud_train.store.objects import ObjectPlace
from cloud_train.store.published import LAST, PublishedFiles, PublishedFolder, PublishedObjects, copy_repository
from edge.errors import FormatError, StorageError


@pytest.fixture(params=["folder", "memory", pytest.param("s3", marks=pytest.mark.server)])
def published(request: pytest.FixtureRequest, tmp_path: Path) -> PublishedFiles:
    match request.param:
        case "folder":
            return PublishedFolder(tmp_path / "published")
        case "memory":
            return PublishedObjects(ObjectPlace(f"memory://{tmp_path.name}/repository"))
        case _:
            return PublishedObjects(ObjectPlace(f"{request.getfixturevalue('s3_objects_url')}/repository"))


def all_of(published: PublishedFiles) -> dict[str, bytes]:
    return {path: b"".join(published.read(path)) for path, _ in published.list()}


def write_repository(folder: Path, version: int, *, content: bytes = b"model") -> dict[str, bytes]:
    """The shape of a signed repository."""
    files = {
        "files/sha256/" + "a" * 64: content,
        "targets/channel/stable/manifest.json": b"manifest %d" % version,
        f"metadata/{version}.targets.json": b"targets %d" % version,
        f"metadata/{version}.snapshot.json": b"snapshot %d" % version,
        "metadata/1.root.json": b"root",
        LAST: json.dumps({"signed": {"version": version}}).encode(),
    }
    for path, data in files.items():
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    return files


def test_files_come_back_from_any_offset(published: PublishedFiles, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "BLOCK_BYTES", 1000)
    data = bytes(range(256)) * 10
    published.write("a/b.bin", data)
    published.write("empty", b"")
    assert published.size("a/b.bin") == 2560
    for offset in (0, 1, 999, 1000, 2559, 2560):
        assert b"".join(published.read("a/b.bin", offset)) == data[offset:]
    assert b"".join(published.read("empty")) == b""
    assert sorted(published.list()) == [("a/b.bin", 2560), ("empty", 0)]


def test_a_file_is_replaced(published: PublishedFiles, tmp_path: Path) -> None:
    published.write("a", b"one")
    published.write("a", b"other")
    assert all_of(published) == {"a": b"other"}
    (tmp_path / "source").write_bytes(b"third")
    published.take("a", tmp_path / "source")
    assert all_of(published) == {"a": b"third"}
    assert (tmp_path / "source").exists()


def test_what_is_not_there(published: PublishedFiles) -> None:
    assert list(published.list()) == []
    published.write("a/b", b"x")
    for path in ("b", "a", "a/b/c"):
        with pytest.raises(FileNotFoundError):
            published.size(path)
        with pytest.raises(FileNotFoundError):
            list(published.read(path))


@pytest.mark.parametrize("path", ["../a", "/etc/passwd", "a//b", "", "a/./b", "a/.."])
def test_paths_that_climb_are_refused(published: PublishedFiles, path: str) -> None:
    with pytest.raises(FormatError, match="not a plain relative path"):
        published.size(path)
    with pytest.raises(FormatError, match="not a plain relative path"):
        published.write(path, b"")


def test_a_repository_is_copied_once_and_then_only_what_changed(published: PublishedFiles, tmp_path: Path) -> None:
    first = write_repository(tmp_path / "repository", 1)
    assert copy_repository(tmp_path / "repository", published) == len(first)
    assert all_of(published) == first
    assert copy_repository(tmp_path / "repository", published) == 0
    second = write_repository(tmp_path / "repository", 2)
    assert copy_repository(tmp_path / "repository", published) == 4
    assert all_of(published) == first | second


def test_the_timestamp_comes_last(published: PublishedFiles, tmp_path: Path) -> None:
    """A copy that is broken off anywhere leaves devices with what they had."""
    write_repository(tmp_path / "repository", 1)
    copy_repository(tmp_path / "repository", published)
    before = b"".join(published.read(LAST))
    write_repository(tmp_path / "repository", 2)
    order: list[str] = []
    take = published.take

    class BrokenError(Exception):
        pass

    def broken(path: str, source: Path) -> None:
        order.append(path)
        if path == LAST:
            raise BrokenError
        take(path, source)

    published.take = broken
    with pytest.raises(BrokenError):
        copy_repository(tmp_path / "repository", published)
    assert order[-1] == LAST
    assert order[0] == "targets/channel/stable/manifest.json"
    assert b"".join(published.read(LAST)) == before
    published.take = take
    assert copy_repository(tmp_path / "repository", published) == 1


def test_a_newest_version_that_somebody_else_signed_is_replaced(published: PublishedFiles, tmp_path: Path) -> None:
    write_repository(tmp_path / "repository", 1)
    copy_repository(tmp_path / "repository", published)
    published.write("metadata/1.targets.json", b"TARGETS 1")
    assert copy_repository(tmp_path / "repository", published) == 1
    assert b"".join(published.read("metadata/1.targets.json")) == b"targets 1"


def test_an_older_repository_does_not_replace_a_newer_one(published: PublishedFiles, tmp_path: Path) -> None:
    write_repository(tmp_path / "new", 2)
    copy_repository(tmp_path / "new", published)
    write_repository(tmp_path / "old", 1)
    with pytest.raises(StorageError, match="newer than this repository"):
        copy_repository(tmp_path / "old", published)
    assert b"".join(published.read(LAST)) == (tmp_path / "new" / LAST).read_bytes()


def test_a_folder_is_not_copied_onto_itself(tmp_path: Path) -> None:
    write_repository(tmp_path, 1)
    assert copy_repository(tmp_path, PublishedFolder(tmp_path)) == 0


def test_no_repository_is_nothing_to_copy(published: PublishedFiles, tmp_path: Path) -> None:
    assert copy_repository(tmp_path / "nothing", published) == 0

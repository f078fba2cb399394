"""The folder of blobs: layout, adoption, damage, kills."""

from __future__ import annotations

import hashlib
import os
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.lock import exclusive
from edge import durable
from edge.errors import FormatError, StorageError


class Killed(BaseException):
    """Stands for the end of the process."""


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def finished(folder: Path, *contents: bytes) -> dict[str, Path]:
    folder.mkdir(exist_ok=True)
    files = {digest_of(data): folder / digest_of(data) for data in contents}
    for data in contents:
        files[digest_of(data)].write_bytes(data)
    return files


def test_a_blob_lies_in_new_and_later_on_its_shelf(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path)
    digest = blobs.put(b"data")
    assert (tmp_path / "new" / digest).read_bytes() == b"data"
    assert blobs.shelve() == 1
    assert (tmp_path / digest[:2] / digest).read_bytes() == b"data"
    assert list((tmp_path / "new").iterdir()) == []
    assert blobs.read(digest) == b"data"


def test_a_store_of_shelves_only_is_read_and_added_to(tmp_path: Path) -> None:
    old = digest_of(b"old")
    (tmp_path / old[:2]).mkdir()
    (tmp_path / old[:2] / old).write_bytes(b"old")
    blobs = FolderBlobStore(tmp_path)
    assert blobs.path(blobs.put(b"old")) == tmp_path / old[:2] / old
    assert not list((tmp_path / "new").iterdir())
    assert sorted([old, blobs.put(b"newer")]) == sorted(blobs.digests())


def test_adopt_moves_and_replaces(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path / "blobs")
    blobs.put(b"one")
    files = finished(tmp_path / "in", b"one", b"two", b"three")
    blobs.adopt(files)
    assert [blobs.read(digest_of(data)) for data in (b"one", b"two", b"three")] == [b"one", b"two", b"three"]
    assert list((tmp_path / "in").iterdir()) == []


def test_adopt_refuses_names_that_are_no_digest(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path / "blobs")
    with pytest.raises(FormatError, match="not a SHA-256"):
        blobs.adopt({"../../evil": tmp_path / "in"})


def test_a_damaged_blob_is_told(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path)
    digest = blobs.put(b"data")
    blobs.path(digest).write_bytes(b"dama")
    with pytest.raises(StorageError, match="is damaged"):
        blobs.read(digest)


def test_a_failing_disk_leaves_the_file_where_it_was(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path / "blobs")
    files = finished(tmp_path / "in", b"data")
    (tmp_path / "blobs" / "new").write_bytes(b"in the way")
    with pytest.raises(StorageError, match="cannot write"):
        blobs.adopt(files)
    assert files[digest_of(b"data")].read_bytes() == b"data"


@pytest.mark.parametrize("point", ["blob.put:before", "blob.put:written", "blob.put:after"])
def test_a_blob_is_whole_or_not_there_wherever_put_is_killed(tmp_path: Path, point: str) -> None:
    blobs = FolderBlobStore(tmp_path)

    def kill(reached: str) -> None:
        if reached == point:
            raise Killed

    durable.observe(kill)
    try:
        with pytest.raises(Killed):
            blobs.put(b"data")
    finally:
        durable.observe(None)
    assert blobs.has(digest_of(b"data")) == (point == "blob.put:after")
    assert blobs.read(blobs.put(b"data")) == b"data"


def names(folder: Path) -> set[str]:
    return {path.name for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")}


@pytest.mark.parametrize("point", ["before", "named", "flushed", "after"])
def test_shelving_may_be_killed_anywhere(tmp_path: Path, point: str) -> None:
    blobs, contents = FolderBlobStore(tmp_path), [b"%d" % number for number in range(40)]
    digests = [blobs.put(data) for data in contents]

    def kill(reached: str) -> None:
        if reached == f"blob.shelve:{point}":
            raise Killed

    durable.observe(kill)
    try:
        with pytest.raises(Killed):
            blobs.shelve()
    finally:
        durable.observe(None)
    assert [blobs.read(digest) for digest in digests] == contents
    assert sorted(blobs.digests()) == sorted(digests)
    blobs.shelve()
    assert [FolderBlobStore(tmp_path).read(digest) for digest in digests] == contents
    assert list((tmp_path / "new").iterdir()) == []


def test_a_name_is_durable_on_its_shelf_before_it_leaves_new(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    blobs = FolderBlobStore(tmp_path)
    digests = [blobs.put(b"%d" % number) for number in range(20)]
    flushed: set[str] = set()
    fsync = durable.fsync_folder

    def watch(folder: Path) -> None:
        assert names(tmp_path / "new") == set(digests), "one left before all shelves were flushed"
        flushed.update(path.name for path in folder.glob("?" * 64))
        fsync(folder)

    monkeypatch.setattr(durable, "fsync_folder", watch)
    blobs.shelve()
    assert flushed == set(digests)


def test_readers_never_miss_what_is_shelved_meanwhile(tmp_path: Path) -> None:
    blobs, contents = FolderBlobStore(tmp_path, shelve_over=0), [b"%d" % number for number in range(100)]
    digests = [blobs.put(data) for data in contents]
    with ThreadPoolExecutor(4) as pool:
        reads = [pool.submit(lambda: [blobs.read(digest) for digest in digests]) for _ in range(3)]
        lists = pool.submit(lambda: [sorted(blobs.digests()) == sorted(digests) for _ in range(5)])
        blobs.shelve()
        assert all(read.result() == contents for read in reads)
        assert all(lists.result())


def test_two_that_shelve_do_not_meet(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path)
    blobs.put(b"data")
    with exclusive(tmp_path / ".shelve.lock"):
        assert FolderBlobStore(tmp_path).shelve() == 0
    assert blobs.shelve() == 1


def test_many_are_shelved_by_themselves(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path, shelve_over=5)
    digests = [blobs.put(b"%d" % number) for number in range(7)]
    end = time.monotonic() + 30
    while len(names(tmp_path / "new")) > 5 and time.monotonic() < end:
        time.sleep(0.01)
    assert len(names(tmp_path / "new")) <= 5
    assert sorted(blobs.digests()) == sorted(digests)


def test_what_is_sent_again_mends_a_damaged_shelf(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path / "blobs")
    path = blobs.path(blobs.put(b"data"))
    blobs.shelve()
    path.write_bytes(b"dama")
    blobs.adopt(finished(tmp_path / "in", b"data"))
    assert blobs.read(digest_of(b"data")) == b"data"
    blobs.shelve()
    assert path.read_bytes() == b"data"


def test_leftovers_of_the_killed_go_with_the_shelving(tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path)
    blobs.put(b"data")
    old, young = tmp_path / "new" / f".{'0' * 64}.1.0.tmp", tmp_path / "new" / f".{'1' * 64}.1.0.tmp"
    for path in (old, young):
        path.write_bytes(b"half")
    os.utime(old, (1.0, 1.0))
    blobs.shelve()
    assert (old.exists(), young.exists()) == (False, True)
    assert list(blobs.digests()) == [digest_of(b"data")]


@pytest.mark.parametrize("way", ["adopt", "put_many"])
def test_flushes_of_a_group(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str) -> None:
    """A file each and a folder a group; shelving adds a flush of each shelf for thousands of samples."""
    blobs, flushes, fsync = FolderBlobStore(tmp_path / "blobs"), [0], os.fsync
    blobs.put(b"first")

    def counted(handle: int) -> None:
        flushes[0] += 1
        fsync(handle)

    groups = [[b"%d %d" % (group, number) for number in range(8)] for group in range(5)]
    files = [finished(tmp_path / "in", *contents) for contents in groups]
    monkeypatch.setattr(os, "fsync", counted)
    for contents, finished_files in zip(groups, files, strict=True):
        if way == "adopt":
            blobs.adopt(finished_files)
        else:
            blobs.put_many({digest_of(data): data for data in contents})
    assert flushes[0] == 5 * (8 + 1)

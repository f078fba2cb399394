"""The folder of blobs: layout, adoption, damage, kills."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from cloud_train.store.blobs import FolderBlobStore
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


def test_a_blob_lies_below_the_first_two_digits(tmp_path: Path) -> None:
    digest = FolderBlobStore(tmp_path).put(b"data")
    assert (tmp_path / digest[:2] / digest).read_bytes() == b"data"


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
    (tmp_path / "blobs" / digest_of(b"data")[:2]).write_bytes(b"in the way")
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

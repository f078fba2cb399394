"""What every `BlobStore` promises."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud_train.store.blobs import BlobStore, FolderBlobStore
from cloud_train.store.object_blobs import ObjectBlobStore
from cloud_train.store.objects import ObjectPlace
from edge.errors import FormatError


@pytest.fixture(params=["folder", "folder that shelves", "memory", pytest.param("s3", marks=pytest.mark.server)])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    match request.param:
        case "folder":
            return FolderBlobStore(tmp_path / "blobs", shelve_over=0)
        case "folder that shelves":
            return FolderBlobStore(tmp_path / "blobs", shelve_over=2)
        case "memory":
            url = f"memory://{tmp_path.name}/blobs"
        case _:
            url = request.getfixturevalue("s3_objects_url")
    return ObjectBlobStore(ObjectPlace(url), cache=tmp_path / "cache")


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_put_answers_the_digest_and_read_gives_the_bytes_back(blobs: BlobStore) -> None:
    for data in (b"", b"\x00" * 10, b"x" * 3_000_000):
        digest = blobs.put(data)
        assert digest == hashlib.sha256(data).hexdigest()
        assert blobs.has(digest)
        assert blobs.read(digest) == data
        assert blobs.path(digest).read_bytes() == data


def test_put_twice_is_harmless(blobs: BlobStore) -> None:
    first = blobs.path(blobs.put(b"same")).stat()
    second = blobs.path(blobs.put(b"same")).stat()
    assert (first.st_ino, first.st_size) == (second.st_ino, second.st_size)
    assert list(blobs.digests()) == [digest_of(b"same")]


def test_a_group_is_kept(blobs: BlobStore) -> None:
    items = {digest_of(data): data for data in (b"one", b"two", b"", b"x" * 500_000)}
    blobs.put(b"one")
    blobs.put_many(items)
    blobs.put_many({})
    assert {digest: blobs.read(digest) for digest in items} == items
    assert sorted(blobs.digests()) == sorted(items)


def test_files_are_taken_over(blobs: BlobStore, tmp_path: Path) -> None:
    files = {digest_of(data): tmp_path / digest_of(data) for data in (b"one", b"two", b"three")}
    for data in (b"one", b"two", b"three"):
        files[digest_of(data)].write_bytes(data)
    blobs.put(b"two")
    blobs.adopt(files)
    assert [blobs.read(digest) for digest in files] == [b"one", b"two", b"three"]
    assert [path.exists() for path in files.values()] == [False] * 3
    assert sorted(blobs.digests()) == sorted(files)


@pytest.mark.parametrize("name", ["../../evil", "", "A" * 64, "0" * 63])
def test_names_that_are_no_digest_are_refused(blobs: BlobStore, tmp_path: Path, name: str) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"data")
    with pytest.raises(FormatError, match="not a SHA-256"):
        blobs.adopt({name: file})
    with pytest.raises(FormatError, match="not a SHA-256"):
        blobs.put_many({name: b"data"})
    assert file.exists()
    assert list(blobs.digests()) == []


@pytest.mark.parametrize("digest", ["0" * 64, "", "../../etc/passwd", "A" * 64, "0" * 63 + "\n"])
def test_what_is_not_there_is_a_key_error(blobs: BlobStore, digest: str) -> None:
    assert not blobs.has(digest)
    with pytest.raises(KeyError):
        blobs.read(digest)
    with pytest.raises(KeyError):
        blobs.path(digest)


def test_many_threads_may_put_the_same_and_others(blobs: BlobStore) -> None:
    data = [b"%d" % (number % 10) for number in range(100)]
    with ThreadPoolExecutor(8) as pool:
        digests = list(pool.map(blobs.put, data))
    assert [blobs.read(digest) for digest in digests] == data

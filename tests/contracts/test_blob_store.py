"""What every `BlobStore` promises."""

from __future__ import annotations

import hashlib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from cloud_train.store.blobs import BlobStore, FolderBlobStore


@pytest.fixture(params=["folder"])
def blobs(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return {"folder": FolderBlobStore}[request.param](tmp_path / "blobs")


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
    assert (first.st_ino, first.st_mtime_ns) == (second.st_ino, second.st_mtime_ns)


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

"""Pictures in an object store: what failures are called, damage, local copies."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

import pytest
from postgres_server import free_port
from s3_server import CREDENTIALS, S3Server

from cloud_train.store import objects
from cloud_train.store.object_blobs import ObjectBlobStore
from cloud_train.store.objects import ObjectPlace
from edge.errors import DamagedError, StorageError


def digest_of(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture
def place(tmp_path: Path) -> ObjectPlace:
    return ObjectPlace(f"memory://{tmp_path.name}/blobs")


def test_a_blob_lies_below_the_first_two_digits(place: ObjectPlace, tmp_path: Path) -> None:
    digest = ObjectBlobStore(place, cache=tmp_path).put(b"data")
    assert list(place.list()) == [(f"{digest[:2]}/{digest}", 4)]


def test_damage_is_told_and_never_cached(place: ObjectPlace, tmp_path: Path) -> None:
    blobs = ObjectBlobStore(place, cache=tmp_path / "cache")
    digest = blobs.put(b"data")
    place.write({f"{digest[:2]}/{digest}": b"dama"})
    for ask in (blobs.read, blobs.path):
        with pytest.raises(DamagedError, match="is damaged"):
            ask(digest)
    assert not (tmp_path / "cache").exists()
    blobs.put_many({digest: b"data"})
    assert blobs.read(digest) == b"data"


def test_local_copies_are_bounded_and_those_in_use_stay(place: ObjectPlace, tmp_path: Path) -> None:
    blobs = ObjectBlobStore(place, cache=tmp_path / "cache", cache_bytes=1000)
    contents = [bytes([number]) * 100 for number in range(30)]
    first = blobs.put(contents[0])
    for number, data in enumerate(contents):
        digest = blobs.put(data)
        assert blobs.path(digest).read_bytes() == data
        os.utime(tmp_path / "cache" / digest, (number, number))
        blobs.path(first)
    kept = [path for path in (tmp_path / "cache").iterdir() if not path.name.startswith(".")]
    assert sum(path.stat().st_size for path in kept) <= 1000
    assert first in {path.name for path in kept}
    assert [blobs.path(digest_of(data)).read_bytes() for data in contents] == contents


def test_others_objects_are_not_taken_for_blobs(place: ObjectPlace, tmp_path: Path) -> None:
    place.write({"README": b"x", "zz/" + "a" * 64: b"y"})
    assert list(ObjectBlobStore(place, cache=tmp_path).digests()) == []


@pytest.mark.server
def test_a_server_that_is_away_is_told_in_bounded_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EDGELOOP_OBJECTS_ENDPOINT", f"http://127.0.0.1:{free_port()}")
    monkeypatch.setattr(objects, "CONNECT_TIMEOUT_S", 0.5)
    blobs = ObjectBlobStore(ObjectPlace("s3://bucket/a"), cache=tmp_path)
    for ask in (lambda: blobs.put(b"data"), lambda: blobs.has("a" * 64), lambda: list(blobs.digests())):
        with pytest.raises(StorageError, match="s3://bucket/a cannot be reached"):
            ask()


@pytest.mark.server
def test_a_server_that_never_answers_is_told_in_bounded_time(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import socket

    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        for name, value in CREDENTIALS.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("EDGELOOP_OBJECTS_ENDPOINT", f"http://127.0.0.1:{silent.getsockname()[1]}")
        monkeypatch.setattr(objects, "CALL_TIMEOUT_S", 1.0)
        blobs = ObjectBlobStore(ObjectPlace("s3://bucket/a"), cache=tmp_path)
        with pytest.raises(StorageError, match="cannot be reached"):
            blobs.put_many({digest_of(b"data"): b"data"})


@pytest.mark.server
def test_a_bucket_that_is_not_there_is_told(s3_objects_url: str, tmp_path: Path) -> None:
    blobs = ObjectBlobStore(ObjectPlace("s3://no-such-bucket/a"), cache=tmp_path)
    with pytest.raises(StorageError, match="no such bucket"):
        blobs.put_many({digest_of(b"data"): b"data"})
    with pytest.raises(StorageError, match="no such bucket"):
        ObjectPlace("s3://no-such-bucket/a").check()
    ObjectPlace(s3_objects_url).check()


@pytest.mark.server
def test_missing_credentials_are_told(s3_server: S3Server, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EDGELOOP_OBJECTS_ENDPOINT", s3_server.endpoint.replace("127.0.0.1", "localhost"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    blobs = ObjectBlobStore(ObjectPlace("s3://bucket/a"), cache=tmp_path)
    with pytest.raises(StorageError, match=r"wants credentials \(set AWS_ACCESS_KEY_ID"):
        blobs.put_many({digest_of(b"data"): b"data"})


@pytest.mark.server
def test_two_processes_see_each_others_objects_at_once(s3_objects_url: str, tmp_path: Path) -> None:
    first, second = (ObjectBlobStore(ObjectPlace(s3_objects_url), cache=tmp_path) for _ in range(2))
    assert list(second.digests()) == []
    digest = first.put(b"data")
    assert second.has(digest)
    assert list(second.digests()) == [digest]


@pytest.mark.server
def test_a_large_file_goes_up_in_parts_and_comes_back(s3_objects_url: str, tmp_path: Path) -> None:
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1 << 20) * 101)
    place = ObjectPlace(s3_objects_url)
    place.upload({"large": file})
    assert place.size("large") == 101 << 20
    digest = hashlib.sha256()
    for block in place.blocks("large"):
        digest.update(block)
    assert digest.hexdigest() == digest_of(file.read_bytes())

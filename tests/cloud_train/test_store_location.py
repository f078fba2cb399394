"""Where a store lies: its file, the environment, what makes no sense."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from cloud_train.store.folder_blobs import FolderBlobStore
from cloud_train.store.location import StoreLocation, located, read_location, write_location
from cloud_train.store.opened import RESTORE_MARK, open_blobs, open_store
from edge.errors import StorageError, UsageError

URL = "postgresql://ann:p%40ss@db.example/fleet"


@pytest.fixture(autouse=True)
def _plain_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("EDGELOOP_DATABASE", "EDGELOOP_OBJECTS", "EDGELOOP_OBJECTS_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)


def test_a_store_lies_in_its_folder(tmp_path: Path) -> None:
    assert read_location(tmp_path) == StoreLocation(root=tmp_path, database=tmp_path / "meta.sqlite", objects=tmp_path)


def test_a_store_says_where_it_lies_to_its_owner_only(tmp_path: Path) -> None:
    written = write_location(tmp_path / "store", database=URL, objects="s3://bucket/a/b/")
    assert read_location(tmp_path / "store") == written
    assert written.database == URL.replace("postgresql://", "postgresql+psycopg://")
    assert written.objects == "s3://bucket/a/b"
    assert stat.S_IMODE((tmp_path / "store" / "store.toml").stat().st_mode) == 0o600
    assert "p%40ss" not in repr(written)
    assert "p@ss" not in repr(written)


def test_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_location(tmp_path, database=URL, objects="s3://bucket/a")
    monkeypatch.setenv("EDGELOOP_DATABASE", f"sqlite:///{tmp_path}/other.sqlite")
    monkeypatch.setenv("EDGELOOP_OBJECTS", f"file://{tmp_path}/objects%20here")
    found = read_location(tmp_path)
    assert (found.database, found.objects) == (tmp_path / "other.sqlite", tmp_path / "objects here")


def test_writing_the_same_again_is_harmless_and_another_is_refused(tmp_path: Path) -> None:
    write_location(tmp_path, database=URL)
    write_location(tmp_path, database=URL)
    with pytest.raises(UsageError, match="names another place"):
        write_location(tmp_path, database=URL, objects="s3://bucket/a")


def test_a_store_with_samples_is_not_sent_elsewhere(tmp_path: Path) -> None:
    with open_store(tmp_path) as store:
        assert store.meta.samples() == ()
    with pytest.raises(UsageError, match=r"database of its own \(take a backup"):
        write_location(tmp_path, database=URL)


@pytest.mark.parametrize(
    ("database", "objects", "message"),
    [
        ("no url", "", "the database URL is not a URL"),
        ("mysql://ann:p%40ss@host/fleet", "", r"no store can lie in the database mysql://ann:\*\*\*@host/fleet"),
        ("postgresql://ann:p%40ss@host?password=p%40ss", "", "no store can lie in the database"),
        ("sqlite://", "", "no store can lie in the database"),
        ("sqlite:///:memory:", "", "no store can lie in the database"),
        ("", "bucket/a", "no store can lie at 'bucket/a'"),
        ("", "http://bucket/a", "no store can lie at"),
        ("", "s3://", "no store can lie at"),
        ("", "s3:///a", "no store can lie at"),
        ("", "file://host/a", "no store can lie at"),
        ("", "s3://key:p%40ss@bucket/a", "holds a password"),
        ("", "s3://bucket/a/../b", "is not a plain relative path"),
    ],
)
def test_places_that_make_no_sense(tmp_path: Path, database: str, objects: str, message: str) -> None:
    with pytest.raises(Exception, match=message) as caught:
        write_location(tmp_path / "store", database=database, objects=objects)
    assert "p%40ss" not in str(caught.value)
    assert "p@ss" not in str(caught.value)
    assert not (tmp_path / "store").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("database = ", "is not TOML"),
        ("database = 3", "database must be a text"),
        ('databse = "x"', "unknown key 'databse'"),
        ("format = 2", "newer edgeloop"),
        ("\xff", "is not TOML"),
    ],
)
def test_a_file_that_cannot_be_read(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "store.toml").write_bytes(text.encode("latin-1"))
    with pytest.raises((UsageError, StorageError), match=message) as caught:
        open_store(tmp_path)
    assert str(tmp_path / "store.toml") in str(caught.value)


def test_a_folder_that_was_never_a_store_can_be_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a store"):
        open_store(tmp_path, must_exist=True)
    assert list(tmp_path.iterdir()) == []
    write_location(tmp_path)
    open_store(tmp_path, must_exist=True).close()


def test_pictures_do_not_need_the_database(tmp_path: Path) -> None:
    write_location(tmp_path, database=f"sqlite:///{tmp_path}/no/such/folder.sqlite")
    with open_store(tmp_path) as store:
        assert store.blobs.read(store.blobs.put(b"data")) == b"data"
        store.close()
    assert not (tmp_path / "no").exists()


def test_an_unfinished_restore_is_told(tmp_path: Path) -> None:
    (tmp_path / RESTORE_MARK).touch()
    with pytest.raises(StorageError, match="was not finished"):
        open_store(tmp_path)


def test_pictures_by_the_store_or_by_their_folder(tmp_path: Path) -> None:
    with open_store(tmp_path / "store") as store:
        digest = store.blobs.put(b"data")
    assert open_blobs(tmp_path / "store").has(digest)
    assert open_blobs(tmp_path / "store" / "blobs").has(digest)
    other = FolderBlobStore(tmp_path / "elsewhere").put(b"other")
    assert open_blobs(tmp_path / "elsewhere").has(other)
    write_location(tmp_path / "far", objects=f"file://{tmp_path}/store")
    assert open_blobs(tmp_path / "far").has(digest)
    for nowhere in (tmp_path / "nowhere", tmp_path / "store" / "x", tmp_path / "nowhere" / "blobs"):
        with pytest.raises(UsageError, match="no such blob folder"):
            open_blobs(nowhere)


def test_a_location_hides_the_password(tmp_path: Path) -> None:
    assert "***" in repr(located(tmp_path, database=URL))

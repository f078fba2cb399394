"""Backups: whole, consistent, restartable; restored whole or not at all, into the same kind of store or another."""

from __future__ import annotations

import io
import shutil
import stat
import tarfile
from collections.abc import Callable
from contextlib import closing
from pathlib import Path

import pytest
from click.testing import CliRunner
from overlapping import NUM_SAMPLES, add_overlapping
from sample_values import make_metadata

from cloud_train.cli import edgeloop
from cloud_train.fleet_types import AuditEntry
from cloud_train.store.backup import back_up
from cloud_train.store.backup_file import verify
from cloud_train.store.database import connect_database
from cloud_train.store.dump import dump_table, frozen, table_names
from cloud_train.store.location import write_location
from cloud_train.store.opened import RESTORE_MARK, Store, open_store
from cloud_train.store.published import LAST, copy_repository
from cloud_train.store.restore import restore
from cloud_train.store.sql import open_meta_store
from cloud_train.store.tables import MEMBERS
from cloud_train.types import SampleRecord
from edge import durable
from edge.errors import FormatError, StorageError, UsageError

HERE = Path(__file__).resolve().parent
MEMBER = {"device_id": "d", "labels": {"store": "17"}, "channel": "", "enrolled_at": 1.0, "revoked_at": None}
MEMBER |= {"pinned": "", "held": True, "update_windows": ""}


class KilledError(BaseException):
    """Stands for the end of the process."""


def fill(root: Path) -> None:
    """A store with something of everything."""
    add_overlapping(root, seed=1)
    with open_store(root) as store:
        for name, data in (
            ("snapshots/a.json", b'{"items": []}'),
            ("runs/r/model.bin", b"weights"),
            ("keys/k.pem", b"k"),
        ):
            (root / name).parent.mkdir(parents=True, exist_ok=True)
            (root / name).write_bytes(data)
        (root / "keys/k.pem").chmod(0o600)
        for name, data in (
            ("files/sha256/x", b"model"),
            ("metadata/1.root.json", b"{}"),
            (LAST, b'{"signed":{"version":1}}'),
        ):
            path = store.layout.repository / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        copy_repository(store.layout.repository, store.published)
        store.database.write(MEMBERS, [MEMBER])
        store.audit.record(AuditEntry(at=1.0, who="server", action="a", subject="s", detail={"k": "zażółć\n"}))


def tables_of(store: Store) -> dict[str, bytes]:
    found = {}
    with frozen(store.database) as connection:
        for name in table_names():
            file = io.BytesIO()
            dump_table(connection, name, file)
            lines = file.getvalue().splitlines(keepends=True)
            found[name] = b"".join(line for line in lines if b'"store.restored"' not in line)  # by a restore
    return found


def contents(root: Path) -> tuple[object, ...]:
    """Everything that a backup promises to keep."""
    with open_store(root) as store:
        blobs = {digest: store.blobs.read(digest) for digest in store.blobs.digests()}
        published = {path: b"".join(store.published.read(path)) for path, _ in store.published.list()}
        local = {
            path.relative_to(root).as_posix(): path.read_bytes()
            for name in ("snapshots", "runs", "keys", "repository")
            for path in (root / name).rglob("*")
            if path.is_file()
        }
        return tables_of(store), blobs, published, local


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("filled") / "store"
    fill(root)
    return root


@pytest.fixture
def store(filled: Path, tmp_path: Path) -> Path:
    return shutil.copytree(filled, tmp_path / "store")


def save(root: Path, target: Path, *, with_keys: bool = True) -> Path:
    with open_store(root) as store:
        back_up(store, target, with_keys=with_keys, now=5.0)
    return target


def kill_at(point: str, number: int = 1) -> Callable[[str], None]:
    seen = []

    def kill(reached: str) -> None:
        seen.append(reached)
        if seen.count(point) == number and reached == point:
            raise KilledError

    return kill


def test_a_restored_store_is_the_store(store: Path, tmp_path: Path) -> None:
    file = save(store, tmp_path / "b.tar")
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    made = restore(file, tmp_path / "new")
    assert (made.num_blobs, made.made_at, made.with_keys) == (NUM_SAMPLES, 5.0, True)
    assert contents(tmp_path / "new") == contents(store)
    assert stat.S_IMODE((tmp_path / "new" / "keys" / "k.pem").stat().st_mode) == 0o600
    assert stat.S_IMODE((tmp_path / "new" / "keys").stat().st_mode) == 0o700
    add_overlapping(tmp_path / "new", seed=2)
    assert contents(tmp_path / "new") == contents(store)


def test_keys_stay_unless_they_are_wanted(store: Path, tmp_path: Path) -> None:
    file = save(store, tmp_path / "b.tar", with_keys=False)
    restore(file, tmp_path / "new")
    assert not (tmp_path / "new" / "keys").exists()
    with tarfile.open(file) as tar:
        assert not [name for name in tar.getnames() if "keys" in name]


def test_what_comes_meanwhile_is_in_it_whole_or_not_at_all(store: Path, tmp_path: Path) -> None:
    """A sample whose row is saved has its picture, also when both came after the pictures had been copied."""

    def add_another(done: int, total: int | None) -> None:
        if done == total == NUM_SAMPLES:
            with open_store(store) as other:
                digest = other.blobs.put(b"late")
                record = SampleRecord(digest=digest, size_bytes=4, received_at=9.0, metadata=make_metadata())
                other.meta.add_samples((record,))

    with open_store(store) as opened:
        made = back_up(opened, tmp_path / "b.tar", with_keys=False, now=1.0, progress=add_another)
    assert made.num_blobs == NUM_SAMPLES + 1
    restore(tmp_path / "b.tar", tmp_path / "new")
    with open_store(tmp_path / "new") as found:
        assert {record.digest for record in found.meta.samples()} == set(found.blobs.digests())


def test_a_backup_that_was_killed_goes_on(store: Path, tmp_path: Path) -> None:
    def kill(done: int, total: int | None) -> None:
        if done == 40:
            raise KilledError

    with pytest.raises(KilledError), open_store(store) as opened:
        back_up(opened, tmp_path / "b.tar", with_keys=True, now=1.0, progress=kill)
    assert not (tmp_path / "b.tar").exists()
    part = tmp_path / "b.tar.part"
    part.write_bytes(part.read_bytes()[:-3000])
    read: list[int] = []
    with open_store(store) as opened:
        back_up(opened, tmp_path / "b.tar", with_keys=True, now=1.0, progress=lambda done, total: read.append(done))
    assert 20 < read[0] <= 40
    assert not part.exists()
    restore(tmp_path / "b.tar", tmp_path / "new")
    assert contents(tmp_path / "new") == contents(store)


def test_rubbish_of_another_program_is_not_taken_over(store: Path, tmp_path: Path) -> None:
    (tmp_path / "b.tar.part").write_bytes(b"rubbish" * 1000)
    restore(save(store, tmp_path / "b.tar"), tmp_path / "new")
    assert contents(tmp_path / "new") == contents(store)


def test_a_file_that_is_there_is_not_overwritten(store: Path, tmp_path: Path) -> None:
    save(store, tmp_path / "b.tar")
    with pytest.raises(UsageError, match="is there already"):
        save(store, tmp_path / "b.tar")


@pytest.mark.parametrize("share", [0.0, 0.1, 0.5, 0.9, 0.999])
def test_half_a_backup_is_none(store: Path, tmp_path: Path, share: float) -> None:
    file = save(store, tmp_path / "b.tar")
    with tarfile.open(file) as tar:
        manifest = tar.getmembers()[-1]
    assert manifest.name == "manifest.json"
    file.write_bytes(file.read_bytes()[: int((manifest.offset_data + manifest.size) * share)])
    with pytest.raises(FormatError, match=r"not a whole backup|is not a backup"):
        restore(file, tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_any_flipped_byte_of_content_is_seen_before_anything_is_written(store: Path, tmp_path: Path) -> None:
    file = save(store, tmp_path / "b.tar")
    data = file.read_bytes()
    with tarfile.open(file) as tar:
        spots = [(info.name, info.offset_data + info.size // 2) for info in tar if info.size]
    assert len(spots) > NUM_SAMPLES
    for name, spot in spots[::7] + spots[-12:]:
        file.write_bytes(data[:spot] + bytes([data[spot] ^ 1]) + data[spot + 1 :])
        with pytest.raises(FormatError):
            restore(file, tmp_path / "new")
        assert not (tmp_path / "new").exists(), name


def test_a_member_that_is_taken_out_is_missed(store: Path, tmp_path: Path) -> None:
    file = save(store, tmp_path / "b.tar")
    with tarfile.open(file) as tar:
        names = tar.getnames()
    for gone in (names[3], "tables/samples.jsonl", "files/runs/r/model.bin"):
        with tarfile.open(file) as tar, tarfile.open(tmp_path / "less.tar", "w") as less:
            for info in tar:
                if info.name != gone:
                    less.addfile(info, tar.extractfile(info))
        with pytest.raises(FormatError):
            verify(tmp_path / "less.tar")


@pytest.mark.parametrize(
    ("name", "message"),
    [("files/../../evil", "holds a file that no store has"), ("files/serve.lock", "holds a file that no store has")],
)
def test_a_backup_cannot_write_elsewhere(tmp_path: Path, name: str, message: str) -> None:
    from cloud_train.store.backup_file import BackupWriter

    writer = BackupWriter(tmp_path / "b.tar")
    writer.add(name, b"evil")
    writer.finish(made_at=1.0, revision="0002", with_keys=False)
    with pytest.raises(FormatError, match=message):
        restore(tmp_path / "b.tar", tmp_path / "a" / "b" / "new")
    assert not list(tmp_path.rglob("evil"))


def test_other_files_are_not_taken_for_backups(tmp_path: Path) -> None:
    with tarfile.open(tmp_path / "other.tar", "w") as tar:
        tar.addfile(tarfile.TarInfo("x"))
    (tmp_path / "text").write_text("hello")
    for file, message in (("other.tar", "is not a backup"), ("text", "not a whole backup")):
        with pytest.raises(FormatError, match=message):
            restore(tmp_path / file, tmp_path / "new")
    with pytest.raises(StorageError, match="cannot read"):
        restore(tmp_path / "nowhere", tmp_path / "new")


def test_only_an_empty_store_is_restored_into(store: Path, tmp_path: Path) -> None:
    file = save(store, tmp_path / "b.tar")
    before = contents(store)
    with pytest.raises(StorageError, match="is not empty"):
        restore(file, store)
    assert contents(store) == before
    (tmp_path / "new" / "runs" / "mine").mkdir(parents=True)
    with pytest.raises(StorageError, match="is not empty: it has runs"):
        restore(file, tmp_path / "new")


RESTORE_POINTS = (
    "restore.mark:after",
    "blob.put:after",
    "restore.file:before",
    "restore.file:after",
    "restore.done:before",
)


@pytest.mark.parametrize("point", RESTORE_POINTS)
def test_half_a_restore_does_not_open_and_the_same_command_finishes_it(store: Path, tmp_path: Path, point: str) -> None:
    file = save(store, tmp_path / "b.tar")
    durable.observe(kill_at(point))
    try:
        with pytest.raises(KilledError):
            restore(file, tmp_path / "new")
    finally:
        durable.observe(None)
    with pytest.raises(StorageError, match="was not finished"):
        open_store(tmp_path / "new")
    with pytest.raises(StorageError, match="another backup is being restored"):
        restore(save(store, tmp_path / "c.tar", with_keys=False), tmp_path / "new")
    restore(file, tmp_path / "new")
    assert not (tmp_path / "new" / RESTORE_MARK).exists()
    assert contents(tmp_path / "new") == contents(store)


def test_a_backup_of_an_older_schema_is_brought_up_to_date(tmp_path: Path) -> None:
    """What an edgeloop of schema 0001 would have written, had it known backups."""
    from sqlalchemy import MetaData

    from cloud_train.store.backup_file import BackupWriter

    shutil.copy(HERE.parent / "compat" / "store_v1.sqlite", tmp_path / "old.sqlite")
    old, tables = connect_database(tmp_path / "old.sqlite"), MetaData()
    tables.reflect(old.engine)
    writer = BackupWriter(tmp_path / "b.tar")
    with old.connect() as connection:
        for table in tables.sorted_tables:
            if table.name != "alembic_version":
                rows = [dict(row) for row in connection.execute(table.select()).mappings()]
                writer.add(f"tables/{table.name}.jsonl", b"".join(_line(row) for row in rows))
    writer.finish(made_at=1.0, revision="0001", with_keys=False)
    old.close()
    restore(tmp_path / "b.tar", tmp_path / "new")
    with (
        closing(open_meta_store(tmp_path / "new" / "meta.sqlite")) as meta,
        closing(open_meta_store(tmp_path / "old.sqlite")) as upgraded,
    ):
        assert len(meta.samples()) > 10
        for read in ("samples", "labels", "devices"):
            assert getattr(meta, read)() == getattr(upgraded, read)() != ()
        assert meta.releases("stable") == upgraded.releases("stable") != ()


def _line(row: dict[str, object]) -> bytes:
    import json

    return json.dumps(row).encode() + b"\n"


@pytest.mark.server
def test_a_store_moves_to_postgresql_and_s3_and_back(
    store: Path, postgres_url: str, s3_objects_url: str, tmp_path: Path
) -> None:
    far = tmp_path / "far"
    write_location(far, database=postgres_url, objects=s3_objects_url)
    restore(save(store, tmp_path / "b.tar"), far)
    assert contents(far) == contents(store)
    assert not (far / "meta.sqlite").exists()
    add_overlapping(far, seed=3)
    with open_store(far) as opened:  # new rows are numbered after those that came with their own
        opened.audit.record(AuditEntry(at=2.0, who="server", action="b", subject="s"))
    restore(save(far, tmp_path / "c.tar"), tmp_path / "back")
    assert contents(tmp_path / "back") == contents(far)
    with pytest.raises(StorageError, match="is not empty"):
        restore(tmp_path / "b.tar", far)


@pytest.mark.server
def test_a_restore_into_postgresql_that_is_killed_is_finished(
    store: Path, postgres_url: str, s3_objects_url: str, tmp_path: Path
) -> None:
    far, file = tmp_path / "far", save(store, tmp_path / "b.tar")
    write_location(far, database=postgres_url, objects=s3_objects_url)
    durable.observe(kill_at("restore.done:before"))
    try:
        with pytest.raises(KilledError):
            restore(file, far)
    finally:
        durable.observe(None)
    restore(file, far)
    assert contents(far) == contents(store)


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(edgeloop, ["store", *map(str, words)])
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        return 1, str(result.exception)
    return result.exit_code, result.output


def test_the_commands(store: Path, tmp_path: Path) -> None:
    assert run("check", "--store", store)[0] == 0
    assert run("backup", "--store", store, "--to", tmp_path / "b.tar", "--with-keys")[0] == 0
    assert run("init", "--store", tmp_path / "new")[0] == 0
    code, said = run("restore", tmp_path / "b.tar", "--store", tmp_path / "new")
    assert (code, "60 pictures" in said) == (0, True)
    assert run("check", "--store", tmp_path / "new", "--quick")[1].splitlines()[-1] == "whole"
    assert contents(tmp_path / "new") == contents(store)


def test_check_finds_what_is_missing_damaged_and_left_over(store: Path) -> None:
    with open_store(store) as opened:
        missing, damaged = sorted(opened.blobs.digests())[:2]
        opened.blobs.put(b"nothing names me")
        opened.blobs.shelve()
        opened.blobs.path(missing).unlink()
        opened.blobs.path(damaged).write_bytes(b"dama")
    code, said = run("check", "--store", store)
    assert code == 1
    assert said.splitlines() == [
        "60 samples, 0 pictures in snapshots",
        "60 pictures, 60 read, 1 that nothing names",
        f"missing  {missing}",
        f"damaged  {damaged}",
        "1 missing, 1 damaged",
    ]
    code, said = run("check", "--store", store, "--quick")
    assert (code, said.splitlines()[-1]) == (1, "1 missing, 0 damaged")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("check", "--store", "nowhere"), "is not a store"),
        (("backup", "--store", "nowhere", "--to", "b.tar"), "is not a store"),
        (("init", "--store", "s", "--database", "mysql://a:pw1@b/c"), "no store can lie in the database"),
        (("init", "--store", "s", "--database", "postgresql://a:pw1@127.0.0.1:9/c"), "cannot be reached"),
        (("init", "--store", "s", "--objects", "ftp://a"), "no store can lie at"),
    ],
)
def test_bad_input(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, words: tuple[str, ...], message: str) -> None:
    monkeypatch.chdir(tmp_path)
    code, said = run(*words)
    assert code == 1
    assert message in said
    assert "pw1" not in said
    assert list(tmp_path.iterdir()) == []

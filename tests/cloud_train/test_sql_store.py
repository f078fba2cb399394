"""The SQLAlchemy store: migrations, durability settings, what failures are called."""

from __future__ import annotations

import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest
from sample_values import make_metadata

from cloud_train.store.sql import open_meta_store
from cloud_train.types import SampleRecord
from edge.errors import StorageError

RECORD = SampleRecord(digest="a" * 64, size_bytes=1, received_at=1.0, metadata=make_metadata())


def test_a_commit_survives_a_power_cut(tmp_path: Path) -> None:
    store = open_meta_store(tmp_path / "meta.sqlite")
    with store.database.engine.connect() as connection:
        pragmas = [connection.exec_driver_sql(f"PRAGMA {name}").scalar() for name in ("journal_mode", "synchronous")]
    store.close()
    assert pragmas == ["wal", 2]


def test_migrations_make_exactly_the_declared_tables(tmp_path: Path) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from cloud_train.store.tables import TABLES

    store = open_meta_store(tmp_path / "meta.sqlite")
    with store.database.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, TABLES) == []
    store.close()


def test_a_kill_inside_a_migration_is_harmless(tmp_path: Path) -> None:
    code = """
import os, sys
from pathlib import Path
from alembic import op
import cloud_train.store.migrations.versions.v0001_first as first
tables, create = [], op.create_table
def create_table(*args, **kwargs):
    tables.append(args[0])
    if len(tables) == 3:
        os._exit(9)
    return create(*args, **kwargs)
op.create_table = create_table
from cloud_train.store.sql import open_meta_store
open_meta_store(Path(sys.argv[1]))
"""
    path = tmp_path / "meta.sqlite"
    killed = subprocess.run([sys.executable, "-c", code, str(path)], check=False)
    assert killed.returncode == 9
    store = open_meta_store(path)
    store.add_samples((RECORD,))
    assert store.samples() == (RECORD,)
    store.close()


def test_two_processes_may_open_a_new_store_at_once(tmp_path: Path) -> None:
    code = "import pathlib, sys; from cloud_train.store import sql; sql.open_meta_store(pathlib.Path(sys.argv[1]))"
    path = tmp_path / "store" / "meta.sqlite"
    runs = [subprocess.Popen([sys.executable, "-c", code, str(path)]) for _ in range(3)]
    assert [run.wait() for run in runs] == [0, 0, 0]


def test_a_store_of_a_newer_edgeloop_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite"
    open_meta_store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE alembic_version SET version_num = '9999'")
    connection.close()
    with pytest.raises(StorageError, match=r"newer edgeloop \(update edgeloop\)"):
        open_meta_store(path)


@pytest.mark.parametrize(
    "content", [b"this is not a database, but it is long enough" * 50, b"SQLite format 3\x00" + b"\x07" * 4096]
)
def test_a_damaged_file_is_told_and_left_alone(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "meta.sqlite"
    path.write_bytes(content)
    with pytest.raises(StorageError, match=r"(is not a database|is damaged) \(restore it from a backup"):
        open_meta_store(path)
    assert path.read_bytes() == content


def test_a_locked_database_is_told(tmp_path: Path) -> None:
    path = tmp_path / "meta.sqlite"
    store = open_meta_store(path)
    with store.database.engine.connect() as connection:
        connection.exec_driver_sql("PRAGMA busy_timeout=50")
    other = sqlite3.connect(path, isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    with pytest.raises(StorageError, match="locked by another process"):
        store.add_samples((RECORD,))
    other.execute("ROLLBACK")
    other.close()
    store.add_samples((RECORD,))
    assert store.samples() == (RECORD,)
    store.close()


def test_a_full_database_is_told_and_nothing_is_half_written(tmp_path: Path) -> None:
    store = open_meta_store(tmp_path / "meta.sqlite")
    with store.database.engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()
        connection.exec_driver_sql(f"PRAGMA max_page_count={pages}")
    many = tuple(
        SampleRecord(digest=f"{number:064x}", size_bytes=1, received_at=1.0, metadata=make_metadata(source="x" * 400))
        for number in range(500)
    )
    with pytest.raises(StorageError, match="the disk is full"):
        store.add_samples(many)
    assert store.samples() == ()
    store.close()

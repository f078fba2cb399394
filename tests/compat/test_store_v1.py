"""A store of schema 0001 opens for ever, with everything in it, on both databases."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from make_store_v1 import devices, labels, records, releases

from cloud_train.store.database import connect_database
from cloud_train.store.sql import open_meta_store
from cloud_train.types import DeviceRecord
from edge import jsonvalue

HERE = Path(__file__).resolve().parent
FILE = HERE / "store_v1.sqlite"


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Path | str:
    """A database of schema 0001."""
    path = tmp_path / "meta.sqlite"
    shutil.copy(FILE, path)
    if request.param == "sqlite":
        return path
    url = request.getfixturevalue("postgres_url")
    load(path, url)
    return url


def load(path: Path, url: str) -> None:
    """Copies the rows of the file into an empty database of the same schema."""
    from sqlalchemy import MetaData

    source, target = connect_database(path), connect_database(url)
    target.migrate("0001")
    tables = MetaData()
    tables.reflect(target.engine)
    with source.connect() as rows, target.connect(writes=True) as connection:
        for table in tables.sorted_tables:
            if table.name != "alembic_version":
                found = rows.exec_driver_sql(f"SELECT * FROM {table.name}").mappings()  # noqa: S608 - our own names
                connection.execute(table.insert(), [dict(row) for row in found])
    for database in (source, target):
        database.close()


def test_the_file_is_of_schema_0001() -> None:
    with closing(sqlite3.connect(f"file:{FILE}?immutable=1", uri=True)) as db:
        assert db.execute("SELECT version_num FROM alembic_version").fetchall() == [("0001",)]
        tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    assert tables == {"alembic_version", "samples", "labels", "devices", "releases"}


def test_the_values_are_those_that_were_written() -> None:
    written = json.loads((HERE / "store_v1.json").read_bytes())
    assert jsonvalue.to_json(records()) == [
        {**row, "checked_at": None, "fault": ""} for row in written["samples"]
    ]  # fmt: skip
    assert jsonvalue.to_json(labels()) == written["labels"]
    assert jsonvalue.to_json(releases()) == written["releases"]


def test_a_store_of_schema_0001_opens_with_everything_in_it(place: Path | str) -> None:
    for _ in range(2):
        with closing(open_meta_store(place)) as store:
            assert store.samples() == records()
            assert store.labels() == labels()
            assert store.devices() == devices()
            assert store.releases("stable") == releases()
            assert store.known(record.digest for record in records()) == {record.digest for record in records()}


def test_it_is_written_to_as_a_new_one(place: Path | str) -> None:
    with closing(open_meta_store(place)) as store:
        store.record_device(DeviceRecord(**{**_fields(devices()[0]), "on_trial": True, "rejected": ("ab" * 32,)}))
        assert store.add_samples(records()) == frozenset()
        assert [device.rejected for device in store.devices()] == [("ab" * 32,), ()]
        assert len(store.samples()) == len(records())


def test_its_tables_become_the_declared_ones(place: Path | str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    from cloud_train.store.tables import TABLES

    with closing(open_meta_store(place)) as store, store.database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), TABLES) == []


def _fields(device: DeviceRecord) -> dict[str, object]:
    from cloud_train.store.rows import fields_of

    return fields_of(device)

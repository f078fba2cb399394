"""The store on a real PostgreSQL: migrations, conflicts, restarts, what failures are called."""

from __future__ import annotations

import dataclasses
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from postgres_server import PASSWORD, PostgresServer, free_port
from sample_values import make_metadata

from cloud_train.fleet_types import AuditEntry
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import Database, open_database
from cloud_train.store.rows import fields_of
from cloud_train.store.sql import SqlMetaStore, open_meta_store
from cloud_train.store.tables import AUDIT, DEVICES, MEMBERS, RELEASES, TABLES
from cloud_train.types import DeviceRecord, SampleRecord
from edge.errors import StorageError

pytestmark = pytest.mark.server

RECORD = SampleRecord(digest="a" * 64, size_bytes=1, received_at=1.0, metadata=make_metadata())
MEMBER = {"device_id": RECORD.metadata.device_id, "labels": {"store": "17"}, "channel": "stable", "enrolled_at": 1.0}
MEMBER |= {"revoked_at": None, "pinned": "", "held": True, "update_windows": ""}


def name_of(url: str) -> str:
    return url.rsplit("/", 1)[1]


def test_migrations_make_exactly_the_declared_tables(postgres_url: str) -> None:
    from alembic.autogenerate import compare_metadata
    from alembic.migration import MigrationContext

    database = open_database(postgres_url)
    with database.connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts={"compare_type": True}), TABLES) == []
    database.close()


def test_several_processes_may_open_a_new_database_at_once(postgres_url: str) -> None:
    code = "import sys; from cloud_train.store.database import open_database; open_database(sys.argv[1])"
    runs = [subprocess.Popen([sys.executable, "-c", code, postgres_url]) for _ in range(4)]
    assert [run.wait() for run in runs] == [0] * 4


def test_a_kill_inside_a_migration_is_harmless(postgres_url: str) -> None:
    code = """
import os, sys
from alembic import op
tables, create = [], op.create_table
def create_table(*args, **kwargs):
    tables.append(args[0])
    if len(tables) == 6:
        os._exit(9)
    return create(*args, **kwargs)
op.create_table = create_table
from cloud_train.store.database import open_database
open_database(sys.argv[1])
"""
    assert subprocess.run([sys.executable, "-c", code, postgres_url], check=False).returncode == 9
    store = open_meta_store(postgres_url)
    store.add_samples((RECORD,))
    assert store.samples() == (RECORD,)
    store.close()


def test_a_database_of_a_newer_edgeloop_is_left_alone(postgres_url: str, postgres_server: PostgresServer) -> None:
    open_database(postgres_url).close()
    postgres_server.sql(name_of(postgres_url), "UPDATE alembic_version SET version_num = '9999'")
    with pytest.raises(StorageError, match=r"newer edgeloop \(update edgeloop\)"):
        open_database(postgres_url)


def test_a_commit_waits_for_the_disk(postgres_url: str) -> None:
    database = open_database(postgres_url)
    with database.connect(writes=True) as connection:
        assert connection.exec_driver_sql("SHOW synchronous_commit").scalar() == "on"
        assert connection.exec_driver_sql("SHOW transaction_isolation").scalar() == "read committed"
    database.close()


def test_values_come_back_as_they_went_in(postgres_url: str) -> None:
    database = open_database(postgres_url)
    release = {"channel": "c", "bundle_digest": "b" * 64, "name": "zażółć 🦊 '\"%s", "version": 2**40}
    database.write(RELEASES, [{**release, "metadata_version": 2**33, "published_at": 1_700_000_000.123456}])
    device = DeviceRecord(
        device_id="d", last_seen=1.5, bundle_digest="", bundle_version=2**53, frames=2**53, last_error="x" * 5000
    )
    database.write(DEVICES, [fields_of(dataclasses.replace(device, on_trial=True, rejected=("a", "b")))], replace=True)
    database.write(MEMBERS, [MEMBER])
    assert database.read(RELEASES.select())[0] == {
        "id": 1, **release, "metadata_version": 2**33, "published_at": 1_700_000_000.123456
    }  # fmt: skip
    found = database.read(DEVICES.select())[0]
    assert (found["on_trial"], found["rejected"], found["frames"]) == (True, ["a", "b"], 2**53)
    assert database.read(MEMBERS.select())[0] == MEMBER
    database.close()


def test_a_restart_of_the_server_is_not_noticed(postgres_url: str, postgres_server: PostgresServer) -> None:
    store = open_meta_store(postgres_url)
    store.add_samples((RECORD,))
    postgres_server.stop()
    with pytest.raises(StorageError, match="cannot be reached") as caught:
        store.add_samples((dataclasses.replace(RECORD, digest="b" * 64),))
    assert PASSWORD not in str(caught.value)
    postgres_server.start()
    store.add_samples((dataclasses.replace(RECORD, digest="c" * 64),))
    assert {record.digest[0] for record in store.samples()} == {"a", "c"}
    store.close()


def test_a_restart_in_the_middle_of_a_transaction_writes_nothing(
    postgres_url: str, postgres_server: PostgresServer
) -> None:
    database = open_database(postgres_url)

    def broken_off() -> None:
        with database.connect(writes=True) as connection:
            connection.execute(MEMBERS.insert(), [MEMBER])
            postgres_server.stop()
            postgres_server.start()
            connection.execute(MEMBERS.select())

    with pytest.raises(StorageError, match=r"is shutting down|cannot be reached"):
        broken_off()
    assert database.read(MEMBERS.select()) == []
    database.close()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"password": "wrong"}, "refuses the user or the password"),
        ({"user": "nobody"}, "refuses the user or the password"),
        ({"database": "missing"}, "does not exist"),
        ({"port": 0}, "cannot be reached"),
    ],
)
def test_what_cannot_be_opened_is_told_without_the_password(
    postgres_server: PostgresServer, change: dict[str, str], message: str
) -> None:
    server = dataclasses.replace(postgres_server, port=free_port()) if "port" in change else postgres_server
    user, word = change.get("user", "edgeloop"), change.get("password", PASSWORD)
    url = server.url(change.get("database", "postgres"), user=user, password=word)
    with pytest.raises(StorageError, match=message) as caught:
        open_database(f"{url}?options=-csearch_path%3D{PASSWORD}")
    assert "\n" not in str(caught.value)
    assert word not in str(caught.value)
    assert PASSWORD not in str(caught.value)
    assert caught.value.hint


def test_writers_that_are_alone_never_lose_an_update(postgres_url: str) -> None:
    """Reads a number, adds one, writes it: what a rollout's next step does."""
    database = open_database(postgres_url)
    database.write(MEMBERS, [{**MEMBER, "enrolled_at": 0.0}])

    def add_one(_: int) -> None:
        with database.connect(writes=True) as connection:
            before = connection.execute(MEMBERS.select()).mappings().one()["enrolled_at"]
            connection.execute(MEMBERS.update().values(enrolled_at=before + 1.0))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add_one, range(80)))
    assert database.read(MEMBERS.select())[0]["enrolled_at"] == 80.0
    database.close()


def test_a_deadlock_is_tried_again(postgres_url: str) -> None:
    database = open_database(postgres_url)
    database.write(MEMBERS, [{**MEMBER, "device_id": name} for name in "ab"])
    both, attempts = threading.Barrier(2, timeout=20), [0]

    def update(first: str, second: str) -> None:
        waited = []

        def work(connection) -> None:
            attempts[0] += 1
            connection.execute(MEMBERS.update().where(MEMBERS.c.device_id == first).values(pinned=first))
            if not waited:
                waited.append(both.wait())
            connection.execute(MEMBERS.update().where(MEMBERS.c.device_id == second).values(pinned=first))

        database.transact(work, alone=False)

    with ThreadPoolExecutor(2) as pool:
        for done in [pool.submit(update, "a", "b"), pool.submit(update, "b", "a")]:
            done.result()
    assert attempts[0] == 3
    assert len({row["pinned"] for row in database.read(MEMBERS.select())}) == 1
    database.close()


def test_no_sample_is_taken_after_its_device_was_shut_out(postgres_url: str) -> None:
    """A sample that is being written holds the revocation back, so that the two have an order."""
    store = open_meta_store(postgres_url)
    store.database.write(MEMBERS, [MEMBER])
    began = threading.Event()

    def revoke() -> float:
        began.wait(20)
        with store.database.connect(writes=True) as connection:
            connection.execute(MEMBERS.update().values(revoked_at=2.0))
        return time.monotonic()

    with ThreadPoolExecutor(1) as pool:
        revoked = pool.submit(revoke)
        with store.database.connect(writes=True, alone=False) as connection:
            held = MEMBERS.select().with_for_update(read=True)
            assert connection.execute(held).mappings().one()["revoked_at"] is None
            began.set()
            time.sleep(0.3)
            assert not revoked.done()
            committed = time.monotonic()
        assert revoked.result() >= committed
    assert store.add_samples((RECORD,)) == {RECORD.digest}
    assert store.samples() == ()
    store.close()


ADD = """
import sys
from cloud_train.store.opened import open_store
sys.path.insert(0, sys.argv[1])
from pathlib import Path
from overlapping import add_overlapping
add_overlapping(Path(sys.argv[2]), seed=int(sys.argv[3]))
"""


def test_processes_that_add_the_same_samples_record_each_once(
    postgres_url: str, s3_objects_url: str, tmp_path: Path
) -> None:
    from overlapping import NUM_SAMPLES, payload

    from cloud_train.store.location import write_location
    from cloud_train.store.opened import open_store

    roots = [tmp_path / f"server-{number}" for number in range(3)]
    for root in roots:
        write_location(root, database=postgres_url, objects=s3_objects_url)
    here = str(Path(__file__).parent.parent)
    runs = [
        subprocess.Popen([sys.executable, "-c", ADD, here, str(root), str(number)]) for number, root in enumerate(roots)
    ]
    assert [run.wait(120) for run in runs] == [0] * 3
    with open_store(roots[0]) as store:
        records, audit = store.meta.samples(), store.database.read(AUDIT.select())
        assert len(records) == NUM_SAMPLES
        assert sorted(entry["subject"] for entry in audit) == sorted(f"sample:{record.digest}" for record in records)
        assert sorted(store.blobs.digests()) == sorted(record.digest for record in records)
        assert {store.blobs.read(record.digest) for record in records} == {payload(n) for n in range(NUM_SAMPLES)}


def test_the_audit_has_room_for_more_than_four_billion(postgres_url: str, postgres_server: PostgresServer) -> None:
    database = open_database(postgres_url)
    postgres_server.sql(name_of(postgres_url), "SELECT setval(pg_get_serial_sequence('audit', 'id'), 5000000000)")
    entry = AuditEntry(at=1.0, who="server", action="a", subject="s", detail={"k": "v"})
    SqlAuditLog(database).record(entry)
    assert SqlAuditLog(database).newest() == (entry,)
    assert database.read(AUDIT.select())[0]["id"] == 5_000_000_001
    database.close()


def test_a_hanging_writer_is_told_of_and_not_waited_for_without_end(postgres_url: str) -> None:
    holder, other = open_database(postgres_url), open_database(postgres_url)
    with other.connect() as connection:
        assert connection.exec_driver_sql("SHOW lock_timeout").scalar() == "10s"
        assert connection.exec_driver_sql("SHOW idle_in_transaction_session_timeout").scalar() == "1min"
    with holder.connect(writes=True), pytest.raises(StorageError, match="is locked by another process"):
        _write_at_once(other)
    _write_at_once(other)
    for database in (holder, other):
        database.close()


def _write_at_once(database: Database) -> None:
    from sqlalchemy import event

    def impatient(connection, _record) -> None:
        connection.execute("SET lock_timeout = 100")

    event.listen(database.engine, "checkout", lambda connection, record, _proxy: impatient(connection, record))
    with database.connect(writes=True):
        pass


def test_the_store_is_the_same_through_either_door(postgres_url: str) -> None:
    first, second = open_meta_store(postgres_url), SqlMetaStore(open_database(postgres_url))
    first.add_samples((RECORD,))
    assert second.samples() == (RECORD,)
    for store in (first, second):
        store.close()

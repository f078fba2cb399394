"""What the pages read: pages by key against a plain oracle, filters, counts, and the indexes that they go by."""

from __future__ import annotations

import dataclasses
import itertools
import re
from collections import Counter
from collections.abc import Iterator

import pytest

from benchmarks.fleet_store import NEW, OLD, OLDER, device_name, fill_fleet
from cloud_train.api.chart import hour_chart
from cloud_train.api.counts import fleet_counts
from cloud_train.store.audit_list import AuditList, audit_query
from cloud_train.store.database import Database, open_database
from cloud_train.store.device_list import DeviceList
from cloud_train.store.device_queries import (
    count_query,
    detail_query,
    groups_query,
    hours_query,
    page_query,
    place_of,
    times,
)
from cloud_train.store.device_rows import After, DeviceFilter, DeviceRow, Health, Sort
from cloud_train.store.tables import DEVICES, MEMBERS

NOW = 1_800_000_000.0
DEVICES_NUM, SILENT_S = 700, 900.0
UNSEEN = ("aaa-first", "zzz-last")


def fill(database: Database) -> None:
    fill_fleet(database, devices=DEVICES_NUM, with_hours=70, hours=48, now=NOW)
    plain = {"labels": {"store": "9000"}, "channel": "", "enrolled_at": NOW, "pinned": "", "held": False}
    rows = [{**plain, "device_id": name, "revoked_at": None, "update_windows": ""} for name in UNSEEN]
    database.write(MEMBERS, [*rows, {**rows[0], "device_id": "gone-before", "revoked_at": NOW}])
    stranger = {"device_id": "stranger", "last_seen": NOW, "bundle_digest": OLD, "bundle_version": 2, "frames": 1}
    wrong = {"device_id": "wrong-clock", "last_seen": NOW, "bundle_digest": "", "bundle_version": 0, "frames": 1}
    database.write(DEVICES, [{**stranger, "last_error": "50% \\ _ 'quoted'"}])
    database.write(DEVICES, [{**wrong, "last_error": "", "clock_skew_s": -400.0}])


@pytest.fixture(scope="module", params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def database(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    if request.param == "sqlite":
        opened = open_database(tmp_path_factory.mktemp("list") / "meta.sqlite")
    else:
        server = request.getfixturevalue("postgres_server")
        opened = open_database(server.new_database())
    fill(opened)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def devices(database: Database) -> DeviceList:
    return DeviceList(database, silent_after_s=SILENT_S)


def oracle(database: Database) -> dict[str, tuple[dict | None, dict | None]]:
    """What is known of each device, by two plain reads."""
    members = {row["device_id"]: row for row in database.read(MEMBERS.select())}
    seen = {row["device_id"]: row for row in database.read(DEVICES.select())}
    return {name: (members.get(name), seen.get(name)) for name in members.keys() | seen.keys()}


def health_of(member: dict | None, seen: dict | None) -> Health:
    if member is not None and member["revoked_at"] is not None:
        return Health.REVOKED
    if seen is None:
        return Health.UNSEEN
    if seen["last_seen"] < NOW - SILENT_S:
        return Health.SILENT
    if seen["last_error"] or abs(seen["clock_skew_s"]) > 300:
        return Health.TROUBLE
    return Health.TRIAL if seen["on_trial"] else Health.WELL


def walked(devices: DeviceList, wanted: DeviceFilter, sort: Sort, *, size: int = 97) -> list[DeviceRow]:
    rows: list[DeviceRow] = []
    after: After | None = None
    for _ in itertools.count():
        page = devices.page(wanted, sort=sort, after=after, now=NOW, size=size)
        assert len(page.rows) <= size
        rows += page.rows
        after = page.next
        if after is None:
            assert devices.count(wanted, now=NOW) == len(rows)
            return rows
    raise AssertionError


@pytest.mark.parametrize("sort", Sort)
def test_pages_hold_every_device_once_and_in_order(database: Database, devices: DeviceList, sort: Sort) -> None:
    rows = walked(devices, DeviceFilter(), sort)
    assert Counter(row.device_id for row in rows) == dict.fromkeys(oracle(database), 1)
    keys = [getattr(row, sort.column) for row in rows]
    for before, then in itertools.pairwise(zip(keys, (row.device_id for row in rows), strict=True)):
        beyond = before[0] > then[0] if sort.is_down else before[0] < then[0]
        assert beyond or (before[0] == then[0] and before[1] < then[1])


def test_every_row_says_what_is_known(database: Database, devices: DeviceList) -> None:
    known = oracle(database)
    for row in walked(devices, DeviceFilter(), Sort.NAME):
        member, seen = known[row.device_id]
        assert row.health is health_of(member, seen)
        assert row.labels == (member["labels"] if member else {})
        assert (row.pinned, row.held) == ((member["pinned"], member["held"]) if member else ("", False))
        assert row.bundle_digest == (seen["bundle_digest"] if seen else "")
        assert row.outbox_pending == (seen["outbox_pending"] if seen else 0)


FILTERS = {
    "text in the name": (DeviceFilter(text="KIOSK-0001"), lambda m, s: "kiosk-0001" in (m or s)["device_id"]),
    "text in an error": (DeviceFilter(text="Outbox"), lambda m, s: bool(s) and "outbox" in s["last_error"]),
    "a percent sign is itself": (DeviceFilter(text="0% \\"), lambda m, s: bool(s) and "0% \\" in s["last_error"]),
    "an underscore is itself": (DeviceFilter(text="_"), lambda m, s: bool(s) and "_" in s["last_error"]),
    "a quote is itself": (DeviceFilter(text="'quoted'"), lambda m, s: bool(s) and "'quoted'" in s["last_error"]),
    "a label": (DeviceFilter(label="store", label_value="17"), lambda m, s: bool(m) and m["labels"]["store"] == "17"),
    "any value of a label": (DeviceFilter(label="kind"), lambda m, s: bool(m) and "kind" in m["labels"]),
    "no such label": (DeviceFilter(label="nothing"), lambda m, s: False),
    "an odd label": (DeviceFilter(label="store", label_value="' or 1=1 --"), lambda m, s: False),
    "a bundle": (DeviceFilter(bundle=NEW), lambda m, s: bool(s) and s["bundle_digest"] == NEW),
    "the beginning of one": (DeviceFilter(bundle=OLDER[:5]), lambda m, s: bool(s) and s["bundle_digest"] == OLDER),
    "all of it": (
        DeviceFilter(text="kiosk", label="kind", label_value="till", bundle=OLD, health=Health.WELL),
        lambda m, s: m and s and m["labels"].get("kind") == "till" and s["bundle_digest"] == OLD
        and health_of(m, s) is Health.WELL,
    ),
    **{
        f"health {health.value}": (DeviceFilter(health=health), lambda m, s, health=health: health_of(m, s) is health)
        for health in Health
    },
}  # fmt: skip


@pytest.mark.parametrize(("wanted", "fits"), FILTERS.values(), ids=FILTERS.keys())
def test_filters_let_through_what_they_say(database: Database, devices: DeviceList, wanted, fits) -> None:
    found = [row.device_id for row in walked(devices, wanted, Sort.LAST_SEEN_DOWN, size=23)]
    assert sorted(found) == sorted(name for name, known in oracle(database).items() if fits(*known))


def test_the_counts_are_those_of_the_list(database: Database, devices: DeviceList) -> None:
    counts = fleet_counts(devices.groups(now=NOW))
    known = oracle(database)
    assert counts.devices == len(known)
    assert counts.health == {one: sum(health_of(*two) is one for two in known.values()) for one in Health}
    welcome = [seen for member, seen in known.values() if health_of(member, seen) is not Health.REVOKED]
    assert sum(counts.seen) == len(welcome)
    assert counts.seen[0] == sum(bool(seen) and seen["last_seen"] >= NOW - 300 for seen in welcome)
    running = Counter(seen["bundle_digest"] if seen else "" for seen in welcome)
    assert {one.bundle_digest: one.devices for one in counts.bundles} == running
    assert type(counts.outbox_pending) is int
    assert counts.outbox_pending == sum(seen["outbox_pending"] for _, seen in known.values() if seen)


def test_one_device(database: Database, devices: DeviceList) -> None:
    for name, (member, seen) in itertools.islice(oracle(database).items(), 0, None, 50):
        detail = devices.find(name, now=NOW)
        assert detail is not None
        assert detail.row.device_id == name
        assert (detail.status is None) == (seen is None)
        assert detail.enrolled_at == (member["enrolled_at"] if member else None)
    for name in (*UNSEEN, "gone-before", "stranger", "wrong-clock"):
        assert devices.find(name, now=NOW) is not None
    assert devices.find("nobody", now=NOW) is None


def test_hours_are_those_of_one_device(devices: DeviceList) -> None:
    last = int(NOW // 3600)
    hours = devices.hours(device_name(0), since=last - 9)
    assert [hour.hour for hour in hours] == list(range(last - 9, last + 1))
    assert all(hour.frames == hour.accepted + hour.confirmed + hour.unknown for hour in hours)
    numbers = [value for hour in hours for value in dataclasses.astuple(hour) if not isinstance(value, str)]
    assert {type(number) for number in numbers} == {int}
    assert hour_chart(hours, last=last, num_hours=24).bars
    assert devices.hours("nobody", since=0) == ()


def test_bundles_have_names(devices: DeviceList) -> None:
    assert devices.bundle_names([OLD, NEW, "f" * 64]) == {OLD: "shelf 2", NEW: "shelf 3"}
    assert devices.bundle_names([]) == {}
    assert [one.title for one in devices.newest_bundles(limit=2)] == ["shelf 3", "shelf 2"]
    assert devices.knows_bundle(OLDER)
    assert not devices.knows_bundle("f" * 64)


def test_the_audit_goes_by_pages(database: Database) -> None:
    audit = AuditList(database)
    entries, before = [], None
    while True:
        page = audit.page(before=before, size=101)
        entries += page.entries
        before = page.next
        if before is None:
            break
    assert len(entries) == DEVICES_NUM
    assert [entry.at for entry in entries] == sorted((entry.at for entry in entries), reverse=True)
    about = audit.page(subject=f"device:{device_name(7)}")
    assert [entry.subject for entry in about.entries] == [f"device:{device_name(7)}"]
    assert {entry.action for entry in audit.page(action="enrol.admitted").entries} == {"enrol.admitted"}


TIMES = times(NOW, NOW - SILENT_S)
PLANS = {
    "by name": (
        page_query(DeviceFilter(), sort=Sort.NAME, begins=True, size=101),
        place_of(After(value="k", device_id="k")),
    ),
    "by last seen": (
        page_query(DeviceFilter(), sort=Sort.LAST_SEEN_DOWN, begins=True, size=101),
        place_of(After(value=NOW, device_id="k")),
    ),
    "of a bundle": (page_query(DeviceFilter(bundle=NEW), sort=Sort.OUTBOX, begins=False, size=101), {}),
    "count of a bundle": (count_query(DeviceFilter(bundle=NEW)), {}),
    "one device": (detail_query(), {"only": "kiosk-00001"}),
    "hours": (hours_query(), {"only": "kiosk-00001", "since": 0}),
    "audit": (audit_query(before=5, subject="", action="", size=101), {}),
    "audit of a subject": (audit_query(before=None, subject="device:x", action="", size=101), {}),
    "audit of an action": (audit_query(before=9, subject="", action="x", size=101), {}),
}


@pytest.mark.parametrize(("query", "values"), PLANS.values(), ids=PLANS.keys())
def test_no_page_reads_the_whole_fleet(empty: Database, query, values) -> None:
    plan = explained(empty, query, values)
    assert any("SEARCH" in line for line in plan)
    scanned = {match[1] for line in plan if (match := re.match(r"SCAN (\w+)", line))}
    # Members that never checked in are found by a walk over the members; every other table goes by an index.
    assert scanned & {"devices", "bundle_hours", "audit"} == set(), plan


def test_the_counts_read_the_devices_once(empty: Database) -> None:
    plan = explained(empty, groups_query(), {})
    assert sum(line.startswith("SCAN devices") for line in plan) == 1, plan
    assert not any("AUTOMATIC" in line for line in plan), plan


@pytest.fixture(scope="module")
def empty(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    with_tables = open_database(tmp_path_factory.mktemp("plans") / "meta.sqlite")
    yield with_tables
    with_tables.close()


def explained(database: Database, query, values: dict) -> list[str]:
    """How SQLite would go about the very statement that the pages send."""
    compiled = query.params({**TIMES, **values}).compile(database.engine, compile_kwargs={"render_postcompile": True})
    with database.connect() as connection:
        given = tuple(compiled.params[name] for name in compiled.positiontup)
        return [row[3] for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {compiled}", given)]

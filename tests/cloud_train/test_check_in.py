"""A check-in: what is written down, what is not believed, what is answered."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest
from rollout_values import BASE, NEW, START, make_hour, make_status

from cloud_train.fleet.channels import ChannelBook
from cloud_train.fleet.check_in import Channel, CheckInParts, CheckInRules, check_in, crashes_of, device_of
from cloud_train.fleet_types import Member
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.check_ins import SqlCheckInStore
from cloud_train.store.database import open_database
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.published import PublishedFolder
from cloud_train.store.sql import SqlMetaStore
from edge.errors import StorageError

HOUR = int(START // 3600)


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def database(request, tmp_path):
    place = tmp_path / "meta.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url")
    made = open_database(place)
    yield made
    made.close()


def parts(database, channel=None):
    found = channel or Channel(settled=BASE, offered=frozenset((BASE,)))
    return CheckInParts(
        store=SqlCheckInStore(database),
        read_channel=lambda name: found,
        rules=CheckInRules(channel="stable", check_in_s=30.0),
    )


def test_everything_a_device_says_is_written_down(database):
    status = make_status(
        "kiosk-1",
        outbox_pending=4,
        outbox_bytes=5,
        outbox_parked=6,
        starts=7,
        unclean_starts=2,
        on_trial=True,
        rejected=(NEW,),
        clock=START + 12.5,
        platform="aarch64 linux",
        last_error="no camera",
    )
    check_in(status, parts(database), now=START, takes_strangers=True)
    device = SqlMetaStore(database).devices()[0]
    assert device == device_of(status, now=START)
    assert (device.clock_skew_s, device.rejected, device.on_trial, device.last_seen) == (12.5, (NEW,), True, START)


def test_a_stranger_becomes_a_member_where_that_is_allowed(database):
    check_in(make_status("a"), parts(database), now=START)
    check_in(make_status("b"), parts(database), now=START, takes_strangers=True)
    check_in(make_status("b"), parts(database), now=START + 1, takes_strangers=True)
    from cloud_train.store.members import SqlFleetStore

    fleet = SqlFleetStore(database)
    assert fleet.member("a") is None
    assert fleet.member("b") == Member(device_id="b", enrolled_at=START)
    assert [entry.subject for entry in SqlAuditLog(database).newest(action="device.taken_in")] == ["device:b"]


def test_the_channel_and_windows_of_the_member_are_told(database):
    from cloud_train.store.members import MemberChange, SqlFleetStore

    check_in(make_status("a"), parts(database), now=START, takes_strangers=True)
    from cloud_train.fleet_types import AuditEntry

    entry = AuditEntry(at=START, who="person:ada", action="device.changed", subject="device:a")
    SqlFleetStore(database).change("a", MemberChange(channel="beta", update_windows="22:00-06:00", pinned=NEW), entry)
    directive = check_in(make_status("a"), parts(database), now=START)
    assert (directive.channel, directive.bundle_digest) == ("beta", NEW)
    assert (directive.update_windows, directive.check_in_s) == ("22:00-06:00", 30.0)


def quiet_hour(**fields):
    """One whose answers are not counted by outcome."""
    return make_hour(accepted=0, confirmed=0, unknown=0, **fields)


def test_the_newest_word_about_an_hour_counts_and_runs_add_up(database):
    hours = SqlHourStore(database)
    first, again = quiet_hour(frames=10), quiet_hour(frames=30, classes={"tea": 30})
    for said in (first, again, again, quiet_hour(frames=5, run="0000ffff")):
        check_in(make_status("a", hours=(said,)), parts(database), now=START)
    rows = hours.figures(BASE, ["a"], since=HOUR, until=HOUR)
    assert sorted(row.frames for row in rows) == [5, 30]
    seen = hours.histograms(BASE, since=HOUR, until=HOUR)
    assert (seen.devices, seen.frames, seen.classes) == (1, 35, {"tea": 30})


def test_hours_that_cannot_be_true_are_dropped_and_counted(database):
    said = tuple(make_hour(hour=HOUR + delta) for delta in (-24 * 31, -24 * 30, -1, 0, 24, 25, 24 * 365 * 100))
    check_in(make_status("a", hours=said), parts(database), now=START)
    rows = SqlHourStore(database).figures(BASE, ["a"], since=0, until=10**9)
    assert sorted(row.hour - HOUR for row in rows) == [-720, -1, 0, 24]
    assert SqlMetaStore(database).devices()[0].last_error.startswith("3 hours of statistics were not taken")


def test_check_ins_at_the_same_time_lose_nothing(database):
    """Two that are one device (a clone, or a call that came twice), and others beside them."""

    def speak(number):
        device = "twice" if number % 2 else f"k{number}"
        status = make_status(device, frames=number, hours=(quiet_hour(frames=number, run=f"{number:08x}"),))
        check_in(status, parts(database), now=START + number, takes_strangers=True)

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(speak, range(24)))
    devices = SqlMetaStore(database).devices()
    assert [device.device_id for device in devices] == sorted(["twice", *(f"k{n}" for n in range(0, 24, 2))])
    rows = SqlHourStore(database).figures(BASE, [device.device_id for device in devices], since=HOUR, until=HOUR)
    assert sorted(row.frames for row in rows) == list(range(24))
    assert len(SqlAuditLog(database).newest(action="device.taken_in")) == 13


def test_a_device_s_own_trouble_is_not_hidden_by_that(database):
    said = (make_hour(hour=HOUR + 100),)
    check_in(make_status("a", hours=said, last_error="disk full"), parts(database), now=START)
    assert SqlMetaStore(database).devices()[0].last_error == "disk full"


def test_nothing_is_written_when_the_answer_cannot_be_made(database):
    broken = replace(parts(database), store=_FailingStore(database))
    with pytest.raises(StorageError):
        check_in(make_status("a", hours=(make_hour(),)), broken, now=START, takes_strangers=True)
    assert SqlMetaStore(database).devices() == ()
    assert SqlHourStore(database).figures(BASE, ["a"], since=0, until=10**9) == ()


class _FailingStore(SqlCheckInStore):
    """Fails in the middle of a check-in, as a full disk would."""

    def check_in(self, device_id, record, *, channel):
        def broken(known):
            made = record(known)
            return replace(made, crashes={"x" * 64: object()})

        return super().check_in(device_id, broken, channel=channel)


@pytest.mark.parametrize(
    ("before", "after", "rejected", "expected"),
    [(None, 3, (), {}), (1, 1, (), {}), (5, 2, (), {}), (1, 3, (), {BASE: 2}), (1, 3, (NEW,), {NEW: 2})],
)
def test_crashes(before, after, rejected, expected):
    known = None if before is None else device_of(make_status("a", unclean_starts=before), now=START)
    assert crashes_of(make_status("a", unclean_starts=after, rejected=rejected), known) == expected


def test_a_device_without_a_bundle_blames_none():
    known = device_of(make_status("a", bundle_digest=""), now=START)
    assert crashes_of(make_status("a", bundle_digest="", unclean_starts=3), known) == {}


def test_what_is_signed_is_read_again_only_when_it_changed(tmp_path, make_bundle):
    from cloud_train.publish.repository import open_repository

    book = ChannelBook(PublishedFolder(tmp_path / "store" / "repository"))
    assert book.channel("stable") == Channel()
    first, second = (make_bundle(tmp_path / f"b{number}", version=number, flavour=number) for number in (1, 2))
    repository = open_repository(tmp_path / "store", now=START)
    digest = repository.publish(first, channel="stable", now=START).bundle_digest
    assert book.channel("stable") == Channel(settled=digest, offered=frozenset((digest,)))
    offered = repository.offer(second, "stable", now=START).digest
    assert book.channel("stable") == Channel(settled=digest, offered=frozenset((digest, offered)))
    assert book.channel("beta") == Channel()
    newest = max((tmp_path / "store" / "repository" / "metadata").glob("*.targets.json"))
    newest.write_text("{")
    assert book.channel("stable").settled == digest  # what was read stands while the timestamp does
    with pytest.raises(StorageError, match="is damaged"):
        ChannelBook(PublishedFolder(tmp_path / "store" / "repository")).channel("stable")

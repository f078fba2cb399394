"""Rollouts in a real database: started once a channel, looked after, changed by one process at a time."""

import asyncio
import json
import os
import threading
from dataclasses import replace

import pytest
from rollout_values import BASE, NEW, START, make_hour, make_rollout, make_status

from cloud_train.errors import RolloutError
from cloud_train.fleet.acts import Act, act, start
from cloud_train.fleet.check_in import Channel, CheckInParts, CheckInRules, check_in
from cloud_train.fleet.rollout import Action
from cloud_train.fleet.sides import sampled, sides_of
from cloud_train.fleet.watch import WatchParts, look, watch, watch_once
from cloud_train.fleet_types import RolloutKind, RolloutState
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.check_ins import SqlCheckInStore
from cloud_train.store.database import open_database
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.rollouts import SqlRolloutStore
from cloud_train.store.roster import SqlRoster
from edge.errors import UsageError

HOUR = int(START // 3600)
CHANNEL = Channel(settled=BASE, offered=frozenset((BASE, NEW)))


class World:
    """A store with devices that check in."""

    def __init__(self, where):
        self.where = where
        self.database = open_database(where)
        self.audit = SqlAuditLog(self.database)
        self.settled = []
        self.parts = WatchParts(
            rollouts=SqlRolloutStore(self.database),
            hours=SqlHourStore(self.database),
            roster=SqlRoster(self.database),
            default_channel="stable",
            read_channel=lambda name: CHANNEL,
            settle=self.settled.append,
        )
        self.desk = CheckInParts(
            store=SqlCheckInStore(self.database),
            read_channel=lambda name: CHANNEL,
            rules=CheckInRules(channel="stable", check_in_s=30.0),
        )

    def hear(self, device, *, now, **changes):
        return check_in(make_status(device, **changes), self.desk, now=now, takes_strangers=True)

    def everybody_obeys(self, num, *, now, **of_new):
        """Each device runs what it was told, and reports an hour of it; `of_new` is what the new bundle reports."""
        for number in range(num):
            wanted = self.hear(f"k{number}", now=now).bundle_digest
            changes = of_new if wanted == NEW else {}
            hours = (make_hour(bundle=wanted, hour=int(now // 3600), latency_p90_ms=30.0, **changes),)
            self.hear(f"k{number}", now=now, bundle_digest=wanted, hours=hours)

    def start(self, **options):
        rollout = make_rollout(**{"rollout_id": 0, "percents": (30.0, 100.0), **options})
        return start(rollout, self.parts.rollouts, who="ada")


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def world(request, tmp_path):
    made = World(tmp_path / "meta.sqlite" if request.param == "sqlite" else request.getfixturevalue("postgres_url"))
    yield made
    made.database.close()


def test_a_rollout_survives_and_one_has_the_channel(world):
    started = world.start()
    assert world.parts.rollouts.rollout(started.rollout_id) == started
    with pytest.raises(RolloutError, match=f"rollout {started.rollout_id} of channel stable is running"):
        world.start()
    other = start(replace(make_rollout(rollout_id=0), channel="beta"), world.parts.rollouts, who="ada")
    assert [rollout.rollout_id for rollout in world.parts.rollouts.rollouts()] == [other.rollout_id, started.rollout_id]
    assert [entry.action for entry in world.audit.about(f"rollout:{started.rollout_id}")] == ["rollout.started"]


def test_two_that_start_at_once_make_one(world):
    results = []

    def begin():
        try:
            results.append(world.start())
        except RolloutError as error:
            results.append(error)

    threads = [threading.Thread(target=begin) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sum(isinstance(result, RolloutError) for result in results) == 5


@pytest.mark.parametrize(
    ("percents", "word"), [((), "at least one ring"), ((10.0, 5.0, 100.0), "do not grow"), ((101.0,), "between 0")]
)
def test_plans_that_make_no_sense(world, percents, word):
    with pytest.raises(UsageError, match=word):
        world.start(percents=percents)
    assert world.parts.rollouts.rollouts() == ()


def test_a_healthy_rollout_ends_with_everybody_on_the_new_bundle(world):
    world.everybody_obeys(30, now=START)
    rollout = world.start(started_at=START + 60, min_minutes=5, max_minutes=60)
    now = START + 60
    for _ in range(40):
        now += 400
        world.everybody_obeys(30, now=now)
        watch_once(world.parts, now=now)
        if (rollout := world.parts.rollouts.rollout(rollout.rollout_id)).ended_at:
            break
    assert rollout.state is RolloutState.DONE, rollout
    assert {device.bundle_digest for device in world.parts.roster.devices("stable", is_default=True)} == {NEW}
    actions = [entry.action for entry in world.audit.about(f"rollout:{rollout.rollout_id}")]
    assert actions == ["rollout.finished", "rollout.advanced", "rollout.started"]
    assert [settled.bundle_digest for settled in world.settled][:1] == [NEW]


def test_a_bad_rollout_is_rolled_back_once_and_devices_are_sent_back(world):
    world.everybody_obeys(40, now=START)
    rollout = world.start(started_at=START + 60)
    world.everybody_obeys(40, now=START + 120, accepted=20, confirmed=10, unknown=70)
    for _ in range(3):
        watch_once(world.parts, now=START + 180)
    after = world.parts.rollouts.rollout(rollout.rollout_id)
    assert after.state is RolloutState.ROLLED_BACK
    assert "accept rate 20.0%, 80.0% with the old bundle" in after.reason
    assert {world.hear(f"k{number}", now=START + 200, bundle_digest=NEW).bundle_digest for number in range(40)} == {
        BASE
    }
    entries = world.audit.about(f"rollout:{rollout.rollout_id}")
    assert [entry.action for entry in entries] == ["rollout.rolled_back", "rollout.started"]
    assert entries[0].detail["reason"] == after.reason
    assert [one.state for one in world.settled] == [RolloutState.ROLLED_BACK] * 3  # until the metadata have followed


def test_failures_count_whoever_reports_them(world):
    world.everybody_obeys(40, now=START)
    rollout = world.start(started_at=START + 60)
    for number in range(40):
        if world.hear(f"k{number}", now=START + 90).bundle_digest == NEW:
            world.hear(f"k{number}", now=START + 100, rejected=(NEW,))
    findings = watch_once(world.parts, now=START + 110)[0]
    assert findings.verdict.action is Action.HALT
    assert "it failed on" in world.parts.rollouts.rollout(rollout.rollout_id).reason


def test_crashes_are_blamed_on_the_bundle_that_was_given_up(world):
    world.hear("k", now=START, unclean_starts=5)
    world.hear("k", now=START + 10, unclean_starts=7, bundle_digest=NEW, on_trial=True)
    world.hear("k", now=START + 20, unclean_starts=9, bundle_digest=BASE, rejected=(NEW,))
    world.hear("k", now=START + 30, unclean_starts=2, bundle_digest=BASE, rejected=(NEW,))  # a wiped home
    new, old = (world.parts.hours.figures(digest, ["k"], since=HOUR, until=HOUR) for digest in (NEW, BASE))
    assert [row.unclean_starts for row in new] == [4]
    assert old == ()


def test_only_one_of_several_processes_acts(world):
    """Each of four has read the same state; one change is written, with one line of the audit."""
    world.everybody_obeys(40, now=START)
    rollout = world.start(started_at=START + 60)
    world.everybody_obeys(40, now=START + 120, accepted=0, confirmed=0, unknown=100)
    readers = []
    for number in range(4):
        read, write = os.pipe()
        if os.fork() == 0:
            made = World.__new__(World)
            World.__init__(made, world.where)
            watch_once(made.parts, now=START + 180)
            os.write(write, json.dumps(number).encode())
            os._exit(0)
        os.close(write)
        readers.append(read)
    assert sorted(int(os.read(read, 10)) for read in readers) == [0, 1, 2, 3]
    for _ in readers:
        os.wait()
    actions = [entry.action for entry in world.audit.about(f"rollout:{rollout.rollout_id}")]
    assert actions == ["rollout.rolled_back", "rollout.started"]


def test_a_change_that_was_overtaken_is_not_written(world):
    started = world.start()
    act(started.rollout_id, Act.PAUSE, world.parts.rollouts, who="ada", now=START, reason="lunch")
    late = replace(started, ring=1, ring_since=START + 5)
    entry = world.audit.about(f"rollout:{started.rollout_id}")[0]
    assert not world.parts.rollouts.change(started, late, entry)
    assert world.parts.rollouts.rollout(started.rollout_id).state is RolloutState.PAUSED
    assert watch_once(world.parts, now=START + 10**6) == ()


@pytest.mark.parametrize(
    ("acts", "expected"),
    [
        ((Act.PAUSE, Act.RESUME), RolloutState.RUNNING),
        ((Act.HALT, Act.RESUME), RolloutState.RUNNING),
        ((Act.ADVANCE, Act.ADVANCE), RolloutState.DONE),
        ((Act.HALT, Act.ROLLBACK), RolloutState.ROLLED_BACK),
        ((Act.FINISH,), RolloutState.DONE),
        ((Act.FINISH, Act.ROLLBACK), RolloutState.ROLLED_BACK),
    ],
)
def test_acts(world, acts, expected):
    started = world.start()
    for what in acts:
        after = act(started.rollout_id, what, world.parts.rollouts, who="ada", now=START + 9, reason="so")
    assert after.state is expected
    assert world.parts.rollouts.rollout(started.rollout_id) == after
    entry = world.audit.newest(limit=1)[0]
    assert (entry.who, entry.action, entry.detail["reason"]) == ("person:ada", f"rollout.{acts[-1].value}", "so")


def test_acts_that_cannot_be(world):
    started = world.start()
    with pytest.raises(RolloutError, match="there is no rollout 99"):
        act(99, Act.PAUSE, world.parts.rollouts, who="ada", now=START)
    with pytest.raises(RolloutError, match="is running and cannot resume"):
        act(started.rollout_id, Act.RESUME, world.parts.rollouts, who="ada", now=START)
    act(started.rollout_id, Act.ROLLBACK, world.parts.rollouts, who="ada", now=START)
    with pytest.raises(RolloutError, match="is rolled back and cannot advance"):
        act(started.rollout_id, Act.ADVANCE, world.parts.rollouts, who="ada", now=START)
    assert world.start().state is RolloutState.RUNNING  # the channel is free again


def test_pinned_held_revoked_and_others_are_on_no_side(world):
    from sqlalchemy import update

    from cloud_train.store.tables import MEMBERS

    for name in ("plain", "pinned", "held", "revoked", "beta"):
        world.hear(name, now=START)
    changes = {
        "pinned": {"pinned": NEW},
        "held": {"held": True},
        "revoked": {"revoked_at": 1.0},
        "beta": {"channel": "beta"},
    }
    with world.database.connect(writes=True) as connection:
        for name, values in changes.items():
            connection.execute(update(MEMBERS).where(MEMBERS.c.device_id == name).values(values))
    devices = world.parts.roster.devices("stable", is_default=True)
    assert {device.member.device_id for device in devices} == {"plain", "pinned", "held"}
    sides = sides_of(make_rollout(percents=(100.0,)), devices)
    assert [device.member.device_id for device in (*sides.new, *sides.old)] == ["plain"]
    assert [device.member.device_id for device in world.parts.roster.devices("beta", is_default=False)] == ["beta"]


def test_a_sample_of_devices_is_the_same_at_every_look(world):
    for number in range(30):
        world.hear(f"k{number}", now=START)
    devices = world.parts.roster.devices("stable", is_default=True)
    some = sampled(make_rollout(), devices, most=10)
    assert len(set(some)) == 10
    assert some == sampled(make_rollout(), devices[::-1], most=10)


def test_an_ab_comparison_is_looked_at_and_never_moves(world):
    world.everybody_obeys(30, now=START)
    rollout = world.start(kind=RolloutKind.AB, percents=(100.0,), started_at=START)
    world.everybody_obeys(30, now=START + 60, accepted=10, confirmed=10, unknown=80)
    findings = look(rollout, world.parts, now=START + 10**5)
    assert findings.verdict.action is Action.WAIT
    assert len(findings.sides.new) + len(findings.sides.old) == 30
    watch_once(world.parts, now=START + 10**5)
    assert world.parts.rollouts.rollout(rollout.rollout_id) == rollout


def test_the_watch_goes_on_after_a_failure(world, caplog):
    looks = []

    class Failing:
        def running(self):
            looks.append(1)
            if len(looks) == 1:
                from edge.errors import StorageError

                raise StorageError("the database is away")
            return ()

        def rollouts(self, **_):
            return ()

    async def body():
        parts = replace(world.parts, rollouts=Failing())
        in_thread = lambda call: asyncio.get_running_loop().run_in_executor(None, call)  # noqa: E731
        task = asyncio.create_task(watch(parts, interval_s=0.01, clock=lambda: START, in_thread=in_thread))
        while len(looks) < 3:
            await asyncio.sleep(0.01)
        task.cancel()

    asyncio.run(body())
    assert "the database is away" in caplog.text


def test_hours_are_forgotten_after_a_while(world):
    world.hear("k", now=START, hours=(make_hour(hour=HOUR), make_hour(hour=HOUR - 20)))
    assert world.parts.hours.forget(before=HOUR - 5) == 1
    assert [row.hour for row in world.parts.hours.figures(BASE, ["k"], since=0, until=HOUR)] == [HOUR]

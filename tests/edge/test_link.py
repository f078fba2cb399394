import time

import pytest
from device_world import RepositoryRoad
from sample_values import make_sample

from edge.errors import BackendError, RoadError, StorageError, UsageError
from edge.following import Following
from edge.link import Link, LinkParts
from edge.outbox.base import EntryState
from edge.outbox.memory import MemoryOutbox
from edge.settings import AgentSettings
from edge.sync.types import Directive
from edge.telemetry import Telemetry
from edge.update.slots import Slots
from edge.update.types import Slot, UpdateOutcome, UpdateResult


class PlannedUpdates:
    """An updater whose answers are planned; counts how often it is asked."""

    def __init__(self, slots):
        self.slots = slots
        self.answers = []
        self.asked_at = []
        self.wanted = []
        self.followed = []

    def follow(self, channel):
        self.followed.append(channel)

    def update(self, now, *, wanted=""):
        self.asked_at.append(now)
        self.wanted.append(wanted)
        answer = self.answers.pop(0) if self.answers else (UpdateOutcome.CURRENT, "")
        if isinstance(answer, Exception):
            raise answer
        outcome, reason = answer
        if outcome is UpdateOutcome.ACTIVATED:
            self.slots._state = self.slots.state.__class__(
                slots={"a": Slot(bundle_digest="1" * 64), "b": Slot()}, active="a"
            )
        return UpdateResult(outcome=outcome, bundle_digest="", fetched_bytes=10, reason=reason)


class World:
    def __init__(self, tmp_path, **changes):
        self.now = 1000.0
        self.jumped = 0.0
        self.metered = False
        self.said = []
        self.prepared = 0
        self.road = RepositoryRoad(tmp_path / "store")
        self.outbox = MemoryOutbox()
        self.slots = Slots(tmp_path / "home")
        self.updates = PlannedUpdates(self.slots)
        self.telemetry = Telemetry()
        settings = AgentSettings(
            home=tmp_path / "home", link_interval_s=2, check_in_s=30, update_interval_s=300, backoff_cap_s=8, **changes
        )
        self.link = Link(
            LinkParts(
                settings=settings,
                outbox=self.outbox,
                transport=self.road,
                slots=self.slots,
                updater=self.updates,
                following=Following(settings.home, own=settings.channel),
                telemetry=self.telemetry,
                prepare=self.prepare,
                say=self.said.append,
                clock=lambda: self.now + self.jumped,
                jitter=lambda: 1.0,
                is_metered=lambda: self.metered,
                steady=lambda: self.now,
            )
        )

    def prepare(self):
        self.prepared += 1

    def step(self, later=0.0):
        self.now += later
        return self.link.step()


@pytest.fixture
def world(tmp_path):
    return World(tmp_path)


def put(world, number):
    sample = make_sample(number)
    world.outbox.put(sample, now=world.now)
    return sample


def test_one_round_does_everything(world):
    samples = [put(world, number) for number in range(3)]
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    assert world.step() == 2
    assert world.road.stored == {sample.digest: sample.payload for sample in samples}
    assert [status.device_id for status in world.road.statuses] == ["device"]
    assert (world.prepared, world.link.reached_at) == (1, 1000.0)
    counts = world.telemetry.counts()
    assert (counts.bytes_uploaded, counts.bytes_fetched) == (sum(len(sample.payload) for sample in samples), 10)


def test_without_a_bundle_every_round_asks_for_one(world):
    for _ in range(3):
        world.step(2)
    assert len(world.updates.asked_at) == 3


def test_with_a_bundle_updates_and_check_ins_have_their_own_pace(world):
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    for _ in range(400):
        world.step(1)
    assert world.updates.asked_at == [1001.0, 1301.0]
    assert len(world.road.statuses) == 14


def test_the_server_sets_the_pace_of_check_ins_within_bounds(world):
    world.road.check_in_s = 1e9
    world.step()
    world.step(3601)
    assert len(world.road.statuses) == 2
    world.road.check_in_s = 1e-9
    world.step(3601)
    world.step(0.1)
    assert len(world.road.statuses) == 3
    world.step(0.2)
    assert len(world.road.statuses) == 4


def test_an_announced_release_is_fetched_at_once(world):
    world.updates.answers = [(UpdateOutcome.ACTIVATED, ""), (UpdateOutcome.CURRENT, "")]
    world.step()
    world.road.announced = "2" * 64
    world.step(31)
    assert world.updates.asked_at == [1000.0, 1031.0]
    world.slots.reject("2" * 64)
    world.step(31)
    assert len(world.updates.asked_at) == 2


def test_a_bad_road_is_tried_ever_more_rarely_and_said_once(world):
    world.road.down = True
    put(world, 1)
    assert [world.step() for _ in range(5)] == [1.0, 2.0, 4.0, 8.0, 8.0]
    assert world.said == ["the server does not answer (check the connection)"]
    assert world.telemetry.counts().last_error == world.said[0]
    assert [entry.state for entry in world.outbox.entries()] == [EntryState.PENDING]
    world.road.down = False
    assert world.step() == 2
    assert world.telemetry.counts().last_error == ""
    world.road.down = True
    world.now += 100
    assert world.step() == 1.0
    assert len(world.said) == 2


def test_a_server_that_asks_to_wait_is_waited_for(world, monkeypatch):
    def busy(offers):
        raise RoadError("busy", retry_after_s=77.0)

    monkeypatch.setattr(world.road, "offer", busy)
    put(world, 1)
    assert world.step() == 77.0


def test_offline_updates_count_as_a_bad_road(world):
    world.updates.answers = [(UpdateOutcome.OFFLINE, "no news")] * 2
    assert [world.step(), world.step()] == [1.0, 2.0]


def test_a_rejected_release_stands_in_the_status_and_is_said_once(world):
    world.updates.answers = [(UpdateOutcome.REJECTED, "expired")] * 3 + [(UpdateOutcome.CURRENT, "")]
    for _ in range(3):
        assert world.step(301) == 2
    assert world.said == ["expired"]
    assert world.telemetry.counts().last_error == "expired"
    world.step(301)
    assert world.telemetry.counts().last_error == ""


def test_a_bundle_that_cannot_be_loaded_is_said(world):
    def fail():
        raise BackendError("the model is damaged")

    world.link._parts = LinkParts(
        **{name: getattr(world.link._parts, name) for name in LinkParts.__slots__} | {"prepare": fail}
    )
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    assert world.step() == 1.0
    assert world.said == ["the model is damaged"]


def test_wrong_usage_ends_the_link_and_is_handed_on(world):
    world.updates.answers = [UsageError("no trusted root")]
    world.link.start()
    world.link._thread.join(5)
    assert isinstance(world.link.fatal, UsageError)


def test_a_mistake_of_ours_is_handed_on_too(world):
    world.updates.answers = [ZeroDivisionError()]
    world.link.start()
    world.link._thread.join(5)
    assert isinstance(world.link.fatal, ZeroDivisionError)


def test_stop_is_quick_and_hangs_up(world):
    world.link.start()
    world.link.stop(timeout_s=5)
    assert not world.link._thread.is_alive()
    assert world.road.closed
    assert world.link.fatal is None


def test_a_call_that_was_hung_up_on_is_no_trouble(world, monkeypatch):
    def hung_up_on(status):
        world.link.hang_up()
        raise RoadError("cancelled")

    monkeypatch.setattr(world.road, "check_in", hung_up_on)
    world.step()
    assert world.said == []
    assert world.telemetry.counts().last_error == ""


YEARS_S = 10 * 365 * 86_400.0


def test_a_clock_that_jumps_for_years_changes_no_pace(world):
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    for jump in (0.0, YEARS_S, -YEARS_S, 0.0):
        world.jumped = jump
        for _ in range(100):
            world.step(1)
    assert len(world.updates.asked_at) == 2
    assert len(world.road.statuses) == 14


def local(world, hour):
    """Sets the clock to an hour of the local day."""
    at = time.mktime((2026, 6, 15, hour, 0, 0, 0, 0, -1))
    world.jumped = at - world.now


def test_samples_wait_for_their_hours_and_check_ins_do_not(tmp_path):
    world = World(tmp_path, sync_windows="22:00-06:00")
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    put(world, 1)
    local(world, 12)
    world.step()
    world.step(400)
    assert world.road.stored == {}
    assert len(world.road.statuses) == 2
    assert len(world.updates.asked_at) == 1  # the first bundle comes at any hour
    assert world.link.held_back == "outside the sync windows"
    local(world, 23)
    world.step(1)
    assert len(world.road.stored) == 1
    assert len(world.updates.asked_at) == 2
    assert world.link.held_back == ""


def test_hours_that_end_stop_an_upload_between_two_rounds(tmp_path):
    world = World(tmp_path, sync_windows="22:00-06:00")
    for number in range(100):
        put(world, number)
    local(world, 23)
    real = world.road.push

    def push(samples, *, at_hand):
        yield from real(samples, at_hand=at_hand)
        local(world, 7)

    world.road.push = push
    world.step()
    assert 0 < len(world.road.stored) < 100
    assert world.outbox.stats().pending == 100 - len(world.road.stored)


def test_a_metered_link_carries_check_ins_only(world):
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    world.step()
    put(world, 1)
    world.metered = True
    world.step(400)
    assert (world.road.stored, len(world.road.statuses), len(world.updates.asked_at)) == ({}, 2, 1)
    assert world.link.held_back == "the link is metered"
    world.metered = False
    world.step(1)
    assert (len(world.road.stored), len(world.updates.asked_at)) == (1, 2)


def directed(world, **changes):
    """Lets the server say so at every check-in from now on."""
    said = {"channel": "stable", "bundle_digest": "", "check_in_s": 30.0} | changes
    world.road.check_in = lambda status: Directive(**said)


def test_the_servers_wish_goes_to_the_updater(world):
    directed(world, bundle_digest="2" * 64)
    world.step()
    directed(world, bundle_digest="3" * 64)
    world.step(31)
    directed(world)
    world.step(31)
    assert world.updates.wanted == ["2" * 64, "3" * 64, ""]


def test_a_wish_for_another_channel_than_its_own_is_none(tmp_path):
    world = World(tmp_path, channel="stable")
    directed(world, channel="beta", bundle_digest="2" * 64, update_windows="03:00-03:01")
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    local(world, 12)
    world.step()
    world.step(301)
    assert world.updates.wanted == ["", ""]
    assert world.updates.followed == []
    assert world.said == ["the fleet says channel 'beta'; this device keeps to 'stable', which it was started with"]


def test_the_channel_that_the_fleet_names_is_followed_at_once(world):
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    directed(world, bundle_digest="1" * 64)
    world.step()
    directed(world, channel="beta", bundle_digest="2" * 64)
    world.step(31)
    directed(world, channel="beta")
    world.step(31)
    directed(world)
    world.step(31)
    assert world.updates.followed == ["beta", "stable"]
    assert world.updates.wanted == ["1" * 64, "2" * 64, ""]
    assert world.said == [
        "the fleet moves this device from channel 'stable' to 'beta'",
        "the fleet moves this device from channel 'beta' to 'stable'",
    ]


def test_a_channel_that_no_channel_can_be_called_is_not_followed(world):
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    directed(world, channel="../x", bundle_digest="2" * 64)
    for _ in range(3):
        assert world.step(301) == 2
    assert world.updates.followed == []
    assert world.updates.wanted == ["", "", ""]
    assert world.said == ["the server names channel '../x', and no channel can be called so"]


def test_a_channel_that_cannot_be_written_down_is_followed_later(world, monkeypatch):
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    world.step()
    directed(world, channel="beta", bundle_digest="2" * 64)

    def full(*_, **__):
        raise StorageError("cannot write channel.json: no space left on device")

    with monkeypatch.context() as patched:
        patched.setattr("edge.durable.write_bytes", full)
        assert world.step(31) == 1.0
    assert world.updates.followed == []
    assert world.telemetry.counts().last_error == "cannot write channel.json: no space left on device"
    world.step(31)
    assert world.updates.followed == ["beta"]
    assert world.updates.wanted[-1] == "2" * 64
    assert world.telemetry.counts().last_error == ""


def test_bundles_change_in_the_hours_the_server_sets_and_samples_go_at_any(world):
    directed(world, update_windows="22:00-06:00")
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    local(world, 12)
    world.step()
    assert len(world.updates.asked_at) == 1  # the first bundle comes at any hour
    put(world, 1)
    world.step(400)
    assert (len(world.updates.asked_at), len(world.road.stored)) == (1, 1)
    local(world, 23)
    world.step(1)
    assert len(world.updates.asked_at) == 2


def test_hours_that_make_no_sense_end_nobodys_link(world):
    directed(world, update_windows="around noon")
    world.updates.answers = [(UpdateOutcome.ACTIVATED, "")]
    world.step()
    world.step(400)
    assert len(world.updates.asked_at) == 2

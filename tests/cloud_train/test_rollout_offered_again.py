"""A bundle that is offered again after its rollback stands; what was there at the rollback is withdrawn."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from rollout_values import make_status

from cloud_train.fleet.acts import Act, act
from cloud_train.fleet.assign import assign
from cloud_train.fleet.check_in import Channel
from cloud_train.fleet.desk import open_watch
from cloud_train.fleet.launch import Launch, launch
from cloud_train.fleet.watch import WatchParts, is_unsettled, settle_ended, watch_once
from cloud_train.fleet_types import HealthLimits, Member, Ring, RolloutKind, RolloutPlan
from cloud_train.publish.publish import offer_bundle, publish_bundle
from cloud_train.publish.repository import Repository, open_repository
from cloud_train.settings import serve_settings
from cloud_train.store.opened import open_store
from edge import durable
from edge.bundle.reader import open_bundle

NOW = 1_700_000_000.0


class Fleet:
    """A store whose channel has settled on version 1; version 2 is rolled out, rolled back and offered."""

    def __init__(self, store: Path, bundles: dict[int, Path]) -> None:
        self.store = store
        self.bundles = bundles
        self.digest = open_bundle(bundles[2]).digest
        publish_bundle(bundles[1], store, channel="stable", now=NOW)

    def launch(self, bundle: str = "") -> int:
        plan = RolloutPlan(rings=(Ring(percent=100.0),), limits=HealthLimits())
        name = bundle or str(self.bundles[2])
        wanted = Launch(bundle=name, channel="stable", kind=RolloutKind.ROLLOUT, plan=plan, who="ada", now=NOW)
        with open_store(self.store) as opened:
            return launch(opened, wanted).rollout_id

    def roll_back(self, rollout_id: int) -> None:
        """Decides it, and leaves the rest to the watch."""
        self.with_watch(lambda parts: act(rollout_id, Act.ROLLBACK, parts.rollouts, who="ada", now=NOW))

    def offer(self) -> None:
        offer_bundle(self.bundles[2], self.store, channel="stable", now=NOW)

    def watch(self) -> None:
        """What a server process does at each look."""
        self.with_watch(lambda parts: watch_once(parts, now=NOW))

    def with_watch(self, do: Callable[[WatchParts], object]) -> None:
        with open_store(self.store) as opened:
            do(open_watch(opened, serve_settings(store=self.store)))

    @property
    def offered(self) -> bool:
        return self.digest in self.channel().offered

    def channel(self) -> Channel:
        found: list[Channel] = []
        self.with_watch(lambda parts: found.append(parts.read_channel("stable")))
        return found[0]


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("offered-again")
    return {number: make_bundle(folder / str(number), version=number, flavour=number) for number in (1, 2)}


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.server)])
def fleet(
    request: pytest.FixtureRequest, tmp_path: Path, bundles: dict[int, Path], monkeypatch: pytest.MonkeyPatch
) -> Fleet:
    if request.param == "postgresql":
        monkeypatch.setenv("EDGELOOP_DATABASE", request.getfixturevalue("postgres_url"))
    return Fleet(tmp_path / "store", bundles)


@pytest.fixture
def rolled_back(fleet: Fleet) -> Fleet:
    fleet.roll_back(fleet.launch())
    fleet.watch()
    assert not fleet.offered
    return fleet


def test_an_offer_after_the_rollback_stands(rolled_back: Fleet) -> None:
    rolled_back.offer()
    for _ in range(2):
        rolled_back.watch()
    assert rolled_back.offered
    with open_store(rolled_back.store) as opened:
        (rollout,) = open_watch(opened, serve_settings(store=rolled_back.store)).rollouts.rollouts()
    assert not is_unsettled(rollout, rolled_back.channel())  # nobody is told to withdraw it either


def test_a_second_rollout_of_the_same_bundle_runs_and_its_own_rollback_counts(rolled_back: Fleet) -> None:
    second = rolled_back.launch()
    rolled_back.watch()
    assert rolled_back.offered
    rolled_back.roll_back(second)
    rolled_back.watch()
    assert not rolled_back.offered
    rolled_back.offer()
    rolled_back.watch()
    assert rolled_back.offered
    rolled_back.roll_back(rolled_back.launch())
    rolled_back.watch()
    assert not rolled_back.offered


def test_what_was_offered_before_the_rollback_is_withdrawn(fleet: Fleet) -> None:
    rollout_id = fleet.launch()
    fleet.offer()  # once more, while the rollout runs
    fleet.roll_back(rollout_id)
    fleet.watch()
    assert not fleet.offered


def test_an_offer_before_the_watch_has_withdrawn_the_old_one_stands(fleet: Fleet) -> None:
    fleet.roll_back(fleet.launch())
    fleet.offer()
    fleet.watch()
    assert fleet.offered


def test_a_rollout_that_starts_before_the_watch_has_looked_runs(fleet: Fleet) -> None:
    fleet.roll_back(fleet.launch())
    fleet.with_watch(lambda parts: launched_meanwhile(fleet, parts))
    assert fleet.offered


def test_a_rollout_of_the_digest_that_was_to_be_withdrawn_stands_for_it(
    fleet: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet.roll_back(fleet.launch())
    monkeypatch.setattr("cloud_train.fleet.launch.start", ended)
    with pytest.raises(Killed):
        fleet.launch(fleet.digest)
    fleet.watch()
    assert fleet.offered


def test_a_look_between_the_two_signatures_of_a_start_changes_nothing(
    rolled_back: Fleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    second = Repository.allow_back

    def look_first(self: Repository, *args: str, **options: float) -> None:
        rolled_back.watch()
        second(self, *args, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(Repository, "allow_back", look_first)
    rolled_back.launch()
    assert rolled_back.offered


def test_a_number_that_another_database_gave_counts_no_more_when_a_rollout_starts(fleet: Fleet) -> None:
    """As after the restore of an old backup, when numbers are given a second time."""
    open_repository(fleet.store, now=NOW).offer(fleet.bundles[2], "stable", now=NOW, after_rollout=99)
    fleet.roll_back(fleet.launch())
    fleet.watch()
    assert not fleet.offered


def launched_meanwhile(fleet: Fleet, parts: WatchParts) -> None:
    """A look that has read the old rollout and the old channel, and is overtaken by a person."""
    rollouts, channel = parts.rollouts.rollouts(limit=50), parts.read_channel("stable")
    fleet.launch()

    class Overtaken:
        def rollouts(self, **_: object) -> object:
            return rollouts

    settle_ended(replace(parts, rollouts=Overtaken(), read_channel=lambda name: channel))  # type: ignore[arg-type]


def test_a_server_that_has_not_heard_of_the_new_offer_leaves_it(rolled_back: Fleet, fleet: Fleet) -> None:
    """One that keeps an object store's answer for a moment still sees the offer that was there before."""
    old = replace(fleet.channel(), offered=frozenset((fleet.channel().settled, fleet.digest)))
    rolled_back.offer()
    rolled_back.with_watch(lambda parts: settle_ended(replace(parts, read_channel=lambda name: old)))
    assert rolled_back.offered


def test_several_server_processes_leave_it_too(rolled_back: Fleet) -> None:
    until = time.monotonic() + 1.5
    children = []
    for _ in range(3):
        if (child := os.fork()) == 0:
            while time.monotonic() < until:
                rolled_back.watch()
            os._exit(0)
        children.append(child)
    for _ in range(5):
        time.sleep(0.1)
        rolled_back.offer()
        assert rolled_back.offered
    assert [os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) for child in children] == [0, 0, 0]
    assert rolled_back.offered


def test_a_rolled_back_bundle_that_is_published_is_everybodys(rolled_back: Fleet) -> None:
    publish_bundle(rolled_back.bundles[2], rolled_back.store, channel="stable", now=NOW)
    rolled_back.watch()
    found = rolled_back.channel()
    assert found.settled == rolled_back.digest
    with open_store(rolled_back.store) as opened:
        newest = open_watch(opened, serve_settings(store=rolled_back.store)).rollouts.rollouts()
    told = assign(Member(device_id="k"), make_status("k"), newest, found.settled, found.offered)
    assert told.bundle_digest == rolled_back.digest


# The end of the process in the middle.


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


def killed_everywhere(fleet: Fleet, folder: Path, do: Callable[[Fleet], object]) -> Iterator[Fleet]:
    """A copy of the fleet for each durable write of something, which has ended there; they share the database."""
    points: list[str] = []
    counted = copied(fleet, folder / "counted")
    durable.observe(points.append)
    try:
        do(counted)
    finally:
        durable.observe(None)
    assert "publish.timestamp:after" in points
    files = [number for number, point in enumerate(points, start=1) if point.startswith("publish.file:")]
    for number in sorted(set(range(1, len(points) + 1)) - set(files[2:-2])):
        killed, left = copied(fleet, folder / str(number)), [number]

        def observer(point: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed(point)

        durable.observe(observer)
        try:
            with pytest.raises(Killed):
                do(killed)
        finally:
            durable.observe(None)
        yield killed


def copied(fleet: Fleet, folder: Path) -> Fleet:
    shutil.copytree(fleet.store, folder)
    made = Fleet.__new__(Fleet)
    made.store, made.bundles, made.digest = folder, fleet.bundles, fleet.digest
    return made


def test_a_watch_that_was_killed_while_it_withdrew_goes_on_and_an_offer_made_meanwhile_stands(
    fleet: Fleet, tmp_path: Path
) -> None:
    fleet.roll_back(fleet.launch())
    for number, killed in enumerate(killed_everywhere(fleet, tmp_path / "killed", Fleet.watch)):
        again = copied(killed, tmp_path / f"again-{number}")
        killed.watch()
        assert not killed.offered
        again.offer()
        again.watch()
        assert again.offered


def test_an_offer_that_was_killed_is_there_or_not_and_the_same_command_finishes_it(
    rolled_back: Fleet, tmp_path: Path
) -> None:
    for killed in killed_everywhere(rolled_back, tmp_path / "killed", Fleet.offer):
        there = killed.offered
        killed.watch()
        assert killed.offered is there
        killed.offer()
        killed.watch()
        assert killed.offered


def test_a_second_rollout_that_was_killed_before_it_was_recorded_starts_again(
    rolled_back: Fleet, tmp_path: Path
) -> None:
    signed = copied(rolled_back, tmp_path / "signed")
    signed.with_watch(lambda parts: None)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("cloud_train.fleet.launch.start", ended)
        with pytest.raises(Killed):
            signed.launch()
    signed.watch()
    assert signed.offered
    signed.launch()
    signed.watch()
    assert signed.offered


def ended(*_: object, **__: object) -> None:
    raise Killed


def test_what_the_repository_says_of_it(rolled_back: Fleet) -> None:
    rolled_back.offer()
    repository = open_repository(rolled_back.store, now=NOW)
    (offer,) = repository.offers("stable")
    assert offer.after_rollout == 1
    version = repository.current("stable").metadata_version
    rolled_back.offer()
    assert repository.current("stable").metadata_version == version  # the second call signed nothing
    repository.withdraw("stable", rolled_back.digest, now=NOW, rollout_id=1)
    assert repository.offers("stable") == (offer,)
    repository.withdraw("stable", rolled_back.digest, now=NOW)  # a person
    assert repository.offers("stable") == ()

"""Corners of a device's life: a server that takes no samples now, long backlogs, lost keys, clocks that go back."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from device_world import RepositoryRoad, publish, root_file
from sample_values import make_sample

from cloud_train.publish.repository import open_repository
from cloud_train.publish.sealing import fleet_key_text
from edge.bundle.reader import open_bundle
from edge.errors import RoadError
from edge.following import Following
from edge.link import Link, LinkParts
from edge.outbox.base import EntryState, Sample
from edge.outbox.memory import MemoryOutbox
from edge.settings import AgentSettings
from edge.statistics import HourBook
from edge.swap import Engines
from edge.sync.types import OfferReply, Receipt, SampleOffer
from edge.telemetry import Telemetry
from edge.types import Outcome
from edge.update.encryption import install_key, key_file
from edge.update.selftest import hardware_fingerprint, self_test
from edge.update.slots import Slots
from edge.update.trust import TrustStore
from edge.update.types import UpdateOutcome
from edge.update.updater import Updater

NOW = 1_700_000_000.0
HOUR_S = 3600.0
BUNDLE = "a" * 64


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("corners")
    return {number: make_bundle(folder / str(number), version=number, flavour=number) for number in (1, 2)}


# The link.


@dataclass
class BusyRoad(RepositoryRoad):
    """A server that is there, and takes samples only when `wait_s` is None; each costs the device's time."""

    wait_s: float | None = None
    spent_s: float = 0.0
    each_s: float = 0.0

    def offer(self, offers: tuple[SampleOffer, ...]) -> OfferReply:
        if self.wait_s is not None:
            raise RoadError("the server is busy", retry_after_s=self.wait_s)
        return super().offer(offers)

    def push(self, samples: Iterable[tuple[Sample, int]], *, at_hand: object = None) -> Iterator[Receipt]:
        for receipt in super().push(samples):
            self.spent_s += self.each_s
            yield receipt


class Device:
    """A link with a real updater over a repository on this disk."""

    def __init__(self, home: Path, store: Path) -> None:
        self.now = 1000.0
        self.said: list[str] = []
        self.prepared = 0
        self.road = BusyRoad(store)
        self.outbox = MemoryOutbox()
        self.slots = Slots(home)
        trust = TrustStore(home, self.road, channel="stable")
        trust.install_root(root_file(store))
        updater = Updater(self.slots, trust, self.road, self_test=lambda bundle: None, fingerprint=hardware_fingerprint)
        self.link = Link(
            LinkParts(
                settings=AgentSettings(home=home, link_interval_s=2, check_in_s=30, backoff_cap_s=8),
                outbox=self.outbox,
                transport=self.road,
                slots=self.slots,
                updater=updater,
                following=Following(home),
                telemetry=Telemetry(),
                prepare=self._prepare,
                say=self.said.append,
                clock=lambda: NOW + self.steady(),
                jitter=lambda: 1.0,
                is_metered=lambda: False,
                steady=self.steady,
            )
        )

    def steady(self) -> float:
        return self.now + self.road.spent_s

    def fill(self, num: int) -> None:
        for number in range(num):
            self.outbox.put(make_sample(number), now=self.now)

    def _prepare(self) -> None:
        self.prepared += 1


@pytest.fixture
def device(tmp_path: Path, bundles: dict[int, Path]) -> Device:
    publish(tmp_path / "store", bundles[1], now=NOW)
    return Device(tmp_path / "home", tmp_path / "store")


def test_a_server_that_takes_no_samples_now_still_hears_of_the_device_and_updates_it(device: Device) -> None:
    device.fill(1)
    device.road.wait_s = 77.0
    assert device.link.step() == 77.0
    assert len(device.road.statuses) == 1
    assert device.slots.open_active().manifest.version == 1
    assert device.prepared == 1
    assert device.said == ["the server is busy"]
    device.road.wait_s = None
    device.now += 77
    device.link.step()
    assert [entry.state for entry in device.outbox.entries()] == [EntryState.SENT]


def test_a_road_that_is_gone_is_not_asked_for_more(device: Device) -> None:
    device.fill(1)
    device.road.down = True
    device.link.step()
    assert (device.road.statuses, device.road.fetched) == ([], [])


def test_a_long_backlog_gives_way_to_a_check_in(device: Device) -> None:
    device.fill(192)
    device.road.each_s = 3.0
    device.link.step()
    sent = len(device.road.stored)
    assert 0 < sent < 100
    assert len(device.road.statuses) == 1
    assert device.slots.open_active() is not None
    steps = 1
    while len(device.road.stored) < 192:
        device.now += 2
        device.link.step()
        steps += 1
        assert steps < 20
    assert len(device.road.statuses) == steps


# The key of the fleet.


class SealedFleet:
    """A device that ran version 1, which is plain, and runs version 2, which is encrypted."""

    def __init__(self, folder: Path, bundles: dict[int, Path]) -> None:
        self.store, self.home = folder / "store", folder / "home"
        self.said: list[str] = []
        repository = open_repository(self.store, now=NOW)
        repository.publish(bundles[1], channel="stable", now=NOW)
        self._trust().install_root(root_file(self.store))
        self.update()
        repository.publish(bundles[2], channel="stable", now=NOW, encrypt=True)
        install_key(self.home, fleet_key_text(self.store / "keys"))
        assert self.update() is UpdateOutcome.ACTIVATED
        self.digest = open_bundle(bundles[2]).digest

    def update(self) -> UpdateOutcome:
        slots = Slots(self.home)
        updater = Updater(slots, self._trust(), self._road, self_test=self_test, fingerprint=hardware_fingerprint)
        outcome = updater.update(NOW).outcome
        slots.confirm()
        return outcome

    def engines(self) -> tuple[Engines, Slots]:
        slots = Slots(self.home)
        return Engines(AgentSettings(home=self.home), slots, can_wait=True, say=self.said.append), slots

    @property
    def _road(self) -> RepositoryRoad:
        return RepositoryRoad(self.store)

    def _trust(self) -> TrustStore:
        return TrustStore(self.home, self._road, channel="stable")


@pytest.fixture
def sealed(tmp_path: Path, bundles: dict[int, Path]) -> SealedFleet:
    return SealedFleet(tmp_path, bundles)


@pytest.mark.parametrize("is_elsewhere", [False, True])
def test_a_lost_key_is_not_held_against_the_bundle(sealed: SealedFleet, is_elsewhere: bool) -> None:
    key = shutil.copyfile(key_file(sealed.home), sealed.home / "kept.key")
    key_file(sealed.home).unlink()
    engines, slots = sealed.engines()
    if is_elsewhere:
        slots.mark_tested("another machine")  # so that its golden vectors are tried first
    with engines.first() as engine:
        assert engine.bundle.manifest.version == 1
    assert slots.state.rejected == ()
    assert "key" in sealed.said[0]
    shutil.copyfile(key, key_file(sealed.home))
    assert sealed.update() is UpdateOutcome.ACTIVATED
    with sealed.engines()[0].first() as engine:
        assert engine.bundle.manifest.version == 2


def test_a_key_that_goes_between_activation_and_opening_is_not_held_against_the_bundle(sealed: SealedFleet) -> None:
    key_file(sealed.home).unlink()
    engines, slots = sealed.engines()
    engines.prepare()
    assert engines.take() is None
    assert slots.open_active().manifest.version == 1
    assert slots.state.rejected == ()


def test_an_encrypted_bundle_that_answers_wrongly_is_rejected_for_ever(
    sealed: SealedFleet, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge import swap
    from edge.errors import SelfTestError

    def fail(bundle: object) -> None:
        if bundle.sealed:
            raise SelfTestError("golden vector golden-0.png: wrong")

    monkeypatch.setattr(swap, "self_test", fail)
    engines, slots = sealed.engines()
    slots.mark_tested("another machine")
    with engines.first() as engine:
        assert engine.bundle.manifest.version == 1
    assert slots.state.rejected == (sealed.digest,)


# Statistics.


def test_a_clock_set_back_over_the_end_of_an_hour_loses_nothing_of_it() -> None:
    """The server keeps one row of a run and hour and replaces it: one that begins anew would wipe out what was told."""
    begin = 472_222 * HOUR_S
    book = HourBook("0123abcd")

    def answer(now: float) -> None:
        book.answered(now, BUNDLE, Outcome.ACCEPT, 0.9, "tea", 20.0)

    for _ in range(3):
        answer(begin + HOUR_S - 1)
    book.told(book.untold(begin + HOUR_S - 1))
    answer(begin + HOUR_S + 1)  # the next hour has begun
    book.told(book.untold(begin + HOUR_S + 1))
    answer(begin + HOUR_S - 2)  # the time server has spoken
    assert [(hour.hour, hour.frames) for hour in book.untold(begin + HOUR_S - 2)] == [(472_222, 4)]

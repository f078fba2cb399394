"""The next certificate comes in time and without a person, against a real server; failures are said once."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from enrolled_fleet import EnrolledFleet, a_status, enrolled_fleet
from hypothesis import given
from hypothesis import strategies as st

from cloud_train.fleet import members
from edge.errors import EdgeloopError, RefusedError, RoadError, StorageError
from edge.identity import due
from edge.identity.command import as_enrolled, client_identity, credentials_of, renewal_for
from edge.identity.renewal import Renewal, expiry_line
from edge.identity.store import IdentityStore
from edge.identity.types import Identity
from edge.settings import AgentSettings
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import Enrolment

MOMENTS = st.floats(min_value=0, max_value=4e9)
LIVES = st.floats(min_value=1, max_value=1e9)
SHARES = st.floats(min_value=0, max_value=1)


@given(not_before=MOMENTS, life=LIVES, jitter=st.floats(allow_nan=False))
def test_renewal_is_never_before_the_half_nor_later_than_two_thirds(
    not_before: float, life: float, jitter: float
) -> None:
    moment = due.renewal_moment(not_before, not_before + life, jitter)
    assert not_before + 0.5 * life <= moment <= not_before + life * (2 / 3) + 1e-6


@given(not_before=MOMENTS, life=LIVES, jitter=SHARES, share=st.floats(min_value=-2, max_value=3))
def test_it_is_due_late_in_life_and_whenever_the_clock_cannot_tell(
    not_before: float, life: float, jitter: float, share: float
) -> None:
    now = not_before + share * life
    is_due = due.is_due(not_before, not_before + life, now, jitter)
    if now < not_before or share > 0.67:
        assert is_due
    elif 0 < share < 0.59:
        assert not is_due


@given(not_before=MOMENTS, life=LIVES, now=MOMENTS)
def test_a_failed_try_is_never_repeated_in_a_hurry_nor_forgotten(not_before: float, life: float, now: float) -> None:
    assert 1.0 <= due.retry_wait_s(not_before, not_before + life, now) <= due.DAY_S


class Renewing:
    """An enrolled device whose clocks the test holds."""

    def __init__(self, fleet: EnrolledFleet, home: Path) -> None:
        self.identity = fleet.enrol(home, "till-1")
        self.store = IdentityStore(home)
        self.settings = as_enrolled(AgentSettings(home=home))
        self.said: list[str] = []
        self.steady = 0.0
        self.road = GrpcTransport(self.settings.server, identity=client_identity(home), timeout_s=5)
        made = renewal_for(self.settings, self.road, say=self.said.append, jitter=0.5)
        assert made is not None
        self.renewal = made
        made._steady = lambda: self.steady  # the clock of a test
        made._not_before_s = 0.0

    def at(self, share: float) -> float:
        return self.identity.not_before + share * (self.identity.not_after - self.identity.not_before)


@pytest.fixture
def renewing(tmp_path: Path) -> object:
    with enrolled_fleet(tmp_path / "store") as fleet:
        device = Renewing(fleet, tmp_path / "home")
        device.fleet = fleet
        with contextlib.closing(device.road):
            yield device


def test_it_renews_when_it_is_time_and_speaks_with_the_new_certificate(renewing: Renewing) -> None:
    device, fleet = renewing, renewing.fleet
    device.renewal.step(device.road, device.at(0.3))
    assert len(fleet.members.certificates("till-1")) == 1
    device.renewal.step(device.road, device.at(0.7))
    assert (len(fleet.members.certificates("till-1")), device.said) == (2, [])
    fresh = device.store.read()
    assert fresh == device.renewal.identity
    assert fresh.key_pem != device.identity.key_pem, "a new certificate is for a new key"
    device.road.check_in(a_status("till-1"))
    device.renewal.step(device.road, device.at(0.3))
    assert len(fleet.members.certificates("till-1")) == 2
    assert fleet.actions("device:till-1").count("enrol.renewed") == 1
    with fleet.road(device.identity) as old:
        old.check_in(a_status("till-1"))  # until it expires, so that a lost write locks nobody out


def test_a_device_goes_on_speaking_when_its_first_certificate_has_expired(tmp_path: Path) -> None:
    """The whole way with a certificate that lasts for seconds, by the real clock."""
    with enrolled_fleet(tmp_path / "store", certificate_days=8 / 86_400) as fleet:
        device = Renewing(fleet, tmp_path / "home")
        with contextlib.closing(device.road):
            while time.time() < device.identity.not_after + 1.5:
                device.renewal.step(device.road, time.time())
                device.road.check_in(a_status("till-1"))
                time.sleep(0.8)
    assert device.said == []


def test_a_clock_that_cannot_tell_tries_at_once_and_then_once_a_day(renewing: Renewing) -> None:
    device = renewing
    device.renewal.step(device.road, 0.0)
    assert len(renewing.fleet.members.certificates("till-1")) == 2


def test_a_revoked_device_says_so_once_and_keeps_what_it_has(renewing: Renewing) -> None:
    device, fleet = renewing, renewing.fleet
    members.revoke(fleet.members, fleet.by(), "till-1")
    for _ in range(3):
        device.renewal.step(device.road, device.at(0.7))
        device.steady += due.DAY_S
    assert len(device.said) == 1
    assert "'till-1' was revoked" in device.said[0]
    assert "is good until" in device.said[0]
    assert device.store.read() == device.identity


def test_a_road_that_fails_is_no_news_until_time_runs_short(renewing: Renewing) -> None:
    device = renewing
    device.road.close()
    device.renewal.step(device.road, device.at(0.7))
    assert device.said == []
    device.steady += due.RETRY_S
    device.renewal.step(device.road, device.at(0.9))
    assert len(device.said) == 1


def test_an_answer_that_does_not_open_the_road_is_thrown_away(renewing: Renewing) -> None:
    """The present identity stays until the next one has been let in."""
    device = renewing
    refused: list[Identity] = []

    def not_let_in(fresh: Identity) -> None:
        refused.append(fresh)
        raise RefusedError("not you")

    device.renewal._try_out = not_let_in
    device.renewal.step(device.road, device.at(0.7))
    assert len(refused) == 1
    assert device.store.read() == device.identity
    device.road.check_in(a_status("till-1"))


def test_a_full_disk_keeps_the_present_identity(renewing: Renewing, monkeypatch: pytest.MonkeyPatch) -> None:
    device = renewing

    def full(identity: Identity) -> None:
        raise StorageError("cannot write: no space left on device")

    monkeypatch.setattr(device.store.__class__, "write", lambda self, identity: full(identity))
    device.renewal.step(device.road, device.at(0.7))
    assert "no space left" in device.said[0]
    device.road.check_in(a_status("till-1"))


def test_a_brought_certificate_is_left_to_whoever_brought_it(tmp_path: Path, some_identity: Identity) -> None:
    said: list[str] = []
    brought = dataclasses.replace(some_identity, is_brought=True)
    renewal = a_renewal(tmp_path, brought, say=said.append)
    for _ in range(2):
        renewal.step(NoRoad(), brought.not_after - 1.0)
    assert len(said) == 1
    assert "must bring the next one" in said[0]


def test_what_is_wrong_with_the_certificate_is_said_instead_of_the_road(
    some_identity: Identity, tmp_path: Path
) -> None:
    renewal = a_renewal(tmp_path, some_identity)
    road = RoadError("host:1: unavailable: ssl handshake failed")
    assert "works offline until a person enrols it anew" in renewal.explained(road, some_identity.not_after + 1)
    assert "clock of this device is wrong" in renewal.explained(road, some_identity.not_before - 1)
    assert renewal.explained(road, some_identity.not_before + 1) == str(road)
    refusal = RefusedError("no")
    assert renewal.explained(refusal, some_identity.not_after + 1) == "no"
    assert expiry_line(some_identity, some_identity.not_before) == ""


@pytest.fixture
def some_identity() -> Identity:
    return Identity(
        device_id="till-1",
        key_pem="a key",
        certificate_pem="a certificate",
        authority_pem="an authority",
        server="localhost:7443",
        not_before=1_000_000.0,
        not_after=2_000_000.0,
    )


class NoRoad:
    def renew(self, csr_pem: bytes) -> Enrolment:
        raise EdgeloopError("nobody shall ask")


def a_renewal(home: Path, identity: Identity, *, say: Callable[[str], None] = print) -> Renewal:
    return Renewal(IdentityStore(home), identity, try_out=lambda _: None, switch=lambda _: None, say=say, jitter=0.5)


def test_credentials_show_no_key(some_identity: Identity) -> None:
    assert "a key" not in repr(credentials_of(some_identity))
    assert "a key" not in repr(some_identity)

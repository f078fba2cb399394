"""Which channel a device follows: who wins, what survives, and what an update does when it has changed."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from device_world import RepositoryRoad, copy_tree, root_file
from published_files import UpdatedDevice

from cloud_train.publish.repository import Repository, open_repository
from edge import durable
from edge.bundle.reader import open_bundle
from edge.errors import StorageError
from edge.following import Following, open_following
from edge.identity.store import IdentityStore
from edge.settings import AgentSettings
from edge.update.trust import TrustStore
from edge.update.types import UpdateOutcome

NOW = time.time()


@pytest.mark.parametrize(
    ("own", "fleet", "enrolled", "channel", "reason"),
    [
        ("", "", "", "stable", "for nobody has named another"),
        ("", "", "beta", "beta", "as it was enrolled with"),
        ("", "gamma", "beta", "gamma", "as the fleet says"),
        ("", "beta", "beta", "beta", "as the fleet says"),
        ("delta", "", "beta", "delta", "as it was started with"),
        ("delta", "delta", "beta", "delta", "as it was started with"),
        ("delta", "gamma", "beta", "delta", "as it was started with; the fleet says gamma"),
    ],
)
def test_who_wins(tmp_path: Path, own: str, fleet: str, enrolled: str, channel: str, reason: str) -> None:
    if fleet:
        Following(tmp_path).hear(fleet)
    found = Following(tmp_path, own=own, enrolled=enrolled)
    assert (found.channel, found.reason) == (channel, reason)


def test_what_is_heard_survives_and_is_written_once(tmp_path: Path) -> None:
    points: list[str] = []
    durable.observe(points.append)
    following = Following(tmp_path / "home")
    said = [following.hear(channel) for channel in ("stable", "stable", "beta", "beta")]
    durable.observe(None)
    assert said == ["", "", "the fleet moves this device from channel 'stable' to 'beta'", ""]
    assert points.count("channel:after") == 2
    assert Following(tmp_path / "home").channel == "beta"
    assert json.loads((tmp_path / "home" / "channel.json").read_bytes()) == {"channel": "beta"}


def test_the_one_it_was_started_with_wins_until_it_is_left_out(tmp_path: Path) -> None:
    own = Following(tmp_path, own="stable")
    assert own.hear("beta") == "the fleet says channel 'beta'; this device keeps to 'stable', which it was started with"
    assert own.channel == "stable"
    assert own.hear("stable") == ""
    own.hear("gamma")
    assert Following(tmp_path).channel == "gamma"


@pytest.mark.parametrize("name", ["", "../x", "a/b", "Beta", "beta\n", "x" * 65, ".", "ß", "-x", "a b"])
def test_no_name_becomes_a_path(tmp_path: Path, name: str) -> None:
    following = Following(tmp_path)
    following.hear("beta")
    assert "no channel can be called so" in following.hear(name)
    assert (following.channel, Following(tmp_path).channel) == ("beta", "beta")
    (tmp_path / "channel.json").write_text(json.dumps({"channel": name}))
    assert Following(tmp_path).channel == "stable"


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"channel": 1}', b"\xff", None])
def test_a_file_that_is_damaged_says_nothing(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "channel.json"
    if content is None:
        file.mkdir()
    else:
        file.write_bytes(content)
    assert Following(tmp_path, enrolled="beta").channel == "beta"


def test_a_full_disk_leaves_the_channel_that_was_followed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    following = Following(tmp_path)
    following.hear("beta")

    def full(*_: object, **__: object) -> None:
        raise StorageError("no space left on device")

    monkeypatch.setattr("edge.durable.write_bytes", full)
    with pytest.raises(StorageError):
        following.hear("gamma")
    assert (following.channel, Following(tmp_path).channel) == ("beta", "beta")


def test_an_identity_that_cannot_be_read_names_none(tmp_path: Path) -> None:
    (tmp_path / "identity").mkdir()
    (tmp_path / "identity" / "identity.json").write_bytes(b"{")
    assert open_following(AgentSettings(home=tmp_path)).channel == "stable"
    assert open_following(AgentSettings(home=tmp_path, channel="beta")).channel == "beta"
    assert IdentityStore(tmp_path / "none").read() is None


# What an update does.


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("following")
    return {number: make_bundle(folder / str(number), version=number, flavour=number) for number in (1, 2, 3)}


@pytest.fixture
def repository(tmp_path: Path, bundles: dict[int, Path]) -> Repository:
    """Version 1 for `stable`, version 2 for `beta`."""
    made = open_repository(tmp_path / "store", now=NOW)
    made.publish(bundles[1], channel="stable", now=NOW)
    made.publish(bundles[2], channel="beta", now=NOW)
    return made


class Device(UpdatedDevice):
    """Opened anew for each update, so that it knows of its channel what is on the disk alone."""

    def __init__(self, home: Path, store: Path) -> None:
        super().__init__(home)
        self.road = RepositoryRoad(store)
        self.trust_root(root_file(store))

    def told(self, channel: str, wanted: str = "") -> tuple[UpdateOutcome, int, str]:
        """What comes of a word of the fleet, after a restart."""
        Following(self.home).hear(channel)
        self.channel = Following(self.home).channel
        result = self.update(self.road, NOW, wanted=wanted)
        self.slots.confirm()
        return result.outcome, self.runs(), result.reason


@pytest.fixture
def device(tmp_path: Path, repository: Repository) -> Device:
    made = Device(tmp_path / "home", tmp_path / "store")
    assert made.told("stable")[:2] == (UpdateOutcome.ACTIVATED, 1)
    return made


def test_a_channel_of_a_higher_version_is_taken_and_the_older_one_is_not(
    device: Device, repository: Repository, bundles: dict[int, Path]
) -> None:
    assert device.told("beta")[:2] == (UpdateOutcome.ACTIVATED, 2)
    for wanted in ("", open_bundle(bundles[1]).digest):
        outcome, version, reason = device.told("stable", wanted)
        assert (outcome, version) == (UpdateOutcome.REJECTED, 2)
        assert "version 1 is below version 2" in reason
        assert "nobody signed that this device may go back to it" in reason
    repository.publish(bundles[3], channel="stable", now=NOW)
    assert device.told("stable")[:2] == (UpdateOutcome.ACTIVATED, 3)


def test_the_way_back_is_signed_by_an_offer_on_the_channel_that_is_gone_back_to(
    device: Device, repository: Repository, bundles: dict[int, Path]
) -> None:
    device.told("beta")
    repository.offer(bundles[2], "stable", now=NOW)
    assert device.told("stable", open_bundle(bundles[1]).digest)[:2] == (UpdateOutcome.ACTIVATED, 1)


def test_a_downgrade_that_is_signed_is_a_way_back_too(
    device: Device, repository: Repository, bundles: dict[int, Path]
) -> None:
    repository.publish(bundles[3], channel="beta", now=NOW)
    device.told("beta")
    repository.publish(bundles[2], channel="stable", now=NOW, downgrade=True)
    assert device.told("stable")[:2] == (UpdateOutcome.ACTIVATED, 2)


def test_a_channel_that_the_repository_does_not_have_leaves_the_bundle(device: Device) -> None:
    reason = "nothing is signed for channel 'gamma'; the device stays on the bundle it has"
    assert device.told("gamma") == (UpdateOutcome.REJECTED, 1, reason)
    assert device.told("gamma") == (UpdateOutcome.REJECTED, 1, reason)
    assert device.told("beta")[:2] == (UpdateOutcome.ACTIVATED, 2)


def test_a_device_without_a_bundle_waits_for_one(tmp_path: Path, repository: Repository) -> None:
    fresh = Device(tmp_path / "fresh", tmp_path / "store")
    assert fresh.told("gamma") == (UpdateOutcome.CURRENT, 0, "the channel offers nothing yet")
    assert fresh.told("beta")[:2] == (UpdateOutcome.ACTIVATED, 2)


def test_a_bundle_of_another_channel_is_none(device: Device, bundles: dict[int, Path]) -> None:
    outcome, version, reason = device.told("stable", open_bundle(bundles[2]).digest)
    assert (outcome, version) == (UpdateOutcome.REJECTED, 1)
    assert "is not signed for channel 'stable'" in reason


def test_metadata_that_went_back_are_refused_on_every_channel(
    tmp_path: Path, device: Device, repository: Repository, bundles: dict[int, Path]
) -> None:
    """The count of versions is that of the repository, not of a channel."""
    device.told("beta")
    copy_tree(tmp_path / "store", tmp_path / "old")
    repository.offer(bundles[3], "stable", now=NOW)
    device.told("beta")
    device.road = RepositoryRoad(tmp_path / "old")
    for channel in ("stable", "beta"):
        outcome, version, reason = device.told(channel)
        assert (outcome, version) == (UpdateOutcome.REJECTED, 2)
        assert "rolled back or mixed up" in reason


def test_one_client_changes_its_channel_without_a_restart(tmp_path: Path, repository: Repository) -> None:
    trust = TrustStore(tmp_path / "home", RepositoryRoad(tmp_path / "store"), channel="stable")
    trust.install_root(root_file(tmp_path / "store"))
    found = [trust.refresh(NOW)]
    for channel in ("beta", "stable"):
        trust.follow(channel)
        found.append(trust.refresh(NOW))
        assert trust.last_verified().release.channel == channel
    assert [(one.release.channel, one.release.version) for one in found if one] == [
        ("stable", 1),
        ("beta", 2),
        ("stable", 1),
    ]


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


def test_an_end_at_every_durable_point_of_a_move_leaves_a_bundle_that_runs(tmp_path: Path, device: Device) -> None:
    points: list[str] = []
    copy_tree(device.home, tmp_path / "counted")
    counted = Device(tmp_path / "counted", tmp_path / "store")
    durable.observe(points.append)
    counted.told("beta")
    durable.observe(None)
    assert {"channel:before", "channel:written", "channel:after", "update.slots:after"} <= set(points)
    for number in range(1, len(points) + 1):
        copy_tree(device.home, tmp_path / str(number))
        killed, left = Device(tmp_path / str(number), tmp_path / "store"), [number]

        def observer(point: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed(point)

        durable.observe(observer)
        with pytest.raises(Killed):
            killed.told("beta")
        durable.observe(None)
        assert killed.runs() in (1, 2), points[number - 1]
        followed = Following(killed.home).channel
        assert followed == ("stable" if number < 3 else "beta"), points[number - 1]
        assert killed.told("beta")[1] == 2
        assert Following(killed.home).channel == "beta"

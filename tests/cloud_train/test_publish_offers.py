"""Candidates beside the settled bundle: what is signed, what follows what, what a kill leaves."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from device_world import RepositoryRoad, root_file
from published_files import UpdatedDevice

from cloud_train.errors import PublishError
from cloud_train.publish.offers import MAX_LIVE, MAX_WITHDRAWN, read_offers, read_settled
from cloud_train.publish.repository import Repository, open_repository
from edge import durable
from edge.bundle.reader import open_bundle
from edge.errors import UsageError
from edge.update.types import UpdateOutcome

NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("offers")
    return {number: make_bundle(folder / str(number), version=number, flavour=number % 3) for number in range(1, 15)}


@pytest.fixture
def repository(tmp_path: Path, bundles: dict[int, Path]) -> Repository:
    made = open_repository(tmp_path / "store", now=NOW)
    made.publish(bundles[2], channel="stable", now=NOW)
    return made


def digest(bundle: Path) -> str:
    return open_bundle(bundle).digest


class Device(UpdatedDevice):
    """A device of the channel that asks the repository's own folder."""

    def __init__(self, home: Path, store: Path) -> None:
        super().__init__(home)
        self.road = RepositoryRoad(store)
        self.trust_root(root_file(store))

    def told(self, wanted: str = "") -> tuple[UpdateOutcome, int]:
        outcome = self.update(self.road, NOW, wanted=wanted).outcome
        self.slots.confirm()
        return outcome, self.runs()


@pytest.fixture
def device(tmp_path: Path, repository: Repository) -> Device:
    made = Device(tmp_path / "home", tmp_path / "store")
    assert made.told() == (UpdateOutcome.ACTIVATED, 2)
    return made


def test_a_candidate_stands_beside_the_settled_one(repository: Repository, bundles: dict[int, Path]) -> None:
    offered = repository.offer(bundles[3], "stable", now=NOW)
    assert (offered.digest, offered.version, offered.rollback_to) == (digest(bundles[3]), 3, (digest(bundles[2]),))
    assert repository.offers("stable") == read_offers(repository.folder, "stable") == (offered,)
    assert repository.current("stable").version == 2
    assert repository.offers("beta") == ()
    again = repository.offer(bundles[3], "stable", now=NOW)
    assert again == offered
    assert repository.current("stable").metadata_version == 3  # the second call signed nothing


def test_only_the_devices_that_are_told_take_it(
    repository: Repository, device: Device, bundles: dict[int, Path], tmp_path: Path
) -> None:
    old = Device(tmp_path / "old", tmp_path / "store")
    old.told()
    repository.offer(bundles[3], "stable", now=NOW)
    assert old.told() == (UpdateOutcome.CURRENT, 2)
    assert old.told(digest(bundles[2])) == (UpdateOutcome.CURRENT, 2)
    assert device.told(digest(bundles[3])) == (UpdateOutcome.ACTIVATED, 3)
    assert device.told(digest(bundles[3])) == (UpdateOutcome.CURRENT, 3)
    assert device.told() == (UpdateOutcome.CURRENT, 3)


def test_going_back_needs_no_download_and_forgets_nothing(
    repository: Repository, device: Device, bundles: dict[int, Path]
) -> None:
    repository.offer(bundles[3], "stable", now=NOW)
    device.told(digest(bundles[3]))
    before = [path for path, _ in device.road.fetched]
    assert device.told(digest(bundles[2])) == (UpdateOutcome.ACTIVATED, 2)
    assert device.slots.state.trial == ""  # it ran here before
    assert device.tested[-1] == digest(bundles[2])
    assert device.told(digest(bundles[3])) == (UpdateOutcome.ACTIVATED, 3)
    after = [path for path, _ in device.road.fetched][len(before) :]
    assert not [path for path in after if path.startswith(("files/", "targets/"))]
    assert device.slots.state.rejected == ()


def test_a_damaged_slot_is_fetched_when_it_is_gone_back_to(
    repository: Repository, device: Device, bundles: dict[int, Path]
) -> None:
    repository.offer(bundles[3], "stable", now=NOW)
    device.told(digest(bundles[3]))
    model = device.slots.folder("a") / "tiny_fp32.onnx"
    model.write_bytes(b"x" * model.stat().st_size)
    assert device.told(digest(bundles[2])) == (UpdateOutcome.ACTIVATED, 2)
    assert device.slots.open_active() is not None


def test_a_bundle_that_fails_on_the_way_back_is_rejected(
    repository: Repository, device: Device, bundles: dict[int, Path]
) -> None:
    repository.offer(bundles[3], "stable", now=NOW)
    device.told(digest(bundles[3]))
    device.fails.add(digest(bundles[2]))
    assert device.told(digest(bundles[2])) == (UpdateOutcome.REJECTED, 3)
    assert device.slots.state.rejected == (digest(bundles[2]),)


def test_a_finished_rollout(repository: Repository, device: Device, bundles: dict[int, Path], tmp_path: Path) -> None:
    repository.offer(bundles[3], "stable", now=NOW)
    device.told(digest(bundles[3]))
    release = repository.promote("stable", digest(bundles[3]), now=NOW)
    assert (release.version, repository.offers("stable")) == (3, ())
    assert repository.promote("stable", digest(bundles[3]), now=NOW) == release
    travelled = device.road.fetched_bytes
    assert device.told() == (UpdateOutcome.CURRENT, 3)
    assert device.road.fetched_bytes - travelled < 5000  # metadata alone
    late = Device(tmp_path / "late", tmp_path / "store")
    assert late.told() == (UpdateOutcome.ACTIVATED, 3)
    plain = tmp_path / "store" / "repository" / "targets" / "channel" / "stable" / "manifest.json"
    assert json.loads(plain.read_bytes())["version"] == 3
    assert read_settled(repository.folder, "stable").rollback_to == (digest(bundles[2]),)


def test_a_rollout_that_was_rolled_back(
    repository: Repository, device: Device, bundles: dict[int, Path], tmp_path: Path
) -> None:
    """Also a device that slept through it all goes back when it wakes up, and nobody else takes the bundle."""
    repository.offer(bundles[3], "stable", now=NOW)
    device.told(digest(bundles[3]))
    repository.withdraw("stable", digest(bundles[3]), now=NOW)
    version = repository.current("stable").metadata_version
    repository.withdraw("stable", digest(bundles[3]), now=NOW)
    assert repository.current("stable").metadata_version == version
    assert repository.offers("stable") == ()
    other = Device(tmp_path / "other", tmp_path / "store")
    assert other.told(digest(bundles[3])) == (UpdateOutcome.ACTIVATED, 2)
    assert other.told(digest(bundles[3])) == (UpdateOutcome.REJECTED, 2)
    assert device.told(digest(bundles[2])) == (UpdateOutcome.ACTIVATED, 2)
    repository.publish(bundles[4], channel="stable", now=NOW)
    assert device.told() == (UpdateOutcome.ACTIVATED, 4)


def test_two_candidates_side_by_side(repository: Repository, device: Device, bundles: dict[int, Path]) -> None:
    repository.offer(bundles[3], "stable", now=NOW)
    repository.offer(bundles[4], "stable", now=NOW, rollback_to=(digest(bundles[2]), digest(bundles[3])))
    assert [offered.version for offered in repository.offers("stable")] == [3, 4]
    assert device.told(digest(bundles[4])) == (UpdateOutcome.ACTIVATED, 4)
    assert device.told(digest(bundles[3])) == (UpdateOutcome.ACTIVATED, 3)


def test_a_signed_downgrade(repository: Repository, device: Device, bundles: dict[int, Path], tmp_path: Path) -> None:
    with pytest.raises(PublishError, match="bundle version 1 is not above version 2"):
        repository.publish(bundles[1], channel="stable", now=NOW)
    release = repository.publish(bundles[1], channel="stable", now=NOW, downgrade=True)
    assert release.version == 1
    assert device.told() == (UpdateOutcome.ACTIVATED, 1)


def test_the_rules(repository: Repository, bundles: dict[int, Path], tmp_path: Path, make_bundle) -> None:
    with pytest.raises(PublishError, match="what the channel offers to everybody already"):
        repository.offer(bundles[2], "stable", now=NOW)
    with pytest.raises(PublishError, match="version 1 is not above version 2"):
        repository.offer(bundles[1], "stable", now=NOW)
    repository.offer(bundles[1], "stable", now=NOW, downgrade=True)
    repository.offer(bundles[3], "stable", now=NOW)
    with pytest.raises(PublishError, match="another bundle of version 3 is offered already"):
        repository.offer(make_bundle(tmp_path / "other", version=3, flavour=7), "stable", now=NOW)
    with pytest.raises(PublishError, match="more than 16 bundles to go back to"):
        repository.offer(bundles[4], "stable", now=NOW, rollback_to=tuple(f"{one:064x}" for one in range(17)))
    with pytest.raises(UsageError, match="is not a channel name"):
        repository.offer(bundles[4], "../x", now=NOW)
    for call in (repository.promote, repository.withdraw):
        with pytest.raises(PublishError, match="offers no bundle eeeeeeeeeeee"):
            call("stable", "e" * 64, now=NOW)
    with pytest.raises(PublishError, match="offers no bundle"):
        repository.withdraw("stable", digest(bundles[2]), now=NOW)


def test_there_is_room_for_so_many(repository: Repository, bundles: dict[int, Path]) -> None:
    for number in range(3, 3 + MAX_LIVE):
        repository.offer(bundles[number], "stable", now=NOW)
    with pytest.raises(PublishError, match="8 candidates, the most there may be"):
        repository.offer(bundles[3 + MAX_LIVE], "stable", now=NOW)
    for number in range(3, 3 + MAX_LIVE):
        repository.withdraw("stable", digest(bundles[number]), now=NOW)
    for number in range(3 + MAX_LIVE, 14):
        repository.offer(bundles[number], "stable", now=NOW)
        repository.withdraw("stable", digest(bundles[number]), now=NOW)
    state = json.loads(max((repository.folder / "metadata").glob("*.targets.json"), key=_number).read_bytes())
    names = [name for name in state["signed"]["targets"] if "/offers/" in name]
    assert len(names) <= MAX_WITHDRAWN + 1
    assert f"channel/stable/offers/{digest(bundles[3])}.json" not in names


def _number(path: Path) -> int:
    return int(path.name.split(".")[0])


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


def _points(action: Callable[[], object]) -> list[str]:
    seen: list[str] = []
    durable.observe(seen.append)
    try:
        action()
    finally:
        durable.observe(None)
    return seen


@pytest.mark.parametrize("step", ["offer", "promote", "withdraw", "encrypt"])
def test_killed_at_any_durable_write_a_device_finds_old_or_new(
    tmp_path: Path, repository: Repository, bundles: dict[int, Path], step: str
) -> None:
    wanted = digest(bundles[3])
    if step in ("promote", "withdraw"):
        repository.offer(bundles[3], "stable", now=NOW)

    def act(store: Path) -> object:
        opened = open_repository(store, now=NOW)
        if step in ("promote", "withdraw"):
            return getattr(opened, step)("stable", wanted, now=NOW)
        return opened.offer(bundles[3], "stable", now=NOW, encrypt=step == "encrypt")

    shutil.copytree(tmp_path / "store", tmp_path / "counted")
    points = _points(lambda: act(tmp_path / "counted"))
    assert "publish.timestamp:after" in points
    files = [number for number, point in enumerate(points, start=1) if point.startswith("publish.file:")]
    for number in sorted(set(range(1, len(points) + 1)) - set(files[2:-2])):
        store, left = tmp_path / f"store-{number}", [number]
        shutil.copytree(tmp_path / "store", store)

        def observer(point: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed(point)

        durable.observe(observer)
        with pytest.raises(Killed):
            act(store)
        durable.observe(None)
        trust = UpdatedDevice(tmp_path / f"home-{number}")
        trust.trust_root(root_file(store))
        channel = trust.updater(RepositoryRoad(store))._trust.look(NOW)
        assert channel.settled is not None
        act(store)
        assert _points(lambda store=store: act(store)) == [] or step == "encrypt"
        assert not list(store.rglob("*.tmp"))

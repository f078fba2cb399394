"""Keys, thresholds and root: the ceremony, an offline root, rotation, and what a kill leaves."""

from __future__ import annotations

import json
import shutil
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from device_world import RepositoryRoad, edgeloop, error_line, root_file
from published_files import UpdatedDevice

from cloud_train.errors import PublishError
from cloud_train.publish.cli import publish
from cloud_train.publish.key_list import list_roles
from cloud_train.publish.keys import create_key, read_keys
from cloud_train.publish.repository import open_repository
from cloud_train.publish.root import (
    apply_draft,
    change_root,
    draft_of,
    init_repository,
    remove_key,
    rotate,
    set_threshold,
    sign_draft,
)
from edge import durable
from edge.errors import StorageError, UsageError
from edge.update.types import UpdateOutcome

NOW = 1_700_000_000.0
DAY = 86_400.0


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> list[Path]:
    folder = tmp_path_factory.mktemp("keys")
    return [make_bundle(folder / str(number), version=number, flavour=number) for number in (1, 2, 3)]


@pytest.fixture
def holders(tmp_path: Path) -> list[Path]:
    return [tmp_path / f"holder-{number}" for number in range(3)]


@pytest.fixture
def store(tmp_path: Path, holders: list[Path]) -> Path:
    """Three holders of root, of whom two must sign; nothing of root is in the store."""
    init_repository(tmp_path / "s", now=NOW, root_folders=holders, root_keys=3, root_threshold=2)
    return tmp_path / "s"


class Device(UpdatedDevice):
    def __init__(self, home: Path, store: Path) -> None:
        super().__init__(home)
        self.store = store
        self.trust_root(root_file(store))

    def look(self, now: float = NOW) -> str:
        """Why it takes nothing, or the version it runs."""
        result = self.update(RepositoryRoad(self.store), now)
        self.slots.confirm()
        return result.reason or str(self.runs())


def renewed_timestamp(store: Path, holders: list[Path]) -> None:
    new = create_key(store / "keys", "timestamp").public_key
    draft = change_root(store, lambda root: rotate(root, "timestamp", [new]), now=NOW)
    for holder in holders:
        sign_draft(draft.file, holder)
    apply_draft(store, now=NOW)


def test_root_stays_away_and_publishing_goes_on(
    tmp_path: Path, store: Path, holders: list[Path], bundles: list[Path]
) -> None:
    assert [path.name for path in sorted((store / "keys").iterdir())] == [
        "snapshot.pem",
        "targets.pem",
        "timestamp.pem",
    ]
    assert all([path.name for path in holder.iterdir()] == ["root.pem"] for holder in holders)
    assert stat.S_IMODE(holders[0].stat().st_mode) == 0o700
    repository = open_repository(store, now=NOW)
    repository.publish(bundles[0], channel="stable", now=NOW)
    assert Device(tmp_path / "home", store).look() == "1"
    assert repository.renew(NOW + 200 * DAY) == ("targets", "snapshot", "timestamp")
    assert "root version 1 expires on 2024-11-13 and its keys are not here" in repository.root_wants_keys(
        NOW + 200 * DAY
    )
    assert repository.root_wants_keys(NOW) == ""


def test_holders_sign_one_after_another(tmp_path: Path, store: Path, holders: list[Path], bundles: list[Path]) -> None:
    open_repository(store, now=NOW).publish(bundles[0], channel="stable", now=NOW)
    device = Device(tmp_path / "home", store)
    assert device.look() == "1"
    new = create_key(store / "keys", "timestamp").public_key
    draft = change_root(store, lambda root: rotate(root, "timestamp", [new]), now=NOW)
    assert (draft.version, draft.signed, draft.signed_new, draft.is_complete) == (2, (0, 2), (0, 2), False)
    carried = tmp_path / "stick" / "root-draft.json"
    carried.parent.mkdir()
    shutil.copyfile(draft.file, carried)
    assert sign_draft(carried, holders[0]) == 1
    shutil.copyfile(carried, draft.file)
    with pytest.raises(PublishError, match="has 1 of 2 signatures of the present root keys and 1 of 2 of its own"):
        apply_draft(store, now=NOW)
    assert device.look() == "1"
    sign_draft(draft.file, holders[2])
    assert draft_of(store).is_complete
    assert apply_draft(store, now=NOW) == 2
    assert not draft.file.exists()
    open_repository(store, now=NOW).publish(bundles[1], channel="stable", now=NOW)
    assert device.look() == "2"


def test_the_same_holder_twice_is_one_signature(store: Path, holders: list[Path]) -> None:
    draft = change_root(store, lambda root: None, now=NOW)
    for _ in range(2):
        sign_draft(draft.file, holders[0])
    assert draft_of(store).signed == (1, 2)


def test_a_stranger_counts_nothing_and_travels_nowhere(tmp_path: Path, store: Path, holders: list[Path]) -> None:
    create_key(tmp_path / "stranger", "root")
    draft = change_root(store, lambda root: None, now=NOW)
    for folder in (tmp_path / "stranger", *holders[:2]):
        sign_draft(draft.file, folder)
    assert draft_of(store).signed == (2, 2)
    apply_draft(store, now=NOW)
    root = json.loads((store / "repository" / "metadata" / "2.root.json").read_bytes())
    assert len(root["signatures"]) == 2


def test_a_change_throws_signatures_away(store: Path, holders: list[Path]) -> None:
    draft = change_root(store, lambda root: None, now=NOW)
    sign_draft(draft.file, holders[0])
    assert change_root(store, lambda root: set_threshold(root, "root", 3), now=NOW).signed == (0, 2)
    assert draft_of(store).changes[0] == "root: 3 must sign instead of 2"


@pytest.mark.parametrize("role", ["root", "targets", "snapshot", "timestamp"])
def test_every_role_can_be_rotated_and_devices_follow(
    tmp_path: Path, store: Path, holders: list[Path], bundles: list[Path], role: str
) -> None:
    open_repository(store, now=NOW).publish(bundles[0], channel="stable", now=NOW)
    device = Device(tmp_path / "home", store)
    device.look()
    places = [tmp_path / f"new-{number}" for number in range(3)] if role == "root" else [store / "keys"]
    new = [create_key(place, role).public_key for place in places]
    draft = change_root(store, lambda root: rotate(root, role, new), now=NOW)
    for folder in (*holders, *(places if role == "root" else ())):
        sign_draft(draft.file, folder)
    assert apply_draft(store, now=NOW) == 2
    assert device.look() == "1"
    open_repository(store, now=NOW).publish(bundles[1], channel="stable", now=NOW)
    assert device.look() == "2"
    assert Device(tmp_path / "late", store).look() == "2"


def test_new_root_keys_alone_are_not_enough(tmp_path: Path, store: Path, holders: list[Path]) -> None:
    new = create_key(tmp_path / "new", "root").public_key

    def edit(root: object) -> None:
        set_threshold(root, "root", 1)
        rotate(root, "root", [new])

    draft = change_root(store, edit, now=NOW)
    sign_draft(draft.file, tmp_path / "new")
    assert (draft_of(store).signed, draft_of(store).signed_new) == ((0, 2), (1, 1))
    with pytest.raises(PublishError, match="has 0 of 2 signatures of the present root keys"):
        apply_draft(store, now=NOW)


def test_a_root_that_names_keys_that_nobody_has_is_not_put_into_force(store: Path, holders: list[Path]) -> None:
    from securesystemslib.signer import CryptoSigner

    gone = CryptoSigner.generate_ed25519().public_key
    draft = change_root(store, lambda root: rotate(root, "targets", [gone]), now=NOW)
    for holder in holders:
        sign_draft(draft.file, holder)
    with pytest.raises(StorageError, match=r"the signing key .*targets\.pem is missing"):
        apply_draft(store, now=NOW)
    assert not (store / "repository" / "metadata" / "2.root.json").exists()


def test_the_keys_of_a_role_come_and_go(store: Path, holders: list[Path], bundles: list[Path], tmp_path: Path) -> None:
    first = read_keys(store / "keys", "targets")[0].public_key.keyid
    second = create_key(store / "keys", "targets").public_key

    def two(root: object) -> None:
        root.add_key(second, "targets")  # type: ignore[attr-defined]
        set_threshold(root, "targets", 2)

    draft = change_root(store, two, now=NOW)
    for holder in holders:
        sign_draft(draft.file, holder)
    apply_draft(store, now=NOW)
    open_repository(store, now=NOW).publish(bundles[0], channel="stable", now=NOW)
    assert Device(tmp_path / "home", store).look() == "1"
    targets = max((store / "repository" / "metadata").glob("*.targets.json"))
    assert len(json.loads(targets.read_bytes())["signatures"]) == 2
    with pytest.raises(PublishError, match="fewer keys than must sign"):
        change_root(store, lambda root: remove_key(root, "targets", first), now=NOW)
    with pytest.raises(PublishError, match="0 keys of targets begin with 'zz'"):
        change_root(store, lambda root: remove_key(root, "targets", "zz"), now=NOW)
    with pytest.raises(PublishError, match="targets has 2 keys, so 3 of them cannot sign"):
        change_root(store, lambda root: set_threshold(root, "targets", 3), now=NOW)

    def one(root: object) -> None:
        set_threshold(root, "targets", 1)
        remove_key(root, "targets", first)

    for holder in holders:
        sign_draft(change_root(store, one, now=NOW).file if holder is holders[0] else draft.file, holder)
    assert apply_draft(store, now=NOW) == 3
    open_repository(store, now=NOW).publish(bundles[1], channel="stable", now=NOW)
    assert Device(tmp_path / "late", store).look() == "2"


def test_encrypted_keys(tmp_path: Path, bundles: list[Path]) -> None:
    store = tmp_path / "s"
    init_repository(store, now=NOW, passphrase=b"geheim")
    assert all(b"BEGIN ENCRYPTED PRIVATE KEY" in path.read_bytes() for path in (store / "keys").iterdir())
    with pytest.raises(UsageError, match=r"is encrypted, and there is no passphrase \(put it into EDGELOOP_PUBLISH"):
        open_repository(store, now=NOW)
    with pytest.raises(UsageError, match="cannot be opened with this passphrase") as caught:
        open_repository(store, now=NOW, ask=lambda path: b"falsch")
    assert "falsch" not in str(caught.value)
    repository = open_repository(store, now=NOW, ask=lambda path: b"geheim")
    assert repository.publish(bundles[0], channel="stable", now=NOW).version == 1


def test_a_repository_is_made_once(store: Path, holders: list[Path], tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="has a repository already"):
        init_repository(store, now=NOW)
    with pytest.raises(UsageError, match="there are root keys in"):
        init_repository(tmp_path / "other", now=NOW, root_folders=[holders[0]])


def test_where_the_keys_are(store: Path, holders: list[Path]) -> None:
    listed = {role.role: role for role in list_roles(store, holders[:1])}
    assert (listed["root"].threshold, len(listed["root"].keys), listed["root"].expires) == (2, 3, "2024-11-13")
    assert sorted(bool(key.place) for key in listed["root"].keys) == [False, False, True]
    assert listed["targets"].keys[0].place == str(store / "keys" / "targets.pem")


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


def test_killed_at_any_durable_write_of_a_new_root(
    tmp_path: Path, store: Path, holders: list[Path], bundles: list[Path]
) -> None:
    """All online keys at once: after each end the same call finishes, and devices follow."""
    open_repository(store, now=NOW).publish(bundles[0], channel="stable", now=NOW)
    device = Device(tmp_path / "home", store)
    device.look()
    roles = ("targets", "snapshot", "timestamp")
    new = {role: create_key(store / "keys", role).public_key for role in roles}

    def edit(root: object) -> None:
        for role in roles:
            rotate(root, role, [new[role]])

    draft = change_root(store, edit, now=NOW)
    for holder in holders:
        sign_draft(draft.file, holder)
    points: list[str] = []
    shutil.copytree(store, tmp_path / "counted")
    durable.observe(points.append)
    apply_draft(tmp_path / "counted", now=NOW)
    durable.observe(None)
    assert [point for point in points if point.endswith(":after")] == [
        "publish.root:after",
        "publish.targets:after",
        "publish.snapshot:after",
        "publish.timestamp:after",
    ]
    for number in range(1, len(points) + 1):
        copy, left = tmp_path / f"s-{number}", [number]
        shutil.copytree(store, copy)

        def observer(point: str, left: list[int] = left) -> None:
            left[0] -= 1
            if left[0] == 0:
                raise Killed(point)

        durable.observe(observer)
        with pytest.raises(Killed):
            apply_draft(copy, now=NOW)
        durable.observe(None)
        apply_draft(copy, now=NOW)
        shutil.copytree(device.home, tmp_path / f"home-{number}")
        follower = UpdatedDevice(tmp_path / f"home-{number}")
        assert follower.update(RepositoryRoad(copy), NOW).outcome is UpdateOutcome.CURRENT, points[number - 1]
        open_repository(copy, now=NOW).publish(bundles[1], channel="stable", now=NOW)
        assert follower.update(RepositoryRoad(copy), NOW).outcome is UpdateOutcome.ACTIVATED


def test_a_publisher_that_was_killed_between_root_and_timestamp_mends_it_when_it_publishes(
    tmp_path: Path, store: Path, holders: list[Path], bundles: list[Path]
) -> None:
    open_repository(store, now=NOW).publish(bundles[0], channel="stable", now=NOW)
    device = Device(tmp_path / "home", store)
    device.look()
    new = create_key(store / "keys", "timestamp").public_key
    draft = change_root(store, lambda root: rotate(root, "timestamp", [new]), now=NOW)
    for holder in holders:
        sign_draft(draft.file, holder)

    def observer(point: str) -> None:
        if point == "publish.root:after":
            raise Killed(point)

    durable.observe(observer)
    with pytest.raises(Killed):
        apply_draft(store, now=NOW)
    durable.observe(None)
    assert "is not signed by the keys this device trusts" in device.look()
    open_repository(store, now=NOW)
    assert device.look() == "1"


def test_the_commands(tmp_path: Path, bundles: list[Path]) -> None:
    store, one, two = tmp_path / "s", tmp_path / "one", tmp_path / "two"
    secret = {"EDGELOOP_PUBLISH_PASSPHRASE": "geheim"}

    def run(*words: object, env: dict[str, str] | None = None) -> Result:
        return CliRunner(env=env if env is not None else secret).invoke(publish, [str(word) for word in words])

    init = ("keys", "init", "--store", store, "--root-keys", 2, "--root-threshold", 2)
    unsaid = run(*init, "--encrypt-keys", env={})
    assert str(unsaid.exception) == "no passphrase for the new keys (put it into EDGELOOP_PUBLISH_PASSPHRASE)"
    made = run(*init, "--root-out", one, "--root-out", two, "--passphrase-env", "OURS", env={"OURS": "geheim"})
    assert (made.exit_code, "geheim" in made.output) == (0, False), made.exception
    closed = run(bundles[0], "--store", store, env={})
    assert "is encrypted, and there is no passphrase" in str(closed.exception)
    assert run(bundles[0], "--store", store).exit_code == 0
    waits = run("keys", "rotate", "timestamp", "--store", store, "--root-keys", one)
    assert (waits.exit_code, "1 of 2 of the present root keys" in waits.output) == (0, True)
    early = run("keys", "apply", "--store", store)
    assert "has 1 of 2 signatures" in str(early.exception)
    assert run("keys", "sign", "--root-keys", two, store / "root-draft.json").exit_code == 0
    assert run("keys", "apply", "--store", store).output == "root version 2 is in force\n"
    listed = json.loads(run("keys", "list", "--store", store, "--json").output)
    assert [role["role"] for role in listed] == ["root", "targets", "snapshot", "timestamp"]
    assert run("renew", "--store", store).output == "renewed timestamp\n"
    assert "there is no root in preparation" in str(run("keys", "apply", "--store", store).exception)
    assert "0 keys of targets begin with" in str(run("keys", "remove", "targets", "zz", "--store", store).exception)
    assert "cannot sign" in str(run("keys", "threshold", "targets", 2, "--store", store).exception)
    more = run("keys", "add", "targets", "--store", store, "--root-keys", one, "--root-keys", two)
    assert more.output.endswith("root version 3 is in force\n"), more.exception
    renewed = run("keys", "renew", "--store", store, "--root-keys", one, "--root-keys", two)
    assert renewed.output.endswith("root version 4 is in force\n"), renewed.exception


def test_candidates_by_command(tmp_path: Path, bundles: list[Path]) -> None:
    store = tmp_path / "s"

    def run(*words: object) -> Result:
        return CliRunner().invoke(publish, [str(word) for word in words])

    assert run(bundles[0], "--store", store).exit_code == 0
    offered = run("offer", bundles[1], "--store", store)
    assert offered.output.startswith("channel stable offers tiny version 2 as a candidate ("), offered.exception
    digest = offered.output.split("(")[1].strip(")\n")
    assert "0 candidates of channel stable begin with 'zz'" in str(run("promote", "zz", "--store", store).exception)
    assert run("promote", digest[:8], "--store", store).exit_code == 0
    third = run("offer", bundles[2], "--store", store).output.split("(")[1].strip(")\n")
    assert run("withdraw", third[:12], "--store", store).exit_code == 0
    assert [release.version for release in [open_repository(store, now=NOW).current("stable")]] == [2]
    assert "nothing was ever published in" in str(run("withdraw", "x", "--store", tmp_path / "no").exception)
    assert run("keys", "fleet", "--store", store).exit_code == 0
    assert len((store / "keys" / "fleet.key").read_text().split()) == 1


def test_a_wrong_command_as_people_see_it(tmp_path: Path) -> None:
    failed = edgeloop("publish", "keys", "list", "--store", tmp_path)
    assert (failed.returncode, "has no repository (make one with" in error_line(failed)) == (2, True)

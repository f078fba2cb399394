"""Rollouts beside what is published meanwhile: every way back is signed, and nothing older replaces something newer."""

from __future__ import annotations

import asyncio
import hashlib
import json
import shutil
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from device_world import RepositoryRoad, root_file
from published_files import UpdatedDevice
from rollout_values import BASE, NEW, START, make_hour, make_rollout, row

from cloud_train.cli import edgeloop
from cloud_train.errors import PublishError, RolloutError
from cloud_train.fleet.acts import Act, act, start
from cloud_train.fleet.check_in import Channel, sound_hours
from cloud_train.fleet.health import NOBODY, new_health, old_health, with_changes
from cloud_train.fleet.launch import Launch, launch
from cloud_train.fleet.rollout import checks_of, judge
from cloud_train.fleet.watch import WatchParts, is_unsettled, watch
from cloud_train.fleet_types import HealthLimits, Ring, Rollout, RolloutKind, RolloutPlan, RolloutState
from cloud_train.publish.keys import create_key
from cloud_train.publish.offers import read_settled
from cloud_train.publish.repository import Repository, open_repository
from cloud_train.publish.root import apply_draft, change_root, init_repository, rotate, sign_draft
from cloud_train.store.database import open_database
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.opened import open_store
from cloud_train.store.rollouts import SqlRolloutStore
from cloud_train.store.roster import SqlRoster
from edge.bundle.reader import open_bundle
from edge.update.types import UpdateOutcome

NOW = 1_700_000_000.0
OTHER = "c" * 64
MODELS = ("tiny_fp32.onnx", "tiny_fp32.tflite")


# What devices report.


def test_an_hour_with_more_outcomes_than_frames_is_not_taken() -> None:
    whole = make_hour(frames=100, accepted=80, confirmed=10, unknown=10)
    fewer = make_hour(frames=100, accepted=1, confirmed=0, unknown=0)
    lies = [
        make_hour(frames=100, accepted=101, confirmed=0, unknown=0),
        make_hour(frames=100, accepted=50, confirmed=50, unknown=1),
        make_hour(frames=0, accepted=0, confirmed=0, unknown=1),
    ]
    assert sound_hours((whole, *lies, fewer), now=START) == (whole, fewer)


def test_rows_that_make_no_sense_and_are_stored_already_stop_no_rollout() -> None:
    def rows(*, hour: int) -> list[object]:
        return [row(f"k{number}", hour=hour)._replace(accepted=9000, unknown=7000) for number in range(3)]

    new = with_changes(new_health(rows(hour=5), NOBODY), rows(hour=5), rows(hour=1))
    old = with_changes(old_health(rows(hour=5), NOBODY, beside=rows(hour=5)), rows(hour=5), rows(hour=1))
    assert new.accept.value == 45.0
    assert list(checks_of(HealthLimits(), new, old))
    judge(make_rollout(), new, old, START + 60)


# The watch.


def watch_parts(folder: Path) -> WatchParts:
    database = open_database(folder / "meta.sqlite")
    return WatchParts(
        rollouts=SqlRolloutStore(database),
        hours=SqlHourStore(database),
        roster=SqlRoster(database),
        default_channel="stable",
    )


def test_a_look_that_fails_as_nobody_thought_of_is_not_the_last(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    parts, looks = watch_parts(tmp_path), []

    async def run() -> None:
        loop = asyncio.get_running_loop()

        def in_thread(look: Callable[[], object]) -> asyncio.Future[object]:
            looks.append(look)
            if len(looks) == 1:
                raise ZeroDivisionError("nobody thought of this")
            return loop.run_in_executor(None, look)

        task = asyncio.create_task(watch(parts, interval_s=0.001, clock=lambda: START, in_thread=in_thread))
        async with asyncio.timeout(10):
            while len(looks) < 4 and not task.done():
                await asyncio.sleep(0.001)
        assert not task.done()
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(run())
    assert "nobody thought of this" in caplog.text


@pytest.mark.parametrize(
    ("state", "settled", "expected"),
    [
        (RolloutState.DONE, BASE, True),
        (RolloutState.DONE, "", True),
        (RolloutState.DONE, OTHER, False),  # published since
        (RolloutState.DONE, NEW, False),
        (RolloutState.ROLLED_BACK, OTHER, True),  # its candidate is withdrawn all the same
        (RolloutState.RUNNING, BASE, False),
    ],
    ids=["its base", "nothing", "another", "itself", "rolled back", "running"],
)
def test_a_finished_rollout_replaces_only_what_it_was_to_replace(
    state: RolloutState, settled: str, expected: bool
) -> None:
    channel = Channel(settled=settled, offered=frozenset((BASE, NEW, settled)))
    assert is_unsettled(make_rollout(state=state), channel) is expected


# What people do.


def test_a_finished_rollout_that_is_what_the_channel_offers_cannot_be_rolled_back(tmp_path: Path) -> None:
    rollouts = watch_parts(tmp_path).rollouts
    started = start(replace(make_rollout(), rollout_id=0), rollouts, who="ada")
    act(started.rollout_id, Act.FINISH, rollouts, who="ada", now=START + 1)
    with pytest.raises(RolloutError, match="is what channel stable offers by now") as caught:
        act(started.rollout_id, Act.ROLLBACK, rollouts, who="ada", now=START + 2, settled_of=lambda channel: NEW)
    assert "\n" not in str(caught.value)
    assert "--downgrade" in caught.value.hint
    assert rollouts.rollout(started.rollout_id).state is RolloutState.DONE
    after = act(started.rollout_id, Act.ROLLBACK, rollouts, who="ada", now=START + 3, settled_of=lambda channel: BASE)
    assert after.state is RolloutState.ROLLED_BACK  # as long as its metadata have not followed


# What is signed.


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory, make_bundle: Callable[..., Path]) -> dict[int, Path]:
    folder = tmp_path_factory.mktemp("ways-back")
    return {number: make_bundle(folder / str(number), version=number, flavour=number) for number in (1, 2, 3)}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "store"


@pytest.fixture
def repository(store: Path, bundles: dict[int, Path]) -> Repository:
    """Version 3 was offered while version 1 was the settled one; by now that is version 2."""
    made = open_repository(store, now=NOW)
    made.publish(bundles[1], channel="stable", now=NOW)
    made.offer(bundles[3], "stable", now=NOW)
    made.publish(bundles[2], channel="stable", now=NOW)
    return made


def digest(bundle: Path) -> str:
    return open_bundle(bundle).digest


def launched(store: Path, bundle: str) -> Rollout:
    plan = RolloutPlan(rings=(Ring(percent=100.0),), limits=HealthLimits())
    wanted = Launch(bundle=bundle, channel="stable", kind=RolloutKind.ROLLOUT, plan=plan, who="ada", now=NOW)
    with open_store(store) as opened:
        return launch(opened, wanted)


class Device(UpdatedDevice):
    def __init__(self, home: Path, store: Path) -> None:
        super().__init__(home)
        self.road = RepositoryRoad(store)
        self.trust_root(root_file(store))

    def told(self, wanted: str = "") -> tuple[UpdateOutcome, int]:
        outcome = self.update(self.road, NOW, wanted=wanted).outcome
        self.slots.confirm()
        return outcome, self.runs()


def test_a_rollout_of_an_older_offer_signs_the_way_back_to_what_is_settled_now(
    store: Path, repository: Repository, bundles: dict[int, Path], tmp_path: Path
) -> None:
    assert repository.offers("stable")[0].rollback_to == (digest(bundles[1]),)
    assert launched(store, digest(bundles[3])).base_digest == digest(bundles[2])
    (offer,) = open_repository(store, now=NOW).offers("stable")
    assert offer.rollback_to == (digest(bundles[2]), digest(bundles[1]))
    device = Device(tmp_path / "home", store)
    assert device.told() == (UpdateOutcome.ACTIVATED, 2)
    assert device.told(digest(bundles[3])) == (UpdateOutcome.ACTIVATED, 3)
    assert device.told(digest(bundles[2])) == (UpdateOutcome.ACTIVATED, 2)


def test_what_may_be_gone_back_to_is_signed_once(repository: Repository, bundles: dict[int, Path]) -> None:
    repository.allow_back("stable", digest(bundles[3]), digest(bundles[2]), now=NOW)
    version = repository.current("stable").metadata_version
    repository.allow_back("stable", digest(bundles[3]), digest(bundles[2]), now=NOW)
    assert repository.current("stable").metadata_version == version
    with pytest.raises(PublishError, match="offers no bundle"):
        repository.allow_back("stable", OTHER, digest(bundles[2]), now=NOW)


def test_withdrawing_an_older_offer_signs_the_way_back_to_what_is_settled_now(
    store: Path, repository: Repository, bundles: dict[int, Path], tmp_path: Path
) -> None:
    device = Device(tmp_path / "home", store)
    device.told()
    assert device.told(digest(bundles[3])) == (UpdateOutcome.ACTIVATED, 3)
    repository.withdraw("stable", digest(bundles[3]), now=NOW)
    assert device.told(digest(bundles[2])) == (UpdateOutcome.ACTIVATED, 2)


def test_a_candidate_below_what_was_published_since_is_not_made_the_settled_one(
    store: Path, bundles: dict[int, Path]
) -> None:
    made = open_repository(store, now=NOW)
    made.publish(bundles[1], channel="stable", now=NOW)
    made.offer(bundles[2], "stable", now=NOW)
    made.publish(bundles[3], channel="stable", now=NOW)
    with pytest.raises(PublishError, match="version 2 is not above version 3"):
        made.promote("stable", digest(bundles[2]), now=NOW)
    assert made.current("stable").version == 3
    made.withdraw("stable", digest(bundles[2]), now=NOW)
    made.offer(bundles[2], "stable", now=NOW, downgrade=True)
    assert made.promote("stable", digest(bundles[2]), now=NOW).version == 2


def test_a_rollout_in_a_fleet_of_encrypted_bundles_publishes_no_plain_model(
    store: Path, bundles: dict[int, Path]
) -> None:
    made = open_repository(store, now=NOW)
    made.publish(bundles[1], channel="stable", now=NOW, encrypt=True)
    launched(store, str(bundles[2]))
    (offer,) = open_repository(store, now=NOW).offers("stable")
    assert set(offer.sealed) == set(read_settled(made.folder, "stable").sealed) == set(MODELS)
    plain = {hashlib.sha256((bundles[2] / name).read_bytes()).hexdigest() for name in MODELS}
    with open_store(store) as opened:
        places = [path for path, _ in opened.published.list()]
    there = {path.name for path in (made.folder / "files" / "sha256").iterdir()}
    assert there
    assert not there & plain
    assert not [path for path in places if any(model in path for model in plain)]


def test_the_commands_say_why_a_settled_rollout_is_not_rolled_back(store: Path, bundles: dict[int, Path]) -> None:
    now = time.time()
    open_repository(store, now=now).publish(bundles[1], channel="stable", now=now)
    with open_store(store) as opened:
        opened.check()

    def said(*arguments: object) -> object:
        return CliRunner().invoke(edgeloop, ["rollout", *map(str, arguments), "--store", str(store)])

    started = said("start", bundles[2], "--rings", "100", "--who", "ada", "--json")
    rollout_id = json.loads(started.output)["rollout_id"]
    assert "done" in said("finish", rollout_id).output
    assert open_repository(store, now=now).current("stable").version == 2
    refused = said("rollback", rollout_id)
    assert isinstance(refused.exception, RolloutError)
    assert "is what channel stable offers by now" in str(refused.exception)
    assert open_repository(store, now=now).current("stable").version == 2


# Root.


def test_another_root_of_the_same_version_that_was_made_meanwhile_is_told(tmp_path: Path, store: Path) -> None:
    init_repository(store, now=NOW, root_folders=[tmp_path / "holder"], root_keys=1, root_threshold=1)
    new = create_key(store / "keys", "timestamp").public_key
    draft = change_root(store, lambda root: rotate(root, "timestamp", [new]), now=NOW)
    sign_draft(draft.file, tmp_path / "holder")
    mine = shutil.copyfile(draft.file, tmp_path / "mine.json")
    draft.file.unlink()
    other = change_root(store, lambda root: None, now=NOW + 1)
    sign_draft(other.file, tmp_path / "holder")
    assert apply_draft(store, now=NOW) == 2
    root = (store / "repository" / "metadata" / "2.root.json").read_bytes()
    shutil.copyfile(mine, draft.file)
    with pytest.raises(PublishError, match="root version 2 was made meanwhile"):
        apply_draft(store, now=NOW)
    assert draft.file.exists()  # nobody's work is thrown away
    assert (store / "repository" / "metadata" / "2.root.json").read_bytes() == root


def test_a_call_that_was_killed_after_the_root_was_written_is_finished(tmp_path: Path, store: Path) -> None:
    init_repository(store, now=NOW, root_folders=[tmp_path / "holder"], root_keys=1, root_threshold=1)
    draft = change_root(store, lambda root: None, now=NOW)
    sign_draft(draft.file, tmp_path / "holder")
    kept = shutil.copyfile(draft.file, tmp_path / "kept.json")
    assert apply_draft(store, now=NOW) == 2
    shutil.copyfile(kept, draft.file)
    assert apply_draft(store, now=NOW) == 2
    assert not draft.file.exists()

"""The end of the process at every durable step of every kind of update: what runs afterwards is whole, always.

In the process, with an exception that nothing catches, at every point; `test_device_kill.py` does the first two kinds
once more with SIGKILL, and the slow test here does the others.
"""

import os
import shutil
import signal
import time
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from device_world import RepositoryRoad, copy_tree, edgeloop, publish, root_file
from published_files import UpdatedDevice

from cloud_train.publish.export import export_release
from cloud_train.publish.repository import open_repository
from cloud_train.publish.sealing import fleet_key_text
from edge import durable
from edge.bundle.reader import open_bundle
from edge.update.encryption import install_key
from edge.update.stick import Stick
from edge.update.types import UpdateOutcome

NOW = time.time()


@dataclass
class Plan:
    """One kind of update: who runs version 1 or 2, and what brings the other.

    `before` and `after` are the versions; `wanted` is what the server asks for; `road` makes the road.
    """

    folder: Path
    home: Path
    before: int
    after: int
    wanted: str = ""
    stick: Path | None = None
    points: set[str] = field(default_factory=set)

    def road(self):
        return Stick(self.stick) if self.stick else RepositoryRoad(self.folder / "store")

    def update(self, home):
        road = self.road()
        try:
            return UpdatedDevice(home).update(road, NOW, wanted=self.wanted)
        finally:
            road.close()


@pytest.fixture(scope="module")
def bundles(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("update-kill")
    for number in (1, 2):
        make_bundle(folder / f"v{number}", version=number, flavour=number)
    return folder


def settled(tmp_path, bundles):
    """A device that runs version 1, kept."""
    publish(tmp_path / "store", bundles / "v1", now=NOW)
    device = UpdatedDevice(tmp_path / "home")
    device.trust_root(root_file(tmp_path / "store"))
    assert device.update(RepositoryRoad(tmp_path / "store"), NOW).outcome is UpdateOutcome.ACTIVATED
    device.slots.confirm()
    return device


FETCHED = {"trust.manifest", "update.file", "update.manifest", "update.publish", "update.slots"}


def to_a_candidate(tmp_path, bundles):
    device = settled(tmp_path, bundles)
    digest = open_repository(tmp_path / "store", now=NOW).offer(bundles / "v2", "stable", now=NOW).digest
    return Plan(tmp_path, device.home, 1, 2, wanted=digest, points=FETCHED)


def back_to_the_settled_one(tmp_path, bundles):
    plan = to_a_candidate(tmp_path, bundles)
    plan.update(plan.home)
    UpdatedDevice(plan.home).slots.confirm()
    return Plan(tmp_path, plan.home, 2, 1, wanted=open_bundle(bundles / "v1").digest, points={"update.slots"})


def from_a_stick(tmp_path, bundles):
    device = settled(tmp_path, bundles)
    publish(tmp_path / "store", bundles / "v2", now=NOW)
    export_release(tmp_path / "store" / "repository", "stable", tmp_path / "stick")
    return Plan(tmp_path, device.home, 1, 2, stick=tmp_path / "stick", points=FETCHED)


def to_an_encrypted_one(tmp_path, bundles):
    device = settled(tmp_path, bundles)
    repository = open_repository(tmp_path / "store", now=NOW)
    repository.publish(bundles / "v2", channel="stable", now=NOW, encrypt=True)
    install_key(device.home, fleet_key_text(tmp_path / "store" / "keys"))
    return Plan(tmp_path, device.home, 1, 2, points={*FETCHED, "update.sealed"})


def under_a_new_root(tmp_path, bundles):
    from cloud_train.publish.keys import create_key
    from cloud_train.publish.root import apply_draft, change_root, rotate, sign_draft

    device = settled(tmp_path, bundles)
    store = tmp_path / "store"
    for role in ("root", "targets", "timestamp"):
        new = create_key(store / "keys", role).public_key
        draft = change_root(store, lambda root, role=role, new=new: rotate(root, role, [new]), now=NOW)
        sign_draft(draft.file, store / "keys")
        apply_draft(store, now=NOW)
    publish(store, bundles / "v2", now=NOW)
    return Plan(tmp_path, device.home, 1, 2, points=FETCHED)


KINDS = [to_a_candidate, back_to_the_settled_one, from_a_stick, to_an_encrypted_one, under_a_new_root]
kinds = pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


@kinds
def test_an_end_at_every_durable_point(tmp_path, bundles, kind):
    plan = kind(tmp_path, bundles)
    copy_tree(plan.home, tmp_path / "counted")
    points = []
    durable.observe(points.append)
    try:
        assert plan.update(tmp_path / "counted").outcome is UpdateOutcome.ACTIVATED
    finally:
        durable.observe(None)
    assert {point.split(":")[0] for point in points} == plan.points
    files = [number for number, point in enumerate(points, start=1) if point.startswith("update.file:")]
    for number in sorted(set(range(1, len(points) + 1)) - set(files[2:-2])):
        home, left = tmp_path / f"home-{number}", [number]
        copy_tree(plan.home, home)

        def observer(point, left=left):
            left[0] -= 1
            if left[0] == 0:
                raise Killed(point)

        durable.observe(observer)
        with pytest.raises(Killed):
            plan.update(home)
        durable.observe(None)
        device = UpdatedDevice(home)
        assert device.runs() in (plan.before, plan.after), points[number - 1]
        assert plan.update(home).outcome in (UpdateOutcome.ACTIVATED, UpdateOutcome.CURRENT), points[number - 1]
        assert device.runs() == plan.after, points[number - 1]
        assert device.litter() == []
        assert device.slots.state.rejected == ()
        shutil.rmtree(home)


def renames(home, act):
    """How often TUF's own client writes a file during an update: ends there are no durable points of ours."""
    counted, real = [0], os.replace

    def counting(source, target):
        if str(home) in str(target):
            counted[0] += 1
        return real(source, target)

    os.replace = counting
    try:
        act()
    finally:
        os.replace = real
    return counted[0]


@pytest.mark.parametrize("kind", [under_a_new_root], ids=lambda kind: kind.__name__)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_end_at_every_rename(tmp_path, bundles, kind, moment, monkeypatch):
    """Also between two files of TUF's client, which is not ours and tells nobody of its writes."""
    plan = kind(tmp_path, bundles)
    copy_tree(plan.home, tmp_path / "counted")
    total = renames(tmp_path / "counted", lambda: plan.update(tmp_path / "counted"))
    assert total > 10
    real = os.replace
    for number in range(1, min(total, 12) + 1):
        home, left = tmp_path / f"home-{number}", [number]
        copy_tree(plan.home, home)

        def dying(source, target, left=left, home=home):
            if str(home) in str(target):
                left[0] -= 1
                if left[0] == 0 and moment == "before":
                    raise Killed(str(target))
            real(source, target)
            if left[0] == 0 and str(home) in str(target):
                raise Killed(str(target))

        monkeypatch.setattr(os, "replace", dying)
        with pytest.raises(Killed):
            plan.update(home)
        monkeypatch.undo()
        device = UpdatedDevice(home)
        assert device.runs() in (1, 2)
        assert plan.update(home).outcome in (UpdateOutcome.ACTIVATED, UpdateOutcome.CURRENT)
        assert (device.runs(), device.litter()) == (2, [])


@pytest.mark.slow
@pytest.mark.timeout(1200)
@pytest.mark.parametrize("kind", [from_a_stick, to_an_encrypted_one], ids=lambda kind: kind.__name__)
def test_killed_at_every_durable_point(tmp_path, bundles, kind):
    """The real command, SIGKILL, at each point once; then the same command again."""
    plan = kind(tmp_path, bundles)
    if plan.stick is None:
        export_release(tmp_path / "store" / "repository", "stable", tmp_path / "stick")
        plan.stick = tmp_path / "stick"

    def update(home, **environment):
        return edgeloop("device", "update", "--home", home, "--from", plan.stick, **environment)

    copy_tree(plan.home, tmp_path / "counted")
    done = update(tmp_path / "counted", POINTS=str(tmp_path / "points"))
    assert done.returncode == 0, done.stderr
    points = (tmp_path / "points").read_text().split()
    assert {point.split(":")[0] for point in points} == plan.points
    for number, point in enumerate(points, start=1):
        home = tmp_path / f"home-{number}"
        copy_tree(plan.home, home)
        assert update(home, DIE_AT=str(number)).returncode == -signal.SIGKILL, point
        assert UpdatedDevice(home).runs() in (plan.before, plan.after), point
        done = update(home)
        assert done.returncode == 0, (point, done.stderr)
        assert UpdatedDevice(home).runs() == plan.after, point

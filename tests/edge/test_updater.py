import errno
import hashlib
import json

import pytest
from device_world import RepositoryRoad, copy_tree, metadata_folder, publish, root_file

from edge import durable
from edge.bundle.manifest import Verdict
from edge.bundle.reader import open_bundle
from edge.errors import BundleError, MissingExtraError, SelfTestError, StorageError, UsageError
from edge.update.selftest import self_test
from edge.update.slots import Slots
from edge.update.trust import TrustStore
from edge.update.types import UpdateOutcome
from edge.update.updater import Updater

NOW = 1_700_000_000.0


@pytest.fixture(scope="session")
def signed(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("updates")
    for number in (1, 2, 3):
        make_bundle(folder / f"v{number}", version=number, flavour=number)
    publish(folder / "store", folder / "v1", now=NOW)
    return folder


@pytest.fixture
def store(tmp_path, signed):
    copy_tree(signed / "store", tmp_path / "store")
    return tmp_path / "store"


class Device:
    """One device that is looked at after each start anew, as a process would."""

    def __init__(self, home, store, check=self_test):
        self.home = home
        self.road = RepositoryRoad(store)
        self.check = check
        self.trust(self.road).install_root(root_file(store))

    def trust(self, road):
        return TrustStore(self.home, road, channel="stable")

    @property
    def slots(self):
        return Slots(self.home)

    def update(self, now=NOW):
        slots = self.slots
        updater = Updater(
            slots, self.trust(self.road), self.road, self_test=self.check, fingerprint=lambda: "this machine"
        )
        return updater.update(now)

    def runs(self):
        bundle = self.slots.open_active()
        return bundle.manifest.version if bundle else 0


@pytest.fixture
def device(tmp_path, store):
    return Device(tmp_path / "home", store)


def refuse(bundle):
    raise SelfTestError(f"tiny_fp32.onnx: golden vector golden-0.png: wrong on {bundle.manifest.version}")


def test_first_install(device, signed):
    result = device.update()
    assert (result.outcome, result.reason) == (UpdateOutcome.ACTIVATED, "")
    assert result.bundle_digest == open_bundle(signed / "v1").digest
    assert result.fetched_bytes == device.road.fetched_bytes
    state = device.slots.state
    assert (state.trial, state.metadata_version, device.slots.active.tested_on) == ("a", 2, "this machine")
    assert device.runs() == 1
    assert not list((device.home / "bundles").glob(".staging*"))


def test_nothing_new(device):
    device.update()
    state = device.slots.state
    result = device.update()
    assert (result.outcome, device.slots.state) == (UpdateOutcome.CURRENT, state)
    assert result.fetched_bytes < 1000


def test_only_what_changed_travels(device, store, tmp_path, make_bundle):
    device.update()
    device.slots.confirm()
    publish(store, make_bundle(tmp_path / "same-models", version=2, flavour=1), now=NOW)
    before = device.road.fetched_bytes
    assert device.update().outcome is UpdateOutcome.ACTIVATED
    files = [path for path, _ in device.road.fetched if path.startswith("files/")]
    assert len(files) == len(open_bundle(tmp_path / "same-models").manifest.files)  # only from the first install
    assert device.road.fetched_bytes - before < 12_000
    assert device.runs() == 2


def test_a_trial_comes_before_the_next_release(device, store, signed):
    device.update()
    device.slots.confirm()
    publish(store, signed / "v2", now=NOW)
    device.update()
    publish(store, signed / "v3", now=NOW)
    result = device.update()
    assert (result.outcome, result.reason) == (UpdateOutcome.CURRENT, "the bundle that runs is still on trial")
    device.slots.confirm()
    assert device.update().outcome is UpdateOutcome.ACTIVATED
    assert device.runs() == 3


def test_a_first_bundle_that_never_proves_itself_can_be_replaced(device, store, signed):
    device.update()
    publish(store, signed / "v2", now=NOW)
    assert device.update().outcome is UpdateOutcome.ACTIVATED
    assert device.runs() == 2


def test_a_failed_self_test_is_remembered(device, store, signed):
    device.update()
    device.slots.confirm()
    publish(store, signed / "v2", now=NOW)
    device.check = refuse
    result = device.update()
    assert result.outcome is UpdateOutcome.REJECTED
    assert "golden vector golden-0.png: wrong on 2" in result.reason
    assert device.runs() == 1
    assert device.slots.state.rejected == (open_bundle(signed / "v2").digest,)
    device.check = self_test
    travelled = device.road.fetched_bytes
    again = device.update()
    assert (again.outcome, "has failed on this device before" in again.reason) == (UpdateOutcome.REJECTED, True)
    assert device.road.fetched_bytes - travelled < 1000
    publish(store, signed / "v3", now=NOW)
    assert device.update().outcome is UpdateOutcome.ACTIVATED


def test_a_bundle_whose_golden_outputs_differ_here_is_refused(device, store, tmp_path, make_bundle):
    import base64

    from tiny_bundles import write_manifest

    device.update()
    device.slots.confirm()
    folder = make_bundle(tmp_path / "wrong", version=2)
    golden = json.loads((folder / "golden.json").read_bytes())
    values = golden["vectors"][0]["outputs"][0]["values"]
    golden["vectors"][0]["outputs"][0]["values"] = base64.b64encode(base64.b64decode(values)[::-1]).decode()
    from edge import jsonvalue

    (folder / "golden.json").write_bytes(jsonvalue.canonical_bytes(golden))
    manifest = open_manifest(folder)
    write_manifest(folder, {name: getattr(manifest, name) for name in manifest.__slots__})
    publish(store, folder, now=NOW)
    result = device.update()
    assert result.outcome is UpdateOutcome.REJECTED
    assert "golden" in result.reason
    assert device.runs() == 1


def open_manifest(folder):
    from edge.bundle.reader import read_manifest

    return read_manifest((folder / "manifest.json").read_bytes())


def test_offline(device, store, signed):
    device.update()
    publish(store, signed / "v2", now=NOW)
    device.road.down = True
    result = device.update()
    assert (result.outcome, result.fetched_bytes) == (UpdateOutcome.OFFLINE, 0)
    assert "the server does not answer" in result.reason
    assert device.runs() == 1


def test_expired(device, store, signed):
    device.update()
    publish(store, signed / "v2", now=NOW)
    result = device.update(NOW + 400 * 86_400)
    assert result.outcome is UpdateOutcome.REJECTED
    assert "has expired" in result.reason
    assert device.runs() == 1


def test_unsigned(device, store, signed):
    device.update()
    publish(store, signed / "v2", now=NOW)
    path = metadata_folder(store) / "timestamp.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"signatures": []}))
    result = device.update()
    assert result.outcome is UpdateOutcome.REJECTED
    assert "not signed by the keys" in result.reason
    assert device.runs() == 1


def test_a_device_that_lost_its_metadata_is_not_rolled_back(device, store, signed, tmp_path):
    copy_tree(store, tmp_path / "old")
    device.update()
    device.slots.confirm()
    publish(store, signed / "v2", now=NOW)
    device.update()
    device.slots.confirm()
    for path in (device.home / "tuf" / "metadata").glob("*.json"):
        path.unlink()
    copy_tree(tmp_path / "old", store)
    result = device.update()
    assert result.outcome is UpdateOutcome.REJECTED
    assert "went back from version 3 to 2" in result.reason
    assert device.runs() == 2


def test_an_unproven_release_is_refused_before_it_travels(device, store, tmp_path, make_bundle, monkeypatch):
    device.update()
    unproven = make_bundle(tmp_path / "unproven", version=2, verdict=Verdict.FAIL)
    monkeypatch.setattr("cloud_train.publish.repository.check_publishable", open_bundle)
    publish(store, unproven, now=NOW)
    before = len([path for path, _ in device.road.fetched if path.startswith("files/")])
    result = device.update()
    assert (result.outcome, "is not proven" in result.reason) == (UpdateOutcome.REJECTED, True)
    assert len([path for path, _ in device.road.fetched if path.startswith("files/")]) == before


def test_a_broken_road_resumes(device, store, signed):
    outcomes = []
    for _ in range(60):
        device.road.break_after = 2048
        outcomes.append(device.update().outcome)
        if outcomes[-1] is UpdateOutcome.ACTIVATED:
            break
    assert outcomes[-1] is UpdateOutcome.ACTIVATED
    assert set(outcomes[:-1]) == {UpdateOutcome.OFFLINE}
    assert device.runs() == 1


def test_an_older_staging_folder_is_swept(device):
    stale = device.slots.staging("0" * 64)
    stale.mkdir(parents=True)
    device.update()
    assert not stale.exists()


def test_a_full_disk_changes_nothing_and_is_not_held_against_the_bundle(device, store, signed, monkeypatch):
    device.update()
    device.slots.confirm()
    publish(store, signed / "v2", now=NOW)
    real = durable.publish_files

    def full(moves, *, point="files"):
        raise durable.storage_error(device.home, OSError(errno.ENOSPC, "full"))

    monkeypatch.setattr(durable, "publish_files", full)
    with pytest.raises(StorageError, match="no space left on device"):
        device.update()
    assert device.runs() == 1
    assert not list((device.home / "bundles").glob(".staging*"))
    monkeypatch.setattr(durable, "publish_files", real)
    assert device.update().outcome is UpdateOutcome.ACTIVATED


def test_sideload(device, signed):
    updater = Updater(device.slots, device.trust(None), None, self_test=self_test, fingerprint=lambda: "this machine")
    assert updater.sideload(signed / "v2").outcome is UpdateOutcome.ACTIVATED
    assert updater.sideload(signed / "v2").outcome is UpdateOutcome.CURRENT
    assert device.runs() == 2


def test_sideload_of_an_unproven_bundle(device, tmp_path, make_bundle):
    updater = Updater(device.slots, device.trust(None), None, self_test=self_test, fingerprint=lambda: "x")
    with pytest.raises(BundleError, match="is not proven"):
        updater.sideload(make_bundle(tmp_path / "unproven", verdict=Verdict.NONE))
    assert device.runs() == 0


class Killed(BaseException):
    """Stands for the end of the process; nothing may catch it."""


def test_an_end_at_every_durable_point(tmp_path, store, signed):
    """From version 1 to 2, ended at each point in turn: the device then runs 1 or 2, and the next try brings 2."""
    settled = Device(tmp_path / "settled", store)
    settled.update()
    settled.slots.confirm()
    publish(store, signed / "v2", now=NOW)
    copy_tree(settled.home, tmp_path / "counted")
    points = []
    durable.observe(points.append)
    Device(tmp_path / "counted", store).update()
    durable.observe(None)
    assert {point.split(":")[0] for point in points} == {
        "trust.manifest",
        "update.file",
        "update.manifest",
        "update.publish",
        "update.slots",
    }
    digests = {hashlib.sha256((signed / name / "manifest.json").read_bytes()).hexdigest() for name in ("v1", "v2")}
    files = [number for number, point in enumerate(points, start=1) if point.startswith("update.file:")]
    for number in sorted(set(range(1, len(points) + 1)) - set(files[2:-2])):
        home = tmp_path / f"home-{number}"
        copy_tree(settled.home, home)
        device = Device(home, store)
        left = number

        def observer(point):
            nonlocal left
            left -= 1
            if left == 0:
                raise Killed(point)

        durable.observe(observer)
        with pytest.raises(Killed):
            device.update()
        durable.observe(None)
        assert device.slots.open_active().digest in digests, points[number - 1]
        assert device.update().outcome in (UpdateOutcome.ACTIVATED, UpdateOutcome.CURRENT)
        assert device.runs() == 2, points[number - 1]


@pytest.mark.parametrize(
    "error",
    [UsageError("v2 has no artifact 'tflite'"), MissingExtraError("onnxruntime", "onnx")],
    ids=["name", "library"],
)
def test_a_release_for_other_devices_is_rejected_and_not_tried_again(device, store, signed, error):
    """It must not end the agent, which would only meet it again after every restart."""
    device.update()
    device.slots.confirm()
    publish(store, signed / "v2", now=NOW)

    def cannot(bundle):
        raise error

    device.check = cannot
    first = device.update()
    assert first.outcome is UpdateOutcome.REJECTED
    assert "cannot run here" in first.reason
    assert device.runs() == 1
    assert device.slots.state.rejected == (open_bundle(signed / "v2").digest,)

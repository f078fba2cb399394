"""The attacks of the TUF specification and some more, each against a real gRPC server that plays the attacker.

Each ends in one clear line, slots and bundles as they were, nothing left behind; and when the honest server is back,
the device takes the next release.
"""

import hashlib
import json
import shutil

import pytest
from attack_scene import DAY, NOW, Scene, make_before, manifest_path, model_path

from cloud_train.publish.keys import create_key
from cloud_train.publish.offers import put_settled
from cloud_train.publish.repository import open_repository
from cloud_train.publish.root import apply_draft, change_root, rotate, set_threshold, sign_draft
from edge import jsonvalue
from edge.update.trust import TrustStore
from edge.update.types import Offered, UpdateOutcome

YEAR = 365 * DAY


@pytest.fixture(scope="module")
def before(tmp_path_factory, make_bundle):
    return make_before(tmp_path_factory.mktemp("attacks"), make_bundle)


@pytest.fixture
def scene(tmp_path, before):
    made = Scene(tmp_path, before)
    yield made
    made.server.stop()


# The attacks. Each gets the scene of a device that runs version 1 and may prepare whatever an attacker could.


def arbitrary_installation(scene):
    """A whole repository of the attacker's own, with its own keys and a bundle of its own."""
    shutil.rmtree(scene.store)
    scene.publish(3)


def arbitrary_targets(scene):
    """Honest metadata, the attacker's bundle written into targets; nobody signs that."""
    scene.publish(2)
    value = json.loads(scene.files["metadata/3.targets.json"])
    value["signed"]["targets"]["channel/stable/manifest.json"]["hashes"]["sha256"] = "0" * 64
    scene.files["metadata/3.targets.json"] = json.dumps(value).encode()


def endless_timestamp(scene):
    scene.files["metadata/timestamp.json"] = b" " * 3_000_000


def endless_snapshot(scene):
    scene.publish(2)
    scene.files["metadata/3.snapshot.json"] += b" " * 3_000_000


def endless_targets(scene):
    scene.publish(2)
    scene.files["metadata/3.targets.json"] += b" " * 8_000_000


def endless_root(scene):
    scene.files["metadata/2.root.json"] = b" " * 3_000_000


def endless_manifest(scene):
    scene.publish(2)
    scene.files[manifest_path(scene, 2)] += b" " * 8_000_000


def endless_file(scene):
    scene.publish(2)
    scene.files[model_path(scene, 2)] += b"x" * 3_000_000


def nested_json(scene):
    scene.files["metadata/timestamp.json"] = b"[" * 16_000


def extraneous_dependency(scene):
    """A manifest with one file more than was signed."""
    scene.publish(2)
    value = json.loads(scene.files[manifest_path(scene, 2)])
    value["files"].append({"name": "evil.so", "sha256": "0" * 64, "size_bytes": 1})
    scene.files[manifest_path(scene, 2)] = json.dumps(value).encode()


def indefinite_freeze(scene):
    """The server shows for ever what was the newest a week ago; meanwhile version 2 is out."""
    frozen = scene.files
    scene.publish(2)
    scene.state.files = frozen
    scene.now = NOW + 8 * DAY


def malicious_mirror(scene):
    """Honest metadata, another file of the same length."""
    scene.publish(2)
    scene.files[model_path(scene, 2)] = bytes(reversed(scene.files[model_path(scene, 2)]))


def missing_file(scene):
    scene.publish(2)
    del scene.files[model_path(scene, 2)]


def mix_and_match(scene):
    """Today's timestamp with yesterday's targets under today's name."""
    scene.publish(2)
    scene.files["metadata/3.targets.json"] = scene.files["metadata/2.targets.json"]


def mixed_snapshot(scene):
    scene.publish(2)
    scene.files["metadata/3.snapshot.json"] = scene.files["metadata/2.snapshot.json"]


def rolled_back_timestamp(scene):
    old = scene.files
    scene.publish(2)
    assert scene.update().outcome is UpdateOutcome.ACTIVATED
    scene.device.slots.confirm()
    scene.state.files = old


def rolled_back_snapshot(scene):
    """With the key of timestamp: a new timestamp that names an old snapshot."""
    scene.publish(2)
    assert scene.update().outcome is UpdateOutcome.ACTIVATED
    scene.device.slots.confirm()

    def change(timestamp):
        timestamp.version += 1
        timestamp.snapshot_meta.version = 2

    scene.steal("metadata/timestamp.json", change, "timestamp")


def rolled_back_targets(scene):
    """With the keys of timestamp and snapshot: everything new, but for old targets."""
    scene.publish(2)
    assert scene.update().outcome is UpdateOutcome.ACTIVATED
    scene.device.slots.confirm()
    scene.files["metadata/4.snapshot.json"] = scene.files["metadata/3.snapshot.json"]

    def older(snapshot):
        snapshot.version = 4
        snapshot.meta["targets.json"].version = 2

    def newer(timestamp):
        timestamp.version += 1
        timestamp.snapshot_meta.version = 4

    scene.steal("metadata/4.snapshot.json", older, "snapshot")
    scene.steal("metadata/timestamp.json", newer, "timestamp")


def rolled_back_after_losing_the_metadata(scene):
    """The device has forgotten what TUF remembers; the slots have not."""
    old = scene.files
    scene.publish(2)
    assert scene.update().outcome is UpdateOutcome.ACTIVATED
    scene.device.slots.confirm()
    for path in (scene.device.home / "tuf" / "metadata").glob("*.json"):
        path.unlink()
    scene.state.files = old


def slow_retrieval(scene):
    """Nothing comes any more in the middle of a file."""
    scene.publish(2)
    scene.state.silent = True
    scene.timeout_s = 0.4


def wrong_length(scene):
    scene.publish(2)
    scene.files[manifest_path(scene, 2)] = scene.files[manifest_path(scene, 2)][:-1]


def wrong_hash(scene):
    scene.publish(2)
    scene.files[manifest_path(scene, 2)] = scene.files[manifest_path(scene, 2)].replace(b'"version":2', b'"version":9')


def half_a_file(scene):
    scene.publish(2)
    scene.files[model_path(scene, 2)] = scene.files[model_path(scene, 2)][:100]


def stolen_timestamp_key(scene):
    """With one key below targets: the attacker can sign when, never what."""
    scene.publish(2)

    def change(targets):
        targets.targets["channel/stable/manifest.json"].hashes["sha256"] = "0" * 64

    scene.steal("metadata/3.targets.json", change, "timestamp", "snapshot")


def one_stolen_key_of_two(scene):
    """Targets want two signatures, and the attacker has one key of them, and those of every role below."""
    second = create_key(scene.store / "keys", "targets").public_key

    def two(root):
        root.add_key(second, "targets")
        set_threshold(root, "targets", 2)

    draft = change_root(scene.store, two, now=NOW)
    sign_draft(draft.file, scene.store / "keys")
    apply_draft(scene.store, now=NOW)
    scene.publish(2)
    name = next(name for name in ("metadata/4.targets.json", "metadata/3.targets.json") if name in scene.files)
    scene.steal(name, lambda targets: targets.unrecognized_fields.update(evil=True), "targets")


def stolen_key_after_its_rotation(scene):
    """The key of timestamp was stolen, and root names another one by now."""
    scene.publish(2)
    old_files = dict(scene.files)
    scene.rotate("timestamp")
    scene.serve()

    def change(timestamp):
        timestamp.version += 7

    scene.files["metadata/timestamp.json"] = old_files["metadata/timestamp.json"]
    scene.steal("metadata/timestamp.json", change, "timestamp")


def root_of_a_stranger(scene):
    """The next root, signed by the keys it brings along, but not by those before."""
    from securesystemslib.signer import CryptoSigner
    from tuf.api.metadata import Metadata

    stranger = CryptoSigner.generate_ed25519()
    root = Metadata.from_bytes(scene.files["metadata/1.root.json"])
    root.signed.version = 2
    for role in ("root", "targets", "snapshot", "timestamp"):
        rotate(root.signed, role, [stranger.public_key])
    root.sign(stranger)
    scene.files["metadata/2.root.json"] = root.to_bytes()


def root_that_skips_a_version(scene):
    scene.rotate("timestamp")
    scene.rotate("timestamp")
    scene.serve()
    scene.files["metadata/2.root.json"] = scene.files.pop("metadata/3.root.json")


def swapped_channels(scene):
    """What is offered to beta's devices, shown to those of stable."""
    open_repository(scene.store, now=NOW).publish(scene.bundle(3), channel="beta", now=NOW)
    scene.publish(2)
    beta = f"targets/channel/beta/{scene.digest(3)}.manifest.json"
    scene.files[manifest_path(scene, 2)] = scene.files[beta]


def wish_of_another_channel(scene):
    """The server tells a device of stable to run what was signed for beta alone."""
    open_repository(scene.store, now=NOW).publish(scene.bundle(3), channel="beta", now=NOW)
    scene.serve()
    scene.wanted = scene.digest(3)


def wish_that_nobody_signed(scene):
    scene.wanted = "e" * 64


def wish_of_what_was_withdrawn(scene):
    repository = open_repository(scene.store, now=NOW)
    repository.offer(scene.bundle(2), "stable", now=NOW)
    repository.withdraw("stable", scene.digest(2), now=NOW)
    scene.serve()
    scene.wanted = scene.digest(2)


def swapped_roles(scene):
    scene.files["metadata/timestamp.json"] = scene.files["metadata/2.snapshot.json"]


def no_signature(scene):
    value = json.loads(scene.files["metadata/timestamp.json"]) | {"signatures": []}
    scene.files["metadata/timestamp.json"] = json.dumps(value).encode()


def signed_manifest(scene, edit):
    """Even the publisher's own signature lets nothing out of the folder."""
    value = json.loads((scene.bundle(2) / "manifest.json").read_bytes())
    edit(value)
    data = jsonvalue.canonical_json(value)
    digest = hashlib.sha256(data).hexdigest()
    (scene.store / "repository" / "targets" / "channel" / "stable" / f"{digest}.manifest.json").write_bytes(data)
    offered = Offered(digest=digest, name="tiny", version=2)
    open_repository(scene.store, now=NOW)._sign(NOW, lambda targets: put_settled(targets, "stable", offered, data))
    scene.serve()


def name_that_climbs(scene):
    signed_manifest(scene, lambda value: value["files"][0].update(name="../x"))


def name_that_is_absolute(scene):
    signed_manifest(scene, lambda value: value["files"][0].update(name="/etc/passwd"))


def unknown_format(scene):
    signed_manifest(scene, lambda value: value.update(format_version=2))


def unsigned_downgrade(scene):
    """Signed for the channel, but nobody said that devices may go back."""
    scene.publish(2)
    assert scene.update().outcome is UpdateOutcome.ACTIVATED
    scene.device.slots.confirm()
    data = (scene.bundle(1) / "manifest.json").read_bytes()
    old = Offered(digest=scene.digest(1), name="tiny", version=1)
    open_repository(scene.store, now=NOW)._sign(NOW, lambda targets: put_settled(targets, "stable", old, data))
    scene.serve()


def clock_years_ahead(scene):
    scene.publish(2)
    scene.now = NOW + 6 * YEAR


def clock_years_behind(scene):
    scene.publish(2)
    scene.now = NOW - 20 * YEAR


ATTACKS = [
    (arbitrary_installation, "is not signed by the keys this device trusts"),
    (arbitrary_targets, "is not signed by the keys this device trusts"),
    (endless_timestamp, "was tampered with"),
    (endless_snapshot, "was tampered with"),
    (endless_targets, "was tampered with"),
    (endless_root, "was tampered with"),
    (endless_manifest, "was tampered with"),
    (endless_file, "is not the file that was signed for"),
    (nested_json, "is not valid"),
    (extraneous_dependency, "was tampered with"),
    (indefinite_freeze, "has expired: timestamp.json is expired"),
    (malicious_mirror, "is not the file that was signed for"),
    (missing_file, "the server does not have tiny_fp32.onnx"),
    (mix_and_match, "was rolled back or mixed up"),
    (mixed_snapshot, "was rolled back or mixed up"),
    (rolled_back_timestamp, "was rolled back or mixed up"),
    (rolled_back_snapshot, "was rolled back or mixed up"),
    (rolled_back_targets, "was rolled back or mixed up"),
    (rolled_back_after_losing_the_metadata, "the release metadata went back from version 3 to 2"),
    (slow_retrieval, "nothing moved for 0.4 s"),
    (wrong_length, "was tampered with"),
    (wrong_hash, "was tampered with"),
    (half_a_file, "is not the file that was signed for"),
    (stolen_timestamp_key, "is not signed by the keys this device trusts"),
    (one_stolen_key_of_two, "is not signed by the keys this device trusts"),
    (stolen_key_after_its_rotation, "is not signed by the keys this device trusts"),
    (root_of_a_stranger, "is not signed by the keys this device trusts"),
    (root_that_skips_a_version, "was rolled back or mixed up"),
    (swapped_channels, "was tampered with"),
    (wish_of_another_channel, "is not signed for channel 'stable'"),
    (wish_that_nobody_signed, "is not signed for channel 'stable'"),
    (wish_of_what_was_withdrawn, "was withdrawn from channel 'stable'"),
    (swapped_roles, "is not valid"),
    (no_signature, "is not signed by the keys this device trusts"),
    (name_that_climbs, "the signed manifest cannot be used"),
    (name_that_is_absolute, "the signed manifest cannot be used"),
    (unknown_format, "format version 2 is not known"),
    (unsigned_downgrade, "nobody signed that this device may go back to it"),
    (clock_years_ahead, "this device's clock says 2029-11"),
    (clock_years_behind, "this device's clock says 2003-11"),
]


@pytest.mark.parametrize(("attack", "message"), ATTACKS, ids=[attack.__name__ for attack, _ in ATTACKS])
def test_an_attack_changes_nothing(scene, attack, message):
    attack(scene)
    left, version = scene.device.left(), scene.device.runs()
    result = scene.update()
    assert result.outcome in (UpdateOutcome.REJECTED, UpdateOutcome.OFFLINE)
    assert message in result.reason
    assert len(result.reason.splitlines()) == 1
    assert scene.device.runs() == version
    known = {path: data for path, data in scene.device.left().items() if not path.startswith("bundles/.staging-")}
    assert {path: data for path, data in known.items() if "manifest-stable" not in path} == {
        path: data for path, data in left.items() if "manifest-stable" not in path
    }
    assert not list((scene.device.home / "tuf" / "metadata").glob("tmp*"))
    assert not list(scene.device.home.parent.rglob("x"))


def is_for_ever(attack):
    """Attacks after which this store has no honest road to version 3 any more."""
    return attack in (arbitrary_installation,)


@pytest.mark.parametrize(
    "attack", [attack for attack, _ in ATTACKS if not is_for_ever(attack)], ids=lambda attack: attack.__name__
)
def test_after_the_attack_the_device_goes_on(scene, attack):
    attack(scene)
    scene.update()
    scene.state.silent, scene.timeout_s, scene.now, scene.wanted = False, 5.0, NOW, ""
    scene.state.released.set()
    scene.publish(3)
    result = scene.update()
    assert (result.outcome, result.reason) == (UpdateOutcome.ACTIVATED, "")
    assert scene.device.runs() == 3
    assert scene.device.litter() == []


@pytest.mark.parametrize("role", ["timestamp", "snapshot", "targets"])
def test_a_fast_forward_ends_with_new_keys(scene, role):
    """A thief signs the highest version there is, so that no honest one is ever above it; new keys begin anew."""
    top = 2**31 - 1
    roles = ("timestamp", "snapshot", "targets")[: ("timestamp", "snapshot", "targets").index(role) + 1]
    for number, name in enumerate(("timestamp", "snapshot", "targets")):
        if name not in roles:
            continue
        path = "metadata/timestamp.json" if name == "timestamp" else f"metadata/2.{name}.json"

        def change(signed, number=number):
            signed.version = top
            if signed.type == "timestamp" and "snapshot" in roles:
                signed.snapshot_meta.version = top
            if signed.type == "snapshot" and "targets" in roles:
                signed.meta["targets.json"].version = top

        scene.steal(path, change, name)
        if name != "timestamp":
            scene.files[f"metadata/{top}.{name}.json"] = scene.files[path]
    assert scene.update().outcome is UpdateOutcome.CURRENT  # the thief's metadata verify; they change nothing else
    scene.publish(2)
    assert "rolled back or mixed up" in scene.update().reason
    scene.rotate(*roles)
    scene.serve()
    result = scene.update()
    assert (result.outcome, result.reason) == (UpdateOutcome.ACTIVATED, "")
    assert scene.device.runs() == 2


def test_a_device_that_slept_through_many_roots_follows_all_of_them(scene):
    for role in ("timestamp", "root", "targets", "root", "snapshot", "root"):
        scene.rotate(role)
    scene.publish(2)
    assert scene.update().outcome is UpdateOutcome.ACTIVATED
    assert scene.device.runs() == 2
    assert (scene.device.home / "tuf" / "metadata" / "root_history" / "7.root.json").exists()


def test_what_was_verified_last_stays_readable_when_it_has_expired(scene):
    scene.now = NOW + 6 * YEAR
    assert scene.update().outcome is UpdateOutcome.REJECTED
    assert TrustStore(scene.device.home, None, channel="stable").last_verified().release.version == 1

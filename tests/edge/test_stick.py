"""Air-gapped updates: a release on a stick goes through the same checks, and is trusted no more than a server's."""

import json
import os
import zipfile

import pytest
from attack_scene import DAY, NOW, Scene, make_before
from device_world import copy_tree, edgeloop, error_line

from cloud_train.publish.export import export_release
from edge.bundle.reader import open_bundle
from edge.errors import UsageError
from edge.update.stick import Stick
from edge.update.types import UpdateOutcome


@pytest.fixture(scope="module")
def before(tmp_path_factory, make_bundle):
    return make_before(tmp_path_factory.mktemp("sticks"), make_bundle)


@pytest.fixture
def scene(tmp_path, before):
    made = Scene(tmp_path, before)
    yield made
    made.server.stop()


# A stick that somebody prepared.


@pytest.fixture
def stick(scene, tmp_path):
    scene.publish(2)
    export_release(scene.store / "repository", "stable", tmp_path / "stick")
    return tmp_path / "stick"


def archive_of(stick):
    return next(stick.glob("*.edgebundle"))


def rewrite(stick, entries):
    """The archive once more, with other entries beside or in place of its own."""
    with zipfile.ZipFile(archive_of(stick)) as source:
        content = {info.filename: (info, source.read(info)) for info in source.infolist()}
    with zipfile.ZipFile(archive_of(stick), "w") as target:
        for name, (info, data) in content.items():
            target.writestr(info, entries.pop(name, data))
        for name, data in entries.items():
            target.writestr(name, data)


def zip_slip(stick):
    rewrite(stick, {"../../slipped": b"evil", "/slipped": b"evil"})


def link_in_the_archive(stick):
    link = zipfile.ZipInfo("tiny_fp32.onnx")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive_of(stick)) as source:
        content = [(info, source.read(info)) for info in source.infolist()]
    with zipfile.ZipFile(archive_of(stick), "w") as target:
        for info, data in content:
            target.writestr(
                link if info.filename == link.filename else info,
                data if info.filename != link.filename else b"/etc/passwd",
            )


def other_model(stick):
    with zipfile.ZipFile(archive_of(stick)) as source:
        data = source.read("tiny_fp32.onnx")
    rewrite(stick, {"tiny_fp32.onnx": bytes(reversed(data))})


def bomb(stick):
    with zipfile.ZipFile(archive_of(stick)) as source:
        content = [(info, source.read(info)) for info in source.infolist()]
    with zipfile.ZipFile(archive_of(stick), "w", zipfile.ZIP_DEFLATED) as target:
        for info, data in content:
            target.writestr(info.filename, data if info.filename != "tiny_fp32.onnx" else b"0" * 50_000_000)


def no_archive(stick):
    archive_of(stick).unlink()


def torn_archive(stick):
    file = archive_of(stick)
    file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def linked_metadata(stick):
    file = stick / "metadata" / "timestamp.json"
    file.rename(stick / "elsewhere.json")
    file.symlink_to(stick / "elsewhere.json")


def linked_archive(stick):
    file = archive_of(stick)
    file.rename(stick / "elsewhere")
    file.symlink_to(stick / "elsewhere")


def archive_is_a_pipe(stick):
    file = archive_of(stick)
    file.unlink()
    os.mkfifo(file)


def torn_metadata(stick):
    file = stick / "metadata" / "timestamp.json"
    file.write_bytes(file.read_bytes()[:50])


@pytest.mark.parametrize(
    ("attack", "message"),
    [
        (link_in_the_archive, "is not the file that was signed for"),
        (other_model, "is not the file that was signed for"),
        (bomb, "is not the file that was signed for"),
        (no_archive, "does not have"),
        (torn_archive, "does not have"),
        (linked_archive, "cannot be read"),
        (archive_is_a_pipe, "does not have"),
        (linked_metadata, "cannot be read"),
        (torn_metadata, "is not valid"),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
def test_a_stick_from_a_stranger(scene, stick, attack, message):
    attack(stick)
    road = Stick(stick)
    result = scene.device.update(road, NOW)
    road.close()
    assert result.outcome in (UpdateOutcome.REJECTED, UpdateOutcome.OFFLINE)
    assert message in result.reason
    assert scene.device.runs() == 1


def test_names_in_an_archive_lead_nowhere(scene, stick, tmp_path):
    """Nothing is unpacked: what is not asked for by digest is not even looked at."""
    zip_slip(stick)
    road = Stick(stick)
    assert scene.device.update(road, NOW).outcome is UpdateOutcome.ACTIVATED
    road.close()
    assert not list(tmp_path.rglob("slipped"))


def update(scene, folder, now=NOW):
    road = Stick(folder)
    try:
        return scene.device.update(road, now)
    finally:
        road.close()


def test_a_stick_brings_a_release(scene, stick):
    result = update(scene, stick)
    assert (result.outcome, result.reason) == (UpdateOutcome.ACTIVATED, "")
    assert scene.device.runs() == 2
    assert scene.device.litter() == []
    assert update(scene, stick).outcome is UpdateOutcome.CURRENT


def test_only_what_changed_is_read_from_it(scene, tmp_path, make_bundle):
    make_bundle(tmp_path / "same-models", version=2, flavour=1)
    from device_world import publish

    publish(scene.store, tmp_path / "same-models", now=NOW)
    export_release(scene.store / "repository", "stable", tmp_path / "stick")
    models = (scene.bundle(1) / "tiny_fp32.onnx").stat().st_size + (scene.bundle(1) / "tiny_fp32.tflite").stat().st_size
    whole = sum(path.stat().st_size for path in (tmp_path / "same-models").iterdir())
    result = update(scene, tmp_path / "stick")
    assert result.outcome is UpdateOutcome.ACTIVATED
    assert result.fetched_bytes < whole - models + 6000  # metadata and the manifest


def test_a_stick_older_than_what_the_device_knows_is_refused(scene, stick, tmp_path):
    copy_tree(stick, tmp_path / "old")
    scene.publish(3)
    assert scene.update().outcome is UpdateOutcome.ACTIVATED
    scene.device.slots.confirm()
    result = update(scene, tmp_path / "old")
    assert (result.outcome, "rolled back" in result.reason) == (UpdateOutcome.REJECTED, True)
    assert scene.device.runs() == 3


def test_an_expired_stick_is_refused(scene, stick):
    result = update(scene, stick, now=NOW + 8 * DAY)
    assert (result.outcome, "has expired" in result.reason) == (UpdateOutcome.REJECTED, True)
    assert scene.device.runs() == 1


@pytest.mark.parametrize("at", ["metadata", "archive", "middle"])
def test_a_stick_that_is_pulled_leaves_the_old_bundle_running(scene, stick, at, monkeypatch):
    """The folder vanishes at the first look, before the files, or between two files."""
    real, asked = Stick.fetch, []

    def pulled(self, path, *, offset):
        asked.append(path)
        files = [one for one in asked if one.startswith("files/")]
        if at == "metadata" or (at == "archive" and files) or len(files) == 3:
            if stick.exists():
                stick.rename(stick.with_name("pulled"))
            self.close()
        yield from real(self, path, offset=offset)

    monkeypatch.setattr(Stick, "fetch", pulled)
    result = update(scene, stick)
    assert result.outcome in (UpdateOutcome.OFFLINE, UpdateOutcome.REJECTED)
    assert scene.device.runs() == 1
    monkeypatch.undo()
    stick.with_name("pulled").rename(stick)
    assert update(scene, stick).outcome is UpdateOutcome.ACTIVATED
    assert scene.device.runs() == 2


def test_a_stick_follows_a_rotation_of_root(scene, tmp_path):
    scene.rotate("root", "timestamp", "root")
    scene.publish(2)
    export_release(scene.store / "repository", "stable", tmp_path / "stick")
    assert sorted(path.name for path in (tmp_path / "stick" / "metadata").glob("*.root.json")) == [
        f"{number}.root.json" for number in (1, 2, 3, 4)
    ]
    assert update(scene, tmp_path / "stick").outcome is UpdateOutcome.ACTIVATED


def test_an_export_that_was_broken_off_holds_no_release(scene, tmp_path, monkeypatch):
    from edge import durable

    def full(point):
        if point == "publish.export:before" and len(list((tmp_path / "stick" / "metadata").glob("*"))) == 3:
            raise durable.storage_error(tmp_path, OSError(28, "full"))

    scene.publish(2)
    durable.observe(full)
    try:
        with pytest.raises(Exception, match="no space left"):
            export_release(scene.store / "repository", "stable", tmp_path / "stick")
    finally:
        durable.observe(None)
    with pytest.raises(UsageError, match="there is no release in"):
        Stick(tmp_path / "stick")
    export_release(scene.store / "repository", "stable", tmp_path / "stick")
    assert update(scene, tmp_path / "stick").outcome is UpdateOutcome.ACTIVATED


def test_the_commands(tmp_path, make_bundle):
    """From an empty home: `publish export` and `device update --from`, as people type them."""
    bundle, store, stick, home = make_bundle(tmp_path / "b"), tmp_path / "s", tmp_path / "stick", tmp_path / "home"
    assert edgeloop("publish", bundle, "--store", store).returncode == 0
    done = edgeloop("publish", "export", "--store", store, "--out", stick)
    assert (done.returncode, "devices take it until" in done.stdout) == (0, True), done.stderr
    no_root = edgeloop("device", "update", "--home", home, "--from", stick)
    assert (no_root.returncode, "no trusted root yet" in error_line(no_root)) == (2, True)
    done = edgeloop("device", "update", "--home", home, "--from", stick, "--root", stick / "metadata" / "1.root.json")
    assert done.returncode == 0, done.stderr
    assert done.stdout.startswith(f"activated: bundle {open_bundle(bundle).digest[:12]}")
    nothing = edgeloop("device", "update", "--home", home, "--from", tmp_path)
    assert (nothing.returncode, "there is no release in" in error_line(nothing)) == (2, True)
    (stick / "metadata" / "timestamp.json").write_text(json.dumps({}))
    assert "is not valid" in error_line(edgeloop("device", "update", "--home", home, "--from", stick))
    other = edgeloop("publish", "export", "--store", store, "--channel", "beta", "--out", stick)
    assert (other.returncode, "channel beta has no bundle" in error_line(other)) == (1, True)

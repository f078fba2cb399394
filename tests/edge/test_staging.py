import errno
import hashlib
import shutil

import pytest
from device_world import RepositoryRoad, publish

from edge.bundle.reader import open_bundle
from edge.errors import RoadError, StorageError, TrustError
from edge.update import staging
from edge.update.staging import StagingPlan, stage

NOW = 1_700_000_000.0


@pytest.fixture(scope="session")
def signed(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("staged")
    make_bundle(folder / "v1")
    make_bundle(folder / "v2", version=2)  # other manifest, same models
    publish(folder / "store", folder / "v1", now=NOW)
    publish(folder / "store", folder / "v2", now=NOW)
    return folder


@pytest.fixture
def road(signed):
    return RepositoryRoad(signed / "store")


@pytest.fixture
def plan(tmp_path, signed):
    return plan_for(tmp_path, signed / "v2")


def plan_for(tmp_path, bundle, *sources):
    opened = open_bundle(bundle)
    return StagingPlan(
        folder=tmp_path / "bundles" / f".staging-{opened.digest}",
        manifest=opened.manifest,
        manifest_bytes=(bundle / "manifest.json").read_bytes(),
        sources=sources,
    )


def total(plan):
    return sum(entry.size_bytes for entry in plan.manifest.files)


def biggest(plan):
    return max(plan.manifest.files, key=lambda entry: entry.size_bytes)


def test_everything_is_fetched_once_and_verifies(plan, road):
    steps = []
    assert stage(plan, road, progress=lambda done, all_: steps.append((done, all_))) == total(plan)
    assert hashlib.sha256((plan.folder / "manifest.json").read_bytes()).hexdigest() == open_bundle(plan.folder).digest
    assert sorted(path.name for path in plan.folder.iterdir()) == sorted(
        ["manifest.json", *(entry.name for entry in plan.manifest.files)]
    )
    assert steps[0] == (0, total(plan))
    assert steps[-1] == (total(plan), total(plan))
    assert steps == sorted(steps)


def test_done_is_done(plan, road, signed):
    stage(plan, road)
    again = RepositoryRoad(signed / "store", down=True)
    assert stage(plan, again) == 0


def test_what_a_slot_has_does_not_travel(tmp_path, signed, road):
    plan = plan_for(tmp_path, signed / "v2", tmp_path / "nothing-here", signed / "v1")
    assert stage(plan, road) == 0
    assert road.fetched == []
    for entry in plan.manifest.files:
        assert (plan.folder / entry.name).stat().st_nlink == 1  # a copy: one bad block must not hit both slots


def test_a_file_is_found_under_another_name(tmp_path, signed, road):
    elsewhere = tmp_path / "slot"
    shutil.copytree(signed / "v1", elsewhere)
    entry = biggest(plan_for(tmp_path, signed / "v2"))
    (elsewhere / entry.name).rename(elsewhere / "renamed.bin")
    assert stage(plan_for(tmp_path, signed / "v2", elsewhere), road) == 0


def test_a_damaged_slot_is_no_source(tmp_path, signed, road):
    elsewhere = tmp_path / "slot"
    shutil.copytree(signed / "v1", elsewhere)
    plan = plan_for(tmp_path, signed / "v2", elsewhere)
    entry = biggest(plan)
    data = (elsewhere / entry.name).read_bytes()
    (elsewhere / entry.name).write_bytes(bytes([data[0] ^ 1]) + data[1:])
    assert stage(plan, road) == entry.size_bytes
    open_bundle(plan.folder)


def test_a_broken_road_goes_on_at_its_last_byte(plan, road):
    travelled = 0
    for _ in range(100):
        road.break_after = 2048
        try:
            travelled += stage(plan, road)
            break
        except RoadError:
            continue
    open_bundle(plan.folder)
    assert road.fetched_bytes == total(plan)  # not one byte twice
    assert any(offset > 0 for _, offset in road.fetched)


def test_a_rotten_beginning_is_thrown_away(plan, road):
    entry = biggest(plan)
    plan.folder.mkdir(parents=True)
    (plan.folder / f"{entry.name}.part").write_bytes(b"\0" * 1000)
    stage(plan, road)
    open_bundle(plan.folder)
    offsets = [offset for path, offset in road.fetched if path.endswith(entry.sha256)]
    assert offsets == [1000, 0]


@pytest.mark.parametrize("extra", [0, 7])
def test_a_finished_part_needs_no_road(plan, road, signed, extra):
    entry = biggest(plan)
    plan.folder.mkdir(parents=True)
    (plan.folder / f"{entry.name}.part").write_bytes((signed / "v2" / entry.name).read_bytes() + b"x" * extra)
    stage(plan, road)
    open_bundle(plan.folder)
    assert [offset for path, offset in road.fetched if path.endswith(entry.sha256)] == []


@pytest.mark.parametrize("edit", [lambda data: data[:-1] + b"X", lambda data: data[:-1], lambda data: data + b"more"])
def test_a_file_that_was_not_signed_for_is_refused(tmp_path, signed, plan, edit):
    shutil.copytree(signed / "store", tmp_path / "store")
    entry = biggest(plan)
    path = tmp_path / "store" / "repository" / "files" / "sha256" / entry.sha256
    path.write_bytes(edit(path.read_bytes()))
    with pytest.raises(TrustError, match=rf"copy of {entry.name} is not the file that was signed for"):
        stage(plan, RepositoryRoad(tmp_path / "store"))
    assert not (plan.folder / entry.name).exists()
    assert not (plan.folder / "manifest.json").exists()


def test_a_file_that_the_server_lost(tmp_path, signed, plan):
    shutil.copytree(signed / "store", tmp_path / "store")
    entry = biggest(plan)
    (tmp_path / "store" / "repository" / "files" / "sha256" / entry.sha256).unlink()
    with pytest.raises(TrustError, match=f"the server does not have {entry.name}"):
        stage(plan, RepositoryRoad(tmp_path / "store"))


def test_strangers_do_not_come_along(plan, road):
    plan.folder.mkdir(parents=True)
    (plan.folder / "evil.so").write_bytes(b"x")
    stage(plan, road)
    assert not (plan.folder / "evil.so").exists()


def test_a_link_is_no_file(plan, road, tmp_path, signed):
    plan.folder.mkdir(parents=True)
    entry = biggest(plan)
    (plan.folder / entry.name).symlink_to(signed / "v2" / entry.name)
    stage(plan, road)
    assert not (plan.folder / entry.name).is_symlink()
    assert (signed / "v2" / entry.name).read_bytes() == (plan.folder / entry.name).read_bytes()


def test_too_little_room_is_said_before_anything_travels(plan, road, monkeypatch):
    monkeypatch.setattr(staging.shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 50, 50))
    with pytest.raises(StorageError, match=rf"the new bundle needs {total(plan)} bytes in .*, 50 are free"):
        stage(plan, road)
    assert road.fetched == []
    assert not plan.folder.exists()


def test_a_disk_that_fills_up_on_the_way_is_freed_again(plan, road, monkeypatch):
    written = 0
    real = staging._open_at

    class Filling:
        def __init__(self, file):
            self.file = file

        def __enter__(self):
            return self

        def __exit__(self, *error):
            self.file.close()

        def write(self, data):
            nonlocal written
            written += len(data)
            if written > 2000:
                raise OSError(errno.ENOSPC, "No space left on device")
            return self.file.write(data)

    monkeypatch.setattr(staging, "_open_at", lambda path, offset: Filling(real(path, offset)))
    with pytest.raises(StorageError, match="no space left on device"):
        stage(plan, road)
    assert not plan.folder.exists()


def test_without_a_road_only_what_is_here(tmp_path, signed):
    plan = plan_for(tmp_path, signed / "v2", signed / "v1")
    assert stage(plan, None) == 0
    with pytest.raises(TrustError, match="the bundle holds no intact"):
        stage(plan_for(tmp_path / "other", signed / "v2"), None)

"""What an update moves and what it takes of the disk: bytes on the road, the budget, what is dropped first."""

import os
import threading

import numpy as np
import pytest
from device_world import RepositoryRoad, publish, root_file
from loopback_server import ServerState, start_server
from pipeline_bundles import COLOURS, GALLERY, build_pipeline
from published_files import UpdatedDevice, published_table
from tiny_bundles import write_manifest

from edge import durable
from edge.bundle.gallery import gallery_bytes
from edge.bundle.reader import open_bundle
from edge.errors import BundleError
from edge.sync.grpc_transport import GrpcTransport
from edge.update.pace import in_time
from edge.update.room import check_budget, folder_bytes
from edge.update.types import UpdateOutcome

NOW = 1_700_000_000.0


@pytest.fixture(scope="module")
def made(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("room")
    for number in (1, 2, 3):
        make_bundle(folder / f"v{number}", version=number, flavour=number)
    return folder


def device_of(folder, store, **options):
    device = UpdatedDevice(folder, **options)
    device.trust_root(root_file(store))
    return device


def size(bundle):
    return sum(path.stat().st_size for path in bundle.iterdir())


def test_a_budget_that_fits_both_slots_and_what_comes(tmp_path, made):
    publish(tmp_path / "store", made / "v1", now=NOW)
    whole = size(made / "v1")
    device = device_of(tmp_path / "home", tmp_path / "store", max_bytes=3 * whole + 100)
    road = RepositoryRoad(tmp_path / "store")
    for number in (1, 2, 3):
        publish(tmp_path / "store", made / f"v{number}", now=NOW)
        assert device.update(road, NOW).outcome is UpdateOutcome.ACTIVATED
        device.slots.confirm()
        taken = folder_bytes(device.slots.folder("a")) + folder_bytes(device.slots.folder("b"))
        assert taken <= 2 * whole + 100


@pytest.mark.parametrize(("runs", "shares"), [(0, 0.5), (1, 1.5), (2, 2.5)])
def test_a_bundle_above_the_budget_is_refused_before_it_travels(tmp_path, made, runs, shares):
    device = device_of(tmp_path / "home", _store(tmp_path, made, runs), max_bytes=0)
    road = RepositoryRoad(tmp_path / "store")
    for number in range(1, runs + 1):
        publish(tmp_path / "store", made / f"v{number}", now=NOW)
        device.update(road, NOW)
        device.slots.confirm()
    publish(tmp_path / "store", made / f"v{runs + 1}", now=NOW)
    device.max_bytes = int(shares * size(made / "v1"))
    files = [path for path, _ in road.fetched if path.startswith("files/")]
    before = device.runs()
    result = device.update(road, NOW)
    assert result.outcome is UpdateOutcome.REJECTED
    assert "is above bundles_max_bytes" in result.reason
    assert str(device.max_bytes) in result.reason
    assert (device.runs(), device.slots.state.rejected) == (before, ())
    assert [path for path, _ in road.fetched if path.startswith("files/")] == files
    device.max_bytes = 0
    assert device.update(road, NOW).outcome is UpdateOutcome.ACTIVATED


def _store(tmp_path, made, runs):
    publish(tmp_path / "store", made / "v1", now=NOW)
    return tmp_path / "store"


def test_the_rest_of_a_rejected_bundle_goes_first_and_the_fallback_never(tmp_path, made):
    publish(tmp_path / "store", made / "v1", now=NOW)
    whole = size(made / "v1")
    device, road = device_of(tmp_path / "home", tmp_path / "store"), RepositoryRoad(tmp_path / "store")
    device.update(road, NOW)
    device.slots.confirm()
    publish(tmp_path / "store", made / "v2", now=NOW)
    device.fails.add(open_bundle(made / "v2").digest)
    assert device.update(road, NOW).outcome is UpdateOutcome.REJECTED
    assert folder_bytes(device.slots.folder("b")) > 0
    publish(tmp_path / "store", made / "v3", now=NOW)
    device.max_bytes = 2 * whole + 100
    assert device.update(road, NOW).outcome is UpdateOutcome.ACTIVATED
    assert device.runs() == 3


def test_the_sum():
    check_budget(coming=10, active=10, fallback=10, at_most=30)
    check_budget(coming=10, active=10, fallback=10, at_most=0)
    with pytest.raises(BundleError, match=r"new bundle has 11 bytes; .*runs \(10\) .*go back to \(10\) .*bytes, 30"):
        check_budget(coming=11, active=10, fallback=10, at_most=30)


def with_larger_gallery(before, folder, rows):
    """The same bundle, one version later, with many more things in its gallery, and nothing else changed."""
    folder.mkdir()
    for path in before.iterdir():
        (folder / path.name).write_bytes(path.read_bytes())
    vectors = np.array([np.array(colour) / 255 - 0.5 for colour in COLOURS.values()], np.float32)
    dark = np.full((rows, 3), -0.5, np.float32) + np.random.default_rng(1).uniform(-0.05, 0.05, (rows, 3))
    labels = (*COLOURS, *(f"dark {number}" for number in range(rows)))
    data = gallery_bytes(labels, range(len(labels)), np.concatenate([vectors, dark]))
    (folder / GALLERY).write_bytes(data)
    manifest = open_bundle(before).manifest
    fields = {name: getattr(manifest, name) for name in manifest.__slots__} | {"version": 2}
    return write_manifest(folder, fields)


def test_a_gallery_alone_moves_its_own_bytes(tmp_path):
    """Over a real gRPC server, everything counted: metadata, the manifest and the one file that changed."""
    before = build_pipeline(tmp_path / "v1")
    after = with_larger_gallery(before, tmp_path / "v2", rows=4000)
    publish(tmp_path / "store", before, now=NOW)
    state = ServerState(files=published_table(tmp_path / "store"))
    server = start_server(state)
    device = device_of(tmp_path / "home", tmp_path / "store")
    road = GrpcTransport(server.target, timeout_s=5)
    assert device.update(road, NOW).outcome is UpdateOutcome.ACTIVATED
    device.slots.confirm()
    publish(tmp_path / "store", after, now=NOW)
    state.files = published_table(tmp_path / "store")
    result = device.update(road, NOW)
    road.close()
    server.stop()
    assert (result.outcome, device.runs()) == (UpdateOutcome.ACTIVATED, 2)
    own = (after / GALLERY).stat().st_size
    assert own > 50_000
    assert own <= result.fetched_bytes <= 1.2 * own


def test_sweeping_leaves_what_other_threads_are_writing(tmp_path):
    """A sweep in the link's thread used to take the half-written file of another thread from under it."""
    device, failures, done = UpdatedDevice(tmp_path), [], threading.Event()
    slots = device.slots

    def write():
        try:
            for number in range(300):
                durable.replace_bytes(tmp_path / "status.json", str(number).encode())
        except Exception as error:
            failures.append(error)
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    while not done.is_set():
        slots.sweep()
    thread.join()
    assert failures == []
    assert (tmp_path / "status.json").read_text() == "299"


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def test_a_drip_is_given_up_and_a_slow_road_is_not():
    clock = Clock()

    def drip(step_s, size_bytes):
        for _ in range(1000):
            clock.now += step_s
            yield os.urandom(size_bytes)

    assert sum(len(piece) for piece in in_time(drip(1.0, 100), "x", steady=clock)) == 100_000
    clock.now = 0.0
    with pytest.raises(Exception, match="bytes in 62 s is too slow"):
        list(in_time(drip(2.0, 1), "x", steady=clock))
    clock.now = 0.0
    assert len(list(in_time(iter([b"x"]), "x", steady=clock))) == 1

"""Kills the device's process at every durable write once and at seeded random moments; nothing is lost or doubled.

The oracle is what this test knows by itself: it made the pictures, and the tiny bundle's rule is that exactly the
grey ones are kept.
"""

import contextlib
import hashlib
import json
import random
import signal
import sqlite3
import subprocess
import sys
import time

import pytest
from device_world import copy_tree, edgeloop, process_environment, publish, root_file

from cloud_train.ingest.server import running_server
from edge.bundle.manifest import KeepPolicy
from edge.bundle.reader import open_bundle
from edge.outbox.sqlite import SqliteOutbox
from edge.update.slots import Slots

KEEP = KeepPolicy(random_fraction=0.0)
SOME_POINTS = (
    "trust.manifest:after",
    "update.publish:before",
    "update.slots:written",
    "outbox.put:before",
    "outbox.put:after",
    "outbox.mark_sent:before",
)


@pytest.fixture(scope="session")
def signed(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("kill")
    for number in (1, 2):
        make_bundle(folder / f"v{number}", version=number, flavour=number, keep=KEEP)
    publish(folder / "store", folder / "v1", now=time.time())
    return folder


@pytest.fixture(scope="session")
def pictures(tmp_path_factory, picture_bytes):
    folder = tmp_path_factory.mktemp("stream")
    for number in range(12):
        colour = ("red", "grey", "blue")[number % 3]
        (folder / f"{number:02d}.png").write_bytes(picture_bytes(colour, size=(40 + number, 40)))
    return folder


@pytest.fixture(scope="session")
def expected(pictures):
    grey = [(pictures / f"{number:02d}.png").read_bytes() for number in (1, 4, 7, 10)]
    return {hashlib.sha256(data).hexdigest(): data for data in grey}


class Life:
    """One device and one server, both new; the device may die as often as it likes."""

    def __init__(self, folder, signed, pictures):
        self.folder = folder
        self.pictures = pictures
        self.home = folder / "home"
        self.store = folder / "store"
        copy_tree(signed / "store", self.store)

    def command(self, server):
        return [
            "device", "run", "--home", self.home, "--server", server.target, "--root", root_file(self.store),
            "--source", self.pictures, "--passes", 1, "--fps", 40, "--exit-when-drained",
        ]  # fmt: skip

    def run(self, server, **environment):
        return edgeloop(*self.command(server), EDGELOOP_LINK_INTERVAL_S="0.05", **environment)

    def run_until(self, server, seconds):
        """Starts it and kills it from outside; returns whether it was still alive then."""
        process = subprocess.Popen(
            [sys.executable, "-m", "device_process", *map(str, self.command(server))],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env=process_environment(EDGELOOP_LINK_INTERVAL_S="0.05"),
        )
        time.sleep(seconds)
        alive = process.poll() is None
        process.kill()
        process.wait()
        return alive

    def on_the_server(self):
        """Digest to bytes, as they lie in the store; fails when a sample is recorded twice or not at all."""
        with contextlib.closing(sqlite3.connect(self.store / "meta.sqlite")) as meta:
            recorded = [digest for (digest,) in meta.execute("SELECT digest FROM samples")]
        blobs = {path.name: path.read_bytes() for path in (self.store / "blobs").glob("*/" + "?" * 64)}
        assert sorted(recorded) == sorted(blobs)
        assert not [path for path in (self.store / "partial").rglob("*") if path.is_file()]
        return blobs

    def check(self, expected, signed):
        assert self.on_the_server() == expected
        with contextlib.closing(SqliteOutbox(self.home / "outbox.sqlite")) as outbox:
            stats = outbox.stats()
        assert (stats.pending, stats.parked, stats.sent) == (0, 0, len(expected))
        slots = Slots(self.home)
        assert slots.open_active().digest == open_bundle(signed / "v1").digest
        assert slots.state.rejected == ()
        assert (slots.state.trial, not list((self.home / "bundles").glob(".staging-*"))) == ("", True)
        kept = {line["picture_digest"] for line in journal(self.home) if line["kept"]}
        assert kept == set(expected)


def journal(home):
    found = []
    for line in (home / "predictions.jsonl").read_text().splitlines():
        with contextlib.suppress(ValueError):  # the kill may have torn one
            found.append(json.loads(line))
    return found


def passed_points(tmp_path, signed, pictures):
    """The durable points of one whole life, in order."""
    life = Life(tmp_path / "whole", signed, pictures)
    notes = tmp_path / "points"
    with running_server(life.store) as server:
        done = life.run(server, POINTS=str(notes))
    assert done.returncode == 0, done.stderr
    return notes.read_text().split()


def kill_and_finish(life, expected, signed, **environment):
    """Lets it die once and run to its end; returns whether it died."""
    with running_server(life.store) as server:
        died = life.run(server, **environment).returncode == -signal.SIGKILL
        done = life.run(server)
        assert done.returncode == 0, (environment, done.stderr)
    life.check(expected, signed)
    return died


@pytest.mark.timeout(120)
@pytest.mark.parametrize("point", SOME_POINTS)
def test_killed_at_one_durable_write(tmp_path, signed, pictures, expected, point):
    assert kill_and_finish(Life(tmp_path, signed, pictures), expected, signed, DIE_AT_POINT=point)


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_killed_at_every_durable_write_once(tmp_path, signed, pictures, expected):
    points = passed_points(tmp_path, signed, pictures)
    names = {point.split(":")[0] for point in points}
    assert {"outbox.create", "outbox.put", "outbox.claim", "outbox.mark_sent"} < names
    assert {"trust.root", "trust.manifest", "update.file", "update.manifest", "update.publish", "update.slots"} < names
    survived = []
    for number in range(1, len(points) + 1):
        life = Life(tmp_path / str(number), signed, pictures)
        if not kill_and_finish(life, expected, signed, DIE_AT=str(number)):
            survived.append(number)  # two threads: a life may take a write less than the one that was counted
    assert len(survived) <= 3, f"{survived} of {len(points)} points were never reached"


@pytest.mark.slow
@pytest.mark.timeout(600)
def test_killed_at_ten_random_moments(tmp_path, signed, pictures, expected):
    draw = random.Random(20_26)
    begun = time.monotonic()
    passed_points(tmp_path, signed, pictures)
    whole_s = time.monotonic() - begun
    deaths = 0
    for number in range(10):
        life = Life(tmp_path / str(number), signed, pictures)
        with running_server(life.store) as server:
            deaths += life.run_until(server, draw.uniform(0.2, 1.0) * whole_s)
            deaths += life.run_until(server, draw.uniform(0.2, 1.0) * whole_s)
            done = life.run(server)
            assert done.returncode == 0, done.stderr
        life.check(expected, signed)
    assert deaths >= 10


@pytest.mark.slow
@pytest.mark.timeout(1200)
def test_an_update_killed_at_every_durable_write_once(tmp_path, signed, pictures):
    """From version 1 to 2: after each death the device answers with 1 or 2, and the same command brings 2."""
    settled = Life(tmp_path / "settled", signed, pictures)
    with running_server(settled.store) as server:
        assert settled.run(server).returncode == 0
        publish(settled.store, signed / "v2", now=time.time())
        digests = {open_bundle(signed / name).digest for name in ("v1", "v2")}

        def update(home, **environment):
            return edgeloop("device", "update", "--home", home, "--server", server.target, **environment)

        copy_tree(settled.home, tmp_path / "counted")
        notes = tmp_path / "points"
        assert update(tmp_path / "counted", POINTS=str(notes)).returncode == 0
        points = notes.read_text().split()
        assert {"trust.manifest:after", "update.file:after", "update.publish:after", "update.slots:after"} < set(points)
        for number, point in enumerate(points, start=1):
            home = tmp_path / f"home-{number}"
            copy_tree(settled.home, home)
            assert update(home, DIE_AT=str(number)).returncode == -signal.SIGKILL, point
            assert Slots(home).open_active().digest in digests, point
            done = update(home)
            assert done.returncode == 0, (point, done.stderr)
            assert Slots(home).open_active().manifest.version == 2, point

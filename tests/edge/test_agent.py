import contextlib
import hashlib
import json
import threading
import time
from typing import ClassVar

import pytest
from device_world import RepositoryRoad, publish, root_file

from edge.agent import Agent
from edge.bundle.manifest import KeepPolicy
from edge.bundle.reader import open_bundle
from edge.errors import BackendError, StorageError, UsageError
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.update.selftest import hardware_fingerprint, self_test
from edge.update.slots import Slots
from edge.update.trust import TrustStore
from edge.update.updater import Updater

KEEP = KeepPolicy(random_fraction=0.0)


@pytest.fixture(autouse=True)
def _ended():
    yield
    for run in Run.started:
        run.agent.stop()
        run.thread.join(10)
    Run.started.clear()


@pytest.fixture(scope="session")
def signed(tmp_path_factory, make_bundle):
    folder = tmp_path_factory.mktemp("agent")
    for number in (1, 2):
        make_bundle(folder / f"v{number}", version=number, flavour=number, keep=KEEP)
    publish(folder / "store", folder / "v1", now=time.time())
    return folder


@pytest.fixture
def store(tmp_path, signed):
    from device_world import copy_tree

    copy_tree(signed / "store", tmp_path / "store")
    return tmp_path / "store"


@pytest.fixture
def pictures(tmp_path, picture_bytes):
    """Eight pictures, two of them grey: those are kept."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    for number in range(8):
        colour = ("red", "green", "blue", "grey")[number % 4]
        (folder / f"{number}.png").write_bytes(picture_bytes(colour, size=(40 + number, 40)))
    return folder


def grey(pictures):
    return {hashlib.sha256(data).hexdigest(): data for data in (file(pictures, 3), file(pictures, 7))}


def file(folder, number):
    return (folder / f"{number}.png").read_bytes()


def settings(tmp_path, pictures, **changes):
    defaults = {
        "home": tmp_path / "home",
        "source": str(pictures),
        "payload": "original",
        "passes": 1,
        "link_interval_s": 0.02,
        "backoff_base_s": 0.02,
        "check_in_s": 0.02,
    }
    return AgentSettings(**defaults | changes)


def install(tmp_path, bundle, *, confirmed=True):
    slots = Slots(tmp_path / "home")
    trust = TrustStore(tmp_path / "home", None, channel="stable")
    Updater(slots, trust, None, self_test=self_test, fingerprint=hardware_fingerprint).sideload(bundle)
    if confirmed:
        slots.confirm()
    return slots


class Run:
    """An agent in a thread of its own."""

    started: ClassVar[list["Run"]] = []

    def __init__(self, given, road=None):
        self.started.append(self)
        self.said = []
        self.agent = Agent(given, transport=road, say=self.said.append)
        self.home = given.home
        self.failure = None
        self.counts = None
        self.thread = threading.Thread(target=self._work, daemon=True)
        self.thread.start()

    def _work(self):
        try:
            self.counts = self.agent.run()
        except BaseException as error:
            self.failure = error

    def until(self, happened, timeout_s=20):
        deadline = time.monotonic() + timeout_s
        while not happened():
            assert self.thread.is_alive(), self.failure or self.counts
            assert time.monotonic() < deadline, (self.said, self.status())
            time.sleep(0.01)

    def end(self):
        self.agent.stop()
        return self.join()

    def join(self, timeout_s=20):
        self.thread.join(timeout_s)
        assert not self.thread.is_alive()
        if self.failure is not None:
            raise self.failure
        return self.counts

    def status(self):
        path = self.home / "status.json"
        return json.loads(path.read_bytes()) if path.exists() else {}

    def journal(self):
        path = self.home / "predictions.jsonl"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def road_to(store, tmp_path):
    road = RepositoryRoad(store)
    TrustStore(tmp_path / "home", road, channel="stable").install_root(root_file(store))
    return road


def outbox_stats(tmp_path):
    with contextlib.closing(SqliteOutbox(tmp_path / "home" / "outbox.sqlite")) as outbox:
        return outbox.stats()


def test_offline_it_answers_and_keeps(tmp_path, pictures, signed):
    install(tmp_path, signed / "v1")
    run = Run(settings(tmp_path, pictures, passes=2))
    counts = run.join()
    assert (counts.frames_seen, counts.frames_answered, counts.frames_dropped, counts.passes) == (16, 16, 0, 2)
    assert (counts.accepted, counts.confirmed, counts.unknown, counts.kept) == (12, 0, 4, 2)
    assert outbox_stats(tmp_path).pending == 2
    journal = run.journal()
    assert [line["sequence"] for line in journal] == list(range(16))
    assert [line["pass"] for line in journal] == [1] * 8 + [2] * 8
    assert [line["source"] for line in journal[:2]] == ["0.png", "1.png"]
    assert [line["kept"] for line in journal[:8]] == [number in (3, 7) for number in range(8)]
    first = journal[0]
    digest = open_bundle(signed / "v1").digest
    picture = hashlib.sha256(file(pictures, 0)).hexdigest()
    assert (first["bundle_digest"], first["bundle_version"], first["picture_digest"]) == (digest, 1, picture)
    assert first["prediction_id"] == f"{picture[:12]}-{digest[:12]}"
    assert (first["label"], first["outcome"]) == ("red", "accept")
    assert first["confidence"] > 0.9
    assert first["total_ms"] > 0


def test_first_release_upload_and_end(tmp_path, pictures, store, signed):
    road = road_to(store, tmp_path)
    run = Run(settings(tmp_path, pictures, exit_when_drained=True), road)
    counts = run.join()
    assert counts.frames_answered == 8
    assert road.stored == grey(pictures)
    assert sorted(road.stored_times) == sorted(grey(pictures))
    assert road.closed
    status = run.status()
    expected = {
        "phase": "stopped",
        "bundle_digest": open_bundle(signed / "v1").digest,
        "bundle_version": 1,
        "passes": 1,
        "outbox_pending": 0,
        "outbox_sent": 2,
        "frames_dropped": 0,
        "frames_by_version": {"1": 8},
        "on_trial": False,
        "last_error": "",
    }
    assert {name: status[name] for name in expected} == expected
    assert status["bytes_seen"] == sum(len(file(pictures, number)) for number in range(8))
    assert status["bytes_uploaded"] == sum(map(len, grey(pictures).values()))
    assert status["latency_p95_ms"] >= status["latency_p50_ms"] > 0
    assert "there is no bundle yet; waiting for the first release" in run.said


def test_hot_swap_drops_no_frame(tmp_path, pictures, store, signed):
    road = road_to(store, tmp_path)
    run = Run(settings(tmp_path, pictures, passes=0, update_interval_s=0.05, confirm_frames=3), road)
    run.until(lambda: run.status().get("passes", 0) >= 1)
    publish(store, signed / "v2", now=time.time())
    run.until(lambda: run.status().get("frames_by_version", {}).get("2", 0) >= 10)
    counts = run.end()
    journal = run.journal()
    assert [line["sequence"] for line in journal] == list(range(len(journal)))
    versions = [line["bundle_version"] for line in journal]
    assert versions == sorted(versions)
    assert set(versions) == {1, 2}
    assert counts.frames_by_version == {"1": versions.count(1), "2": versions.count(2)}
    assert (counts.frames_dropped, counts.frames_seen) == (0, len(journal))
    assert set(counts.frames_by_bundle) == {open_bundle(signed / name).digest for name in ("v1", "v2")}
    state = Slots(tmp_path / "home").state
    assert (state.trial, state.active) == ("", "b")


def test_stop_comes_within_two_seconds_even_when_nothing_answers(tmp_path, pictures, signed):
    install(tmp_path, signed / "v1")
    road = RepositoryRoad(tmp_path / "no-store", down=True)
    run = Run(settings(tmp_path, pictures, passes=0, fps=0.2, backoff_base_s=30), road)
    run.until(lambda: run.status().get("frames_answered", 0) >= 1)
    begun = time.monotonic()
    run.end()
    assert time.monotonic() - begun < 2
    assert run.status()["phase"] == "stopped"


def test_stop_while_waiting_for_the_first_bundle(tmp_path, pictures, store):
    road = road_to(store, tmp_path)
    road.down = True
    run = Run(settings(tmp_path, pictures), road)
    run.until(lambda: run.status().get("phase") == "waiting for a bundle" and run.status()["last_error"])
    counts = run.end()
    assert counts.frames_seen == 0
    assert not run.journal()
    assert "the server does not answer (check the connection)" in run.said


def test_bad_pictures_are_named_once_and_counted(tmp_path, pictures, signed):
    install(tmp_path, signed / "v1")
    good = file(pictures, 0)
    (pictures / "bad1.png").write_bytes(good[: len(good) // 2])
    (pictures / "bad2.png").write_bytes(b"")
    (pictures / "bad3.png").write_bytes(b"not a picture")
    run = Run(settings(tmp_path, pictures, passes=2))
    counts = run.join()
    assert (counts.frames_seen, counts.frames_answered, counts.frames_unreadable) == (22, 16, 6)
    assert counts.frames_dropped == 0
    skipped = [line for line in run.said if line.startswith("skipped")]
    assert [line.split(":")[0] for line in skipped] == ["skipped bad1.png", "skipped bad2.png", "skipped bad3.png"]
    assert len(run.journal()) == 16


def test_large_samples_are_answered_but_not_kept(tmp_path, pictures, signed):
    install(tmp_path, signed / "v1")
    limit = len(file(pictures, 3))
    assert len(file(pictures, 7)) > limit
    counts = Run(settings(tmp_path, pictures, max_sample_bytes=limit)).join()
    assert (counts.frames_answered, counts.kept, counts.too_large) == (8, 1, 1)


def test_claims_of_a_killed_process_do_not_wait_for_their_lease(tmp_path, pictures, store, signed):
    install(tmp_path, signed / "v1")
    Run(settings(tmp_path, pictures)).join()
    with contextlib.closing(SqliteOutbox(tmp_path / "home" / "outbox.sqlite")) as outbox:
        assert len(outbox.claim(limit=9, now=time.time(), lease_s=3600)) == 2
    road = road_to(store, tmp_path)
    Run(settings(tmp_path, pictures, exit_when_drained=True), road).join()
    assert road.stored == grey(pictures)


def test_the_trial_ends_after_the_asked_number_of_frames(tmp_path, pictures, signed):
    slots = install(tmp_path, signed / "v1", confirmed=False)
    assert slots.state.trial == "a"
    run = Run(settings(tmp_path, pictures, passes=0, fps=50, confirm_frames=20))
    run.until(lambda: len(run.journal()) >= 3)
    assert len(run.journal()) >= 20 or Slots(tmp_path / "home").state.trial == "a"
    run.until(lambda: len(run.journal()) >= 22)
    assert Slots(tmp_path / "home").state.trial == ""
    run.end()


def test_a_short_source_ends_the_trial_too(tmp_path, pictures, signed):
    install(tmp_path, signed / "v1", confirmed=False)
    Run(settings(tmp_path, pictures, confirm_frames=100)).join()
    assert Slots(tmp_path / "home").state.trial == ""


def test_a_bundle_on_trial_whose_network_fails_gives_way_and_the_frame_is_answered(
    tmp_path, pictures, signed, monkeypatch
):
    install(tmp_path, signed / "v1")
    install(tmp_path, signed / "v2", confirmed=False)
    from edge.engine import Engine

    real = Engine.infer

    def infer(engine, image, *, top_k=None):
        if engine.bundle.manifest.version == 2 and len(answered) >= 2:
            raise BackendError("tiny_fp32.tflite: out of memory")
        answered.append(engine.bundle.manifest.version)
        return real(engine, image)

    answered = []
    monkeypatch.setattr(Engine, "infer", infer)
    run = Run(settings(tmp_path, pictures))
    counts = run.join()
    assert answered == [2, 2, 1, 1, 1, 1, 1, 1]
    assert (counts.frames_dropped, counts.frames_failed) == (0, 0)
    assert [line["sequence"] for line in run.journal()] == list(range(8))
    assert Slots(tmp_path / "home").state.rejected == (open_bundle(signed / "v2").digest,)
    assert any("out of memory; back to the bundle before" in line for line in run.said)


def test_a_network_that_fails_off_trial_costs_the_frame_and_is_counted(tmp_path, pictures, signed, monkeypatch):
    install(tmp_path, signed / "v1")
    from edge.engine import Engine

    real = Engine.infer
    monkeypatch.setattr(Engine, "infer", lambda engine, image, top_k: fail_on(image, real, engine, file(pictures, 1)))
    run = Run(settings(tmp_path, pictures))
    counts = run.join()
    assert (counts.frames_answered, counts.frames_failed, counts.frames_dropped) == (7, 1, 0)
    assert counts.last_error == "1.png: no more memory"


def fail_on(image, real, engine, bad):
    if image == bad:
        raise BackendError("no more memory")
    return real(engine, image)


def test_another_machine_tests_again(tmp_path, pictures, signed, monkeypatch):
    slots = install(tmp_path, signed / "v1")
    slots.mark_tested("another machine")
    tested = []
    monkeypatch.setattr("edge.swap.self_test", tested.append)
    Run(settings(tmp_path, pictures)).join()
    Run(settings(tmp_path, pictures)).join()
    assert [bundle.manifest.version for bundle in tested] == [1]
    assert Slots(tmp_path / "home").active.tested_on == hardware_fingerprint()


def test_what_fails_on_another_machine_goes_back(tmp_path, pictures, signed, monkeypatch):
    install(tmp_path, signed / "v1")
    slots = install(tmp_path, signed / "v2")
    slots.mark_tested("another machine")
    from edge.errors import SelfTestError

    def check(bundle):
        if bundle.manifest.version == 2:
            raise SelfTestError("golden vector golden-1.png differs")

    monkeypatch.setattr("edge.swap.self_test", check)
    run = Run(settings(tmp_path, pictures))
    assert run.join().frames_by_version == {"1": 8}
    assert "golden vector golden-1.png differs; back to the bundle before" in run.said


def test_a_damaged_only_bundle_is_fetched_again(tmp_path, pictures, store, signed):
    slots = install(tmp_path, signed / "v1")
    model = slots.folder("a") / "tiny_fp32.tflite"
    model.write_bytes(model.read_bytes()[:-1] + b"X")
    road = road_to(store, tmp_path)
    counts = Run(settings(tmp_path, pictures), road).join()
    assert counts.frames_answered == 8
    files = [path for path, _ in road.fetched if path.startswith("files/")]
    assert files == [f"files/sha256/{hashlib.sha256((signed / 'v1' / model.name).read_bytes()).hexdigest()}"]


@pytest.mark.parametrize("artifact", ["tflite", "onnx"])
def test_both_backends(tmp_path, pictures, signed, artifact):
    install(tmp_path, signed / "v1")
    run = Run(settings(tmp_path, pictures, artifact=artifact))
    assert run.join().kept == 2
    assert run.status()["artifact"] == f"tiny_fp32.{artifact}"


def test_a_full_disk_does_not_stop_the_answers_and_the_same_command_makes_up_for_it(
    tmp_path, pictures, signed, monkeypatch
):
    install(tmp_path, signed / "v1")
    real = SqliteOutbox.put_many

    def put_many(outbox, samples, *, now):
        raise StorageError("cannot write outbox.sqlite: no space left on device", hint="free some space")

    monkeypatch.setattr(SqliteOutbox, "put_many", put_many)
    run = Run(settings(tmp_path, pictures))
    with pytest.raises(StorageError, match=r"2 samples could not be kept: .*no space left"):
        run.join()
    assert len(run.journal()) == 8
    assert sum("no space left" in line for line in run.said) == 1
    monkeypatch.setattr(SqliteOutbox, "put_many", real)
    assert Run(settings(tmp_path, pictures)).join().kept == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"source": ""}, "no pictures to watch"),
        ({}, "there is no bundle on this device"),
        ({"artifact": "coreml"}, "has no artifact 'coreml'"),
    ],
)
def test_what_cannot_work_is_said(tmp_path, pictures, signed, changes, message):
    if "artifact" in changes:
        install(tmp_path, signed / "v1")
    with pytest.raises(UsageError, match=message):
        Run(settings(tmp_path, pictures, **changes)).join()


def test_a_mistake_of_the_link_ends_the_agent(tmp_path, pictures, store):
    road = RepositoryRoad(store)  # and no root was ever given
    with pytest.raises(UsageError, match="no trusted root yet"):
        Run(settings(tmp_path, pictures), road).join()


def test_one_agent_a_home(tmp_path, pictures, signed):
    install(tmp_path, signed / "v1")
    first = Run(settings(tmp_path, pictures, passes=0, fps=20))
    first.until(lambda: bool(first.status()))
    with pytest.raises(UsageError, match="another edgeloop process works in"):
        Run(settings(tmp_path, pictures)).join()
    first.end()

"""The agent with a live source, a still scene, a kiosk, systemd and people who answer."""

from __future__ import annotations

import contextlib
import hashlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_world import RepositoryRoad, publish, root_file

from edge.agent import Agent
from edge.bundle.manifest import CapturePolicy, KeepPolicy
from edge.bundle.reader import open_bundle
from edge.commands import sideload
from edge.errors import StorageError
from edge.outbox.base import PutOutcome
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.telemetry import Counts
from edge.types import Frame
from edge.update.trust import TrustStore
from edge.watchdog import Watchdog

KEEP = KeepPolicy(random_fraction=0.0)
RED, GREEN, GREY = ((220, 20, 30), (30, 210, 20), (128, 128, 128))


def scene(colour: tuple[int, int, int], number: int = 0) -> np.ndarray:
    """A picture of one colour; another number gives other pixels of the same scene."""
    pixels = np.full((48, 64, 3), colour, np.uint8)
    return pixels + np.random.default_rng(number).integers(0, 3, pixels.shape, dtype=np.uint8)


class Camera:
    """A live source that hands out what the test has prepared, then waits for the end."""

    is_live = True
    current_pass = 1

    def __init__(self, frames: list[np.ndarray], events: Any, pace: Any) -> None:
        self._frames, self.events, self._pace = frames, events, pace
        self.taken = 0
        self.lost = threading.Event()
        self.closed = False
        self.idle = threading.Event()

    def frames(self) -> Iterator[Frame]:
        for number, data in enumerate(self._frames):
            self.taken = number + 1
            yield Frame(data=data, captured_at=self._pace.now(), source="front", sequence=number)
        self.idle.set()
        if self.lost.wait(0.2):
            self.events.lost("it gave no frame for 2 s")
            while self.lost.is_set() and not self._pace.wait(0.02):
                continue
            self.events.back()
        while not self._pace.wait(0.02):
            continue
        self.events.superseded(3)

    def close(self) -> None:
        self.closed = True


class Life:
    """An agent in a thread."""

    def __init__(self, home: Path, bundle: Path, frames: list[np.ndarray] | None, **settings: Any) -> None:
        road = settings.pop("road", None)
        watchdog = settings.pop("watchdog", None)
        defaults = {"link_interval_s": 0.02, "backoff_base_s": 0.02, "check_in_s": 0.02}
        given = AgentSettings(home=home, source="front" if frames is not None else "", **(defaults | settings))
        if road is None:
            sideload(given, bundle, say=lambda line: None)
        self.home = home
        self.said: list[str] = []
        self.camera: Camera | None = None
        self.counts: Counts | None = None
        self.failure: BaseException | None = None

        def open_source(where: str, options: Any, *, pace: Any, events: Any, jitter: Any) -> Camera:
            assert where == "front"
            self.camera = Camera(frames or [], events, pace)
            return self.camera

        self.agent = Agent(given, transport=road, say=self.said.append, watchdog=watchdog, open_source=open_source)
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        try:
            self.counts = self.agent.run()
        except BaseException as error:
            self.failure = error

    def until(self, happened: Callable[[], object]) -> None:
        deadline = time.monotonic() + 20
        while not happened():
            assert self.thread.is_alive(), self.failure or self.counts
            assert time.monotonic() < deadline, (self.said, self.status())
            time.sleep(0.01)

    def end(self) -> Counts:
        self.agent.stop()
        self.thread.join(20)
        assert not self.thread.is_alive()
        if self.failure is not None:
            raise self.failure
        assert self.counts is not None
        return self.counts

    def status(self) -> dict[str, Any]:
        with contextlib.suppress(OSError):
            found: dict[str, Any] = json.loads((self.home / "status.json").read_bytes())
            return found
        return {}


@pytest.fixture
def live(tmp_path: Path, make_bundle: Callable[..., Path]) -> Iterator[Callable[..., Life]]:
    lives: list[Life] = []

    def begin(frames: list[np.ndarray] | None, *, capture: CapturePolicy | None = None, **settings: Any) -> Life:
        more = {"capture": capture} if capture else {}
        bundle = make_bundle(tmp_path / "bundle", keep=KEEP, **more)
        lives.append(Life(tmp_path / "home", bundle, frames, **settings))
        return lives[-1]

    yield begin
    for life in lives:
        life.agent.stop()
        life.thread.join(10)


def outbox(home: Path) -> SqliteOutbox:
    return SqliteOutbox(home / "outbox.sqlite")


def test_pixels_of_a_camera_are_answered_and_the_unknown_are_kept_as_jpeg(live: Callable[..., Life]) -> None:
    life = live([scene(RED), scene(GREY), scene(GREEN)])
    life.until(lambda: life.camera is not None and life.camera.idle.is_set())
    counts = life.end()
    assert (counts.frames_answered, counts.kept, counts.frames_superseded) == (3, 1, 3)
    with contextlib.closing(outbox(life.home)) as found:
        entry = found.entries()[0]
        payload = found.payload(entry.digest)
    assert payload[:3] == b"\xff\xd8\xff"
    assert hashlib.sha256(payload).hexdigest() == entry.digest
    assert entry.metadata.source == "front"
    assert life.camera is not None
    assert life.camera.closed


def test_a_still_scene_is_not_answered_again(live: Callable[..., Life]) -> None:
    still = [scene(RED, number) for number in range(20)]
    frames = [*still, scene(GREEN), *[scene(GREEN, number) for number in range(5)]]
    life = live(frames, capture=CapturePolicy(change_threshold=6.0))
    life.until(lambda: life.camera is not None and life.camera.idle.is_set())
    counts = life.end()
    assert (counts.frames_seen, counts.frames_answered, counts.frames_unchanged) == (26, 2, 24)
    assert counts.frames_dropped == 0
    assert life.status()["frames_unchanged"] == 24


def test_a_lost_camera_is_said_and_shown_until_it_is_back(live: Callable[..., Life]) -> None:
    life = live([scene(RED)])
    life.until(lambda: life.camera is not None)
    assert life.camera is not None
    life.camera.lost.set()
    life.until(lambda: life.status().get("last_error") == "front: it gave no frame for 2 s")
    life.camera.lost.clear()
    life.until(lambda: life.status().get("last_error") == "")
    life.end()
    assert life.said.count("front: it gave no frame for 2 s") == 1
    assert "front: the camera is back" in life.said


def test_a_disk_that_hangs_does_not_hold_up_a_camera(
    live: Callable[..., Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    hanging, reached, real = threading.Event(), threading.Event(), SqliteOutbox.put_many

    def put_many(outbox: SqliteOutbox, samples: Any, *, now: float) -> tuple[PutOutcome, ...]:
        reached.set()
        hanging.wait(15)
        return real(outbox, samples, now=now)

    monkeypatch.setattr(SqliteOutbox, "put_many", put_many)
    frames = [scene(GREY, number) for number in range(30)]
    life = live(frames)
    life.until(lambda: life.camera is not None and life.camera.taken == 30 and reached.is_set())
    assert life.status().get("kept", 0) == 0
    hanging.set()
    counts = life.end()
    assert (counts.frames_answered, counts.kept, counts.keep_failed) == (30, 30, 0)


def test_a_disk_that_fails_is_tried_again_until_it_works(
    live: Callable[..., Life], monkeypatch: pytest.MonkeyPatch
) -> None:
    from edge import writer

    monkeypatch.setattr(writer, "RETRY_S", 0.02)
    broken, real = threading.Event(), SqliteOutbox.put_many
    broken.set()

    def put_many(outbox: SqliteOutbox, samples: Any, *, now: float) -> tuple[PutOutcome, ...]:
        if broken.is_set():
            raise StorageError("cannot write outbox.sqlite: no space left on device")
        return real(outbox, samples, now=now)

    monkeypatch.setattr(SqliteOutbox, "put_many", put_many)
    life = live([scene(GREY, number) for number in range(5)])
    life.until(lambda: "no space left" in str(life.status().get("last_error")))
    broken.clear()
    life.until(lambda: life.status().get("kept") == 5)
    assert life.end().keep_failed == 0
    assert sum("no space left" in line for line in life.said) == 1


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture
def browser() -> Iterator[Any]:
    pytest.importorskip("fastapi")
    import httpx

    with httpx.Client(timeout=10) as client:
        yield client


def test_what_a_person_says_at_the_kiosk_goes_home_with_the_picture(
    tmp_path: Path, live: Callable[..., Life], make_bundle: Callable[..., Path], picture_bytes: Any, browser: Any
) -> None:
    signed = make_bundle(tmp_path / "signed", keep=KEEP)
    publish(tmp_path / "store", signed, now=time.time())
    road, port = RepositoryRoad(tmp_path / "store"), free_port()
    TrustStore(tmp_path / "home", road, channel="stable").install_root(root_file(tmp_path / "store"))
    life = live(None, road=road, kiosk_port=port, payload="original")
    address = f"http://127.0.0.1:{port}"
    life.until(lambda: life.status().get("bundle_digest") == open_bundle(signed).digest)
    data = picture_bytes("red")
    said = browser.post(f"{address}/predict/file", files={"file": ("p.png", data)}).json()
    assert (said["predicted_class"], said["kept"]) == ("red", False)
    answer = {"prediction_id": said["prediction_id"], "kind": "corrected", "label": "green", "who": "ada"}
    told = browser.post(f"{address}/feedback", json=answer)
    assert told.status_code == 200, told.text
    life.until(lambda: road.answers)
    digest = hashlib.sha256(data).hexdigest()
    assert road.stored == {digest: data}
    ((about, feedback),) = road.answers
    assert (about, feedback.label, feedback.who) == (digest, "green", "ada")
    assert life.status()["answers_waiting"] == 0
    counts = life.end()
    assert (counts.frames_answered, counts.kept, counts.frames_dropped) == (1, 1, 0)


def test_the_kiosk_shows_the_camera_and_ends_with_the_agent(live: Callable[..., Life], browser: Any) -> None:
    port = free_port()
    life = live([scene(RED)], kiosk_port=port)
    life.until(lambda: any("kiosk page" in line for line in life.said))
    address = f"http://127.0.0.1:{port}"
    life.until(lambda: (browser.get(f"{address}/live").json()["answer"] or {}).get("predicted_class") == "red")
    assert browser.get(f"{address}/health").status_code == 200
    assert "edgeloop_frames" in browser.get(f"{address}/metrics").text
    life.end()
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


def test_systemd_hears_of_start_work_and_stop(tmp_path: Path, live: Callable[..., Life]) -> None:
    path = tmp_path / "notify"
    heard: list[str] = []
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(path))
        listener.settimeout(10)
        life = live([scene(RED)], watchdog=Watchdog(str(path), 0.3))
        while heard.count("WATCHDOG=1") < 3:
            heard.append(listener.recv(1000).decode())
        life.end()
        listener.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            while True:
                heard.append(listener.recv(1000).decode())
    assert heard[0] == "READY=1"
    assert heard[-1] == "STOPPING=1"

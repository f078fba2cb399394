"""SIGKILL at every durable write of a device whose outbox is full and whose users have answered: nothing is lost.

The oracle is what the test itself saw: which answers the kiosk has accepted, which pictures lie in the folder, and what
the server has stored.
"""

from __future__ import annotations

import contextlib
import hashlib
import signal
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from device_runs import DeviceRun
from kiosk_person import Person, free_port
from loopback_server import ServerState
from sample_values import make_picture_sample

from edge.outbox.base import AuditAction
from edge.outbox.sqlite import SqliteOutbox

MAX_ENTRIES = 6
NUM_PICTURES = 16
POINTS = tuple(
    f"outbox.{change}:{moment}"
    for change in ("put", "put_answer", "claim", "mark_sent", "release", "answers_sent")
    for moment in ("before", "after")
)
QUICK = ("outbox.put_answer:after", "outbox.answers_sent:before")
TOLD = ("--passes", 1, "--fps", 20, "--exit-when-drained")


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("kill") / "pictures"
    folder.mkdir()
    for number in range(NUM_PICTURES):
        (folder / f"{number:02d}.png").write_bytes(make_picture_sample(number).payload)
    return folder


@pytest.fixture
def held_up() -> list[bytes]:
    """What the person shows to the device, in order."""
    return [make_picture_sample(number).payload for number in (-1, -2, -3)]


@pytest.fixture
def port() -> int:
    pytest.importorskip("uvicorn", reason="no kiosk here (extra kiosk)")
    return free_port()


@pytest.fixture
def person(port: int) -> Iterator[Person]:
    somebody = Person(port)
    yield somebody
    somebody.close()


class World:
    """One device with a full outbox, a server that is away and one person; the device may die at any time."""

    def __init__(self, start: Callable[..., DeviceRun], home: Path, pictures: Path, state: ServerState) -> None:
        self._start = start
        self.home = home
        self._pictures = pictures
        self._state = state
        self._accepted: set[str] = set()

    def settle(self) -> None:
        """The first release comes."""
        run = self._start(self.home, self._pictures, "--passes", 1)
        run.until(lambda: run.status.get("bundle_version") == 1, "the first release")
        run.stop()
        self._start_anew()

    def live(self, person: Person, port: int, held_up: list[bytes], **environment: str) -> int:
        """Shows pictures while the server is away, then lets the server come back; the exit status."""
        self._state.gone = True
        run = self._start(
            self.home,
            self._pictures,
            *TOLD,
            "--kiosk-port",
            port,
            EDGELOOP_OUTBOX_MAX_ENTRIES=str(MAX_ENTRIES),
            **environment,
        )
        for picture in held_up:
            digest = hashlib.sha256(picture).hexdigest()
            while digest not in self._accepted and run.process.poll() is None:
                if person.judge(picture, label="green"):
                    self._accepted.add(digest)
        with contextlib.suppress(AssertionError):  # it may die before
            run.until(lambda: run.status.get("phase", -1) == "draining", "all pictures are seen")
        self._state.gone = False
        return run.wait()

    def _start_anew(self) -> None:
        """With the bundle, and an outbox that has never seen anything."""
        for path in self.home.glob("outbox.sqlite*"):
            path.unlink()
        (self.home / "status.json").unlink()
        self._state.stored.clear()
        self._state.stored_times.clear()

    def check(self, held_up: list[bytes]) -> None:
        state = self._state
        judged = {hashlib.sha256(picture).hexdigest(): picture for picture in held_up}
        watched = {hashlib.sha256(path.read_bytes()).hexdigest() for path in self._pictures.iterdir()}
        with contextlib.closing(SqliteOutbox(self.home / "outbox.sqlite")) as outbox:
            stats = outbox.stats()
            shed = {row.digest for row in outbox.audit(limit=1000) if row.action is AuditAction.SHED}
        assert (stats.pending, stats.parked, stats.answers) == (0, 0, 0)
        assert set(judged) <= set(state.stored), "what a person has answered is never shed"
        assert {digest for digest, _ in state.feedback} == set(judged)
        assert {feedback.label for _, feedback in state.feedback} == {"green"}
        assert set(state.stored) - set(judged) <= watched
        assert watched <= set(state.stored) | shed
        assert len(state.stored) >= MAX_ENTRIES
        assert set(state.stored_times.values()) == {1}
        assert all(hashlib.sha256(payload).hexdigest() == digest for digest, payload in state.stored.items())


@pytest.fixture
def world(tmp_path: Path, start: Callable[..., DeviceRun], pictures: Path, state: ServerState) -> World:
    made = World(start, tmp_path / "home", pictures, state)
    made.settle()
    return made


def test_these_are_all_the_durable_writes(
    tmp_path: Path, world: World, person: Person, port: int, held_up: list[bytes]
) -> None:
    notes = tmp_path / "points"
    assert world.live(person, port, held_up, POINTS=str(notes)) == 0
    world.check(held_up)
    found = {point for point in notes.read_text().split() if point.startswith("outbox.")}
    assert found - {"outbox.create:before", "outbox.create:after"} == set(POINTS)


@pytest.mark.parametrize(
    "point", [pytest.param(point, marks=[] if point in QUICK else [pytest.mark.slow]) for point in POINTS]
)
def test_killed_at_a_durable_write(world: World, person: Person, port: int, held_up: list[bytes], point: str) -> None:
    assert world.live(person, port, held_up, DIE_AT_POINT=point) == -signal.SIGKILL
    assert world.live(person, port, held_up) == 0
    world.check(held_up)

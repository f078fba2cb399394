"""The agent's statistics over restarts, with a real server: every frame is counted once."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from device_world import publish, root_file

from cloud_train.ingest.server import running_server
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.opened import open_store
from edge import durable
from edge.agent import Agent
from edge.bundle.reader import open_bundle
from edge.commands import sideload
from edge.errors import RoadError, StorageError
from edge.hours_file import read_hours
from edge.settings import AgentSettings
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import DeviceStatus, Directive
from edge.telemetry import Counts
from edge.update.trust import TrustStore


class LostReplies(GrpcTransport):
    """The road to a real server on which the answers to check-ins are lost."""

    sent = 0

    def check_in(self, status: DeviceStatus) -> Directive:
        super().check_in(status)
        self.sent += 1
        raise RoadError("the answer was lost")


class Good(GrpcTransport):
    """The same, counting check-ins."""

    sent = 0

    def check_in(self, status: DeviceStatus) -> Directive:
        directive = super().check_in(status)
        self.sent += 1
        return directive


class Away(Good):
    """A server that nobody reaches."""

    def check_in(self, status: DeviceStatus) -> Directive:
        raise RoadError("the server does not answer")


@dataclass
class Device:
    """A device that sees the same pictures again and again, in one life after the other."""

    settings: AgentSettings
    said: list[str] = field(default_factory=list)

    def live(self, road: Good | LostReplies, *, check_ins: int = 0) -> Counts:
        """Answers some frames, checks in so often, and is stopped; what it counted."""
        agent = Agent(self.settings, transport=road, say=self.said.append, progress=lambda counts: seen.append(counts))
        seen, results = [Counts()], list[Counts | BaseException]()

        def run() -> None:
            try:
                results.append(agent.run())
            except BaseException as error:
                results.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        end = time.monotonic() + 60
        while seen[-1].frames_answered < 5 or road.sent < check_ins:
            assert time.monotonic() < end, self.said
            assert thread.is_alive(), results
            time.sleep(0.02)
        agent.stop()
        thread.join(20)
        (result,) = results
        assert isinstance(result, Counts), result
        return result


@pytest.fixture
def world(tmp_path: Path, make_bundle: Callable[..., Path], picture_bytes: Callable[..., bytes]) -> Iterator[World]:
    bundle = make_bundle(tmp_path / "v1", version=1)
    publish(tmp_path / "store", bundle, now=time.time())
    pictures = tmp_path / "pictures"
    pictures.mkdir()
    for number in range(3):
        (pictures / f"{number}.png").write_bytes(picture_bytes("red", size=(40 + number, 40)))
    settings = AgentSettings(
        home=tmp_path / "home",
        source=str(pictures),
        fps=50,
        device_id="till-7",
        link_interval_s=0.02,
        backoff_base_s=0.02,
        backoff_cap_s=0.05,
        check_in_s=0.05,
    )
    sideload(settings, bundle, say=lambda line: None)
    with running_server(tmp_path / "store", check_in_s=0.2) as info:
        trust = TrustStore(settings.home, GrpcTransport(info.target), channel="stable")
        trust.install_root(root_file(tmp_path / "store"))
        yield World(tmp_path / "store", Device(settings), info.target, open_bundle(bundle).digest)


@dataclass
class World:
    """A device and its server."""

    store: Path
    device: Device
    target: str
    bundle_digest: str

    @property
    def frames(self) -> int:
        """What the server has counted."""
        with open_store(self.store) as store:
            rows = SqlHourStore(store.database).figures(self.bundle_digest, ["till-7"], since=0, until=10**9)
        return sum(row.frames for row in rows)

    def take_the_rest(self) -> None:
        """As the next check-in will bring it."""
        if self.file.exists():
            with open_store(self.store) as store:
                SqlHourStore(store.database).record("till-7", read_hours(self.file).hours)

    @property
    def file(self) -> Path:
        return self.device.settings.home / "statistics.json"


def test_every_frame_of_every_life_is_counted_once(world: World) -> None:
    """Offline, then with answers that are lost, then well: what the server has at the end is what was answered."""
    lives = [world.device.live(Away(world.target))]
    assert sum(hour.frames for hour in read_hours(world.file).hours) == lives[0].frames_answered
    assert world.frames == 0
    lives.append(world.device.live(LostReplies(world.target), check_ins=3))
    lives.append(world.device.live(LostReplies(world.target), check_ins=3))
    for _ in range(3):
        lives.append(world.device.live(Good(world.target), check_ins=3))
        world.take_the_rest()
        assert world.frames == sum(life.frames_answered for life in lives)
    assert not [line for line in world.device.said if "statistics" in line]


def test_a_damaged_file_is_said_once_and_the_agent_works(world: World) -> None:
    world.file.write_bytes(b"\x00" * 100)
    counts = world.device.live(Away(world.target))
    assert [line for line in world.device.said if "statistics" in line] == [
        "the statistics of earlier runs are lost, their file is set aside as statistics.damaged.json: "
        "statistics.json: not valid JSON: Expecting value: line 1 column 1 (char 0)"
    ]
    assert sum(hour.frames for hour in read_hours(world.file).hours) == counts.frames_answered


def test_a_disk_that_takes_no_statistics_stops_nothing(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    real = durable.write_bytes

    def write_bytes(path: Path, data: bytes, **given: object) -> None:
        if path == world.file:
            raise StorageError(f"cannot write {path}: no space left on device", hint="free some space")
        real(path, data, **given)

    monkeypatch.setattr(durable, "write_bytes", write_bytes)
    counts = world.device.live(Away(world.target))
    assert counts.frames_answered >= 5
    (line,) = [line for line in world.device.said if "statistics" in line]
    assert line.startswith("the statistics of this device are not saved: cannot write ")
    assert "no space left on device" in line

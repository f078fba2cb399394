"""A disk that stands still for a while, or a write that does not come back: no frame waits for it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from device_runs import PATIENCE_S, DeviceRun
from loop_disks import new_disk
from loopback_server import ServerState

from edge.agent import Agent
from edge.bundle.manifest import KeepPolicy
from edge.commands import sideload
from edge.outbox.recovering import RecoveringOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.sources.base import Pace, SourceOptions
from edge.types import Frame

NUM_FRAMES = 40
FEW = 5


class Camera:
    """A live source of so many frames, each of another colour; counts those that were answered for."""

    is_live = True
    current_pass = 1

    def __init__(self) -> None:
        self.num_answered = 0
        self.may_end = threading.Event()

    def open(self, where: str, options: SourceOptions, *, pace: Pace, **more: object) -> Camera:
        return self

    def frames(self) -> Iterator[Frame]:
        for number in range(NUM_FRAMES):
            data = np.full((40, 48, 3), 60 + number, np.uint8)
            yield Frame(data=data, captured_at=1.75e9 + number, source="camera", sequence=number)
            self.num_answered += 1
        assert self.may_end.wait(PATIENCE_S)

    def close(self) -> None:
        pass


def test_a_write_that_does_not_come_back_holds_up_no_frame(
    tmp_path: Path, make_bundle: Callable[..., Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = AgentSettings(home=tmp_path / "home", source="camera", payload="original")
    bundle = make_bundle(tmp_path / "bundle", keep=KeepPolicy(random_fraction=1.0))
    sideload(settings, bundle, say=lambda line: None)
    disk_works, is_writing = threading.Event(), threading.Event()
    real = RecoveringOutbox.put_many

    def put_many(outbox: RecoveringOutbox, samples: Any, *, now: float) -> Any:
        is_writing.set()
        assert disk_works.wait(PATIENCE_S)
        return real(outbox, samples, now=now)

    monkeypatch.setattr(RecoveringOutbox, "put_many", put_many)
    camera = Camera()
    agent = Agent(settings, transport=None, say=lambda line: None, open_source=camera.open)
    ended: list[object] = []
    thread = threading.Thread(target=lambda: ended.append(agent.run()), daemon=True)
    thread.start()
    try:
        assert is_writing.wait(PATIENCE_S)
        deadline = time.monotonic() + PATIENCE_S
        while camera.num_answered < NUM_FRAMES:
            assert time.monotonic() < deadline, f"{camera.num_answered} frames were answered"
            time.sleep(0.005)
        assert not disk_works.is_set()
    finally:
        disk_works.set()
        camera.may_end.set()
        thread.join(PATIENCE_S)
    assert len(ended) == 1
    outbox = SqliteOutbox(tmp_path / "home" / "outbox.sqlite")
    assert outbox.stats().pending == NUM_FRAMES
    outbox.close()


@pytest.mark.faults
def test_a_disk_that_stands_still_holds_up_no_frame(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    with new_disk(tmp_path / "slow") as disk:
        run = start(disk.folder / "home", live)
        run.until(lambda: len(state.stored) >= 2 * FEW, "some samples on the server")
        with disk.frozen():
            run.answer_more(3 * FEW, timeout_s=5)
        handed = set(run.notes.digests("handed"))
        run.until(lambda: handed <= set(state.stored), "all has arrived")
        assert run.stop() == 0
    assert set(state.stored_times.values()) == {1}

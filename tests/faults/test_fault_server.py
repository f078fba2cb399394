"""The server is gone for days: the outbox fills to its cap and sheds what is worth least; what is left arrives once."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from device_runs import PATIENCE_S, DeviceRun
from device_world import RepositoryRoad, root_file
from loopback_server import ServerState, Trouble

from edge.agent import Agent
from edge.outbox.base import AuditAction
from edge.outbox.recovering import RecoveringOutbox
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.sources.base import Pace, SourceOptions
from edge.status import read_status
from edge.types import Feedback, FeedbackKind, Frame
from edge.update.trust import TrustStore

DAY_S = 86_400.0
NUM_DAYS = 3
FRAMES_A_DAY = 40
MAX_ENTRIES = 20


class Days:
    """A live camera and its clock: a frame comes when it is asked for, a fortieth of a day after the one before."""

    is_live = True
    current_pass = 1

    def __init__(self) -> None:
        self.now = time.time()  # what a clock before the signature says is not believed
        self._wanted = threading.Semaphore(0)
        self._rng = np.random.default_rng(5)

    def frames(self) -> Iterator[Frame]:
        for number in range(NUM_DAYS * FRAMES_A_DAY):
            while not self._wanted.acquire(blocking=False):
                if self._pace.wait(0.01):
                    return
            self.now += DAY_S / FRAMES_A_DAY
            colour = self._rng.integers(60, 200, 3, dtype=np.uint8)
            yield Frame(data=np.full((40, 48, 3), colour), captured_at=self.now, source="days", sequence=number)
        while not self._pace.wait(0.01):
            continue

    def open(self, where: str, options: SourceOptions, *, pace: Pace, **more: object) -> Days:
        self._pace = pace
        return self

    def pass_a_day(self) -> None:
        self._wanted.release(FRAMES_A_DAY)

    def close(self) -> None:
        pass


class CountingRoad(RepositoryRoad):
    """Counts how often it was tried."""

    num_tries = 0

    def offer(self, offers: Any) -> Any:
        self.num_tries += 1
        return super().offer(offers)


@pytest.fixture
def put(monkeypatch: pytest.MonkeyPatch) -> dict[str, float]:
    """Value by digest of all that was put into an outbox, in order."""
    seen: dict[str, float] = {}
    real = RecoveringOutbox.put_many

    def put_many(outbox: RecoveringOutbox, samples: Any, *, now: float) -> Any:
        outcomes = real(outbox, samples, now=now)
        seen.update({sample.digest: sample.metadata.value for sample in samples})
        return outcomes

    monkeypatch.setattr(RecoveringOutbox, "put_many", put_many)
    return seen


def until(happened: Callable[[], object]) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while not happened():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_the_most_valuable_of_many_days_arrive_once(tmp_path: Path, release: Path, put: dict[str, float]) -> None:
    days, road, said = Days(), CountingRoad(release), []
    TrustStore(tmp_path, road, channel="stable").install_root(root_file(release))
    settings = AgentSettings(
        home=tmp_path,
        source="days",
        payload="original",
        outbox_max_entries=MAX_ENTRIES,
        link_interval_s=0.05,
        backoff_base_s=0.05,
        backoff_cap_s=0.2,
    )
    agent = Agent(
        settings,
        transport=road,
        say=said.append,
        clock=lambda: days.now,
        open_source=days.open,
    )
    thread = threading.Thread(target=agent.run, daemon=True)
    thread.start()
    try:
        until(lambda: read(settings).get("phase") == "running")
        road.down = True
        for day in range(1, NUM_DAYS + 1):
            # What is being sent is not shed: while the day's samples come in, nothing is.
            (tmp_path / "metered").touch()
            until(lambda: read(settings).get("held_back") == "the link is metered")
            days.pass_a_day()
            until(lambda day=day: len(put) == day * FRAMES_A_DAY)
            tries = road.num_tries
            (tmp_path / "metered").unlink()
            until(lambda tries=tries: road.num_tries >= tries + 3)
        best = sorted(put, key=lambda digest: put[digest])[-MAX_ENTRIES:]
        with contextlib.closing(SqliteOutbox(tmp_path / "outbox.sqlite")) as outbox:
            assert outbox.stats().pending == MAX_ENTRIES
            rows = outbox.audit(limit=1000)
        assert {row.action for row in rows} == {AuditAction.SHED}
        assert {row.digest: row.value for row in rows} == {
            digest: value for digest, value in put.items() if digest not in best
        }
        assert len(rows) == NUM_DAYS * FRAMES_A_DAY - MAX_ENTRIES
        road.down = False
        until(lambda: len(road.stored) >= MAX_ENTRIES)
    finally:
        agent.stop()
        thread.join(PATIENCE_S)
    assert sorted(road.stored_times) == sorted(best)
    assert 1 <= said.count("the server does not answer (check the connection)") <= NUM_DAYS


def read(settings: AgentSettings) -> dict[str, Any]:
    return read_status(settings) if (settings.home / "status.json").exists() else {}


def test_the_device_outlives_a_server_that_was_gone(
    tmp_path: Path, start: Callable[..., DeviceRun], live: str, state: ServerState
) -> None:
    run = start(tmp_path / "home", live, EDGELOOP_OUTBOX_MAX_ENTRIES=str(MAX_ENTRIES))
    run.until(lambda: len(state.stored) >= 3, "three samples on the server")
    state.gone = True
    run.until(lambda: run.status.get("outbox_pending", -1) == MAX_ENTRIES, "the outbox is full")
    run.until(lambda: run.status.get("outbox_shed", -1) >= 10, "ten are shed")
    assert "gone" in run.errors
    statuses = len(state.statuses)
    state.gone = False
    run.until(lambda: 0 <= run.status.get("outbox_pending", -1) <= 5, "the outbox is empty, but for the newest")
    run.until(lambda: len(state.statuses) > statuses, "check-ins again")
    run.until(lambda: run.errors == "", "all is well again")
    assert run.stop() == 0
    with contextlib.closing(SqliteOutbox(tmp_path / "home" / "outbox.sqlite")) as outbox:
        waiting = {entry.digest for entry in outbox.entries() if entry.metadata is not None}
        rows = outbox.audit(limit=1000)
    shed = {row.digest for row in rows}
    assert {row.action for row in rows} == {AuditAction.SHED}
    assert run.notes.acknowledged <= set(state.stored) | waiting | shed
    assert not set(state.stored) & (shed - run.notes.acknowledged)
    assert set(state.stored_times.values()) == {1}


def test_the_end_waits_for_people_s_answers_too(
    tmp_path: Path,
    start: Callable[..., DeviceRun],
    state: ServerState,
    release: Path,
    picture_bytes: Callable[..., bytes],
) -> None:
    (tmp_path / "pictures").mkdir()
    (tmp_path / "pictures" / "red.png").write_bytes(picture_bytes("red"))
    feedback = Feedback(kind=FeedbackKind.CONFIRMED, label="red", who="ann", at=1.0)
    with contextlib.closing(SqliteOutbox(tmp_path / "home" / "outbox.sqlite")) as outbox:
        outbox.put_answer("1" * 64, feedback, now=1.0)
    state.troubles["Annotate"] = [Trouble(grpc.StatusCode.UNAVAILABLE)] * 5
    bundle = ("--bundle", release.with_name("bundle"), "--allow-unsigned")
    run = start(tmp_path / "home", tmp_path / "pictures", "--passes", 1, "--exit-when-drained", *bundle)
    assert run.wait() == 0
    assert state.feedback == [("1" * 64, feedback)]

"""An agent that lives through years in minutes: a child process of `test_agent_endurance`.

python endless_agent.py HOME BUNDLE STORE FRAMES: answers so many frames of a made-up camera on a simulated clock, with
a server that is there and gone in turn, and prints what it held as one JSON object.
"""

from __future__ import annotations

import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
from device_world import RepositoryRoad, root_file

from edge.agent import Agent
from edge.commands import sideload
from edge.errors import RoadError
from edge.outbox.base import Sample
from edge.settings import AgentSettings
from edge.sync.types import DeviceStatus, Directive, OfferReply, Receipt, ReceiptStatus, SampleOffer
from edge.types import Feedback, Frame
from edge.update.trust import TrustStore

FRAMES_A_SECOND = 30.0
YEAR_S = 365 * 86_400.0
CAP_BYTES = 2_000_000
MARK_EVERY = 2_000
_SIDE = (72, 96)


class SimulatedTime:
    """Seconds that go on by a frame; the clock on the wall jumps for years now and then."""

    def __init__(self) -> None:
        self.frames = 0

    def __call__(self) -> float:
        jump = (0.0, 5 * YEAR_S, -5 * YEAR_S)[self.frames // 7_000 % 3]
        return 1.75e9 + self.frames / FRAMES_A_SECOND + jump


class Camera:
    """A live source: scenes that the model knows, every hundredth one that it does not."""

    is_live = True
    current_pass = 1

    def __init__(self, clock: SimulatedTime, frames: int, mark) -> None:
        self._clock, self._frames, self._mark = clock, frames, mark
        self._rng = np.random.default_rng(11)
        self._known = [np.full((*_SIDE, 3), colour, np.uint8) for colour in ((220, 20, 30), (30, 210, 20))]

    def frames(self) -> Iterator[Frame]:
        for number in range(self._frames):
            self._clock.frames = number
            if number % MARK_EVERY == 0:
                self._mark(number)
            data = self._known[number % 2]
            if number % 100 == 0:
                grey = np.full((*_SIDE, 3), 128, np.uint8)
                data = grey + self._rng.integers(0, 8, grey.shape, dtype=np.uint8)
            yield Frame(data=data, captured_at=self._clock(), source="simulated", sequence=number)
        self._mark(self._frames)

    def close(self) -> None:
        pass


class Road:
    """A server that remembers digests, and is gone for three quarters of the time."""

    def __init__(self, clock: SimulatedTime, store: Path) -> None:
        self._clock = clock
        self._files = RepositoryRoad(store)
        self.arrived: dict[str, int] = {}
        self.lock = threading.Lock()

    def _require_up(self) -> None:
        if self._clock.frames // 3_000 % 4 != 3:
            raise RoadError("no server")

    def offer(self, offers: tuple[SampleOffer, ...]) -> OfferReply:
        self._require_up()
        digests = [offer.digest for offer in offers]
        with self.lock:
            known = tuple(digest for digest in digests if digest in self.arrived)
        missing = tuple(digest for digest in digests if digest not in known)
        return OfferReply(missing=missing, known=known, refused={}, partial={}, retry_after_s=0.0)

    def push(self, samples: Iterable[tuple[Sample, int]], *, at_hand: object = None) -> Iterator[Receipt]:
        for sample, _ in samples:
            self._require_up()
            with self.lock:
                self.arrived[sample.digest] = self.arrived.get(sample.digest, 0) + 1
            yield Receipt(digest=sample.digest, status=ReceiptStatus.STORED)

    def annotate(self, digest: str, feedback: Feedback) -> None:
        self._require_up()

    def check_in(self, status: DeviceStatus) -> Directive:
        self._require_up()
        return Directive(channel="stable", bundle_digest="", check_in_s=0.5)

    def fetch(self, path: str, *, offset: int) -> Iterator[bytes]:
        self._require_up()
        return self._files.fetch(path, offset=offset)

    def close(self) -> None:
        pass


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")


def main(home: Path, bundle: Path, store: Path, frames: int) -> None:
    settings = AgentSettings(
        home=home,
        source="simulated",
        link_interval_s=0.05,
        update_interval_s=5.0,
        backoff_base_s=0.05,
        backoff_cap_s=0.2,
        payload="original",
        outbox_max_bytes=CAP_BYTES,
        journal_max_bytes=1_000_000,
    )
    sideload(settings, bundle, say=lambda line: None)
    clock = SimulatedTime()
    road = Road(clock, store)
    TrustStore(home, road, channel="stable").install_root(root_file(store))
    marks: list[tuple[int, int, int]] = []
    said: list[str] = []

    def mark(number: int) -> None:
        marks.append((number, resident_bytes(), (home / "outbox.sqlite").stat().st_size))

    agent = Agent(
        settings,
        transport=road,
        say=said.append,
        clock=clock,
        open_source=lambda where, options, **more: Camera(clock, frames, mark),
    )
    counts = agent.run()
    sent_twice = sum(times > 1 for times in road.arrived.values())
    result = {
        "marks": marks,
        "answered": counts.frames_answered,
        "dropped": counts.frames_dropped,
        "kept": counts.kept,
        "arrived": len(road.arrived),
        "sent_twice": sent_twice,
        "threads": threading.active_count(),
        "said": len(said),
    }
    print(json.dumps(result))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))

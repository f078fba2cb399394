"""A small agent for tests of the kiosk: a real engine, an outbox in memory, and frames that a test lays down."""

from __future__ import annotations

import dataclasses
import hashlib
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

from edge.answering import Answer
from edge.engine import Engine, open_engine
from edge.errors import BackendError, EdgeloopError, ImageError, UsageError
from edge.keeper import sample_metadata
from edge.kiosk.desk import Serving, Watching, serving_of
from edge.kiosk.options import KioskOptions
from edge.kiosk.server import KioskServer
from edge.outbox.base import Sample
from edge.outbox.memory import MemoryOutbox
from edge.status import AgentState
from edge.telemetry import Counts, Telemetry
from edge.types import Feedback, Frame, Inference, KeepReason, KeepVerdict, Outcome
from edge.update.types import Slot, SlotState


class SmallDesk:
    """`edge.kiosk.desk.Desk`.

    Attributes:
        outbox: What it keeps: every picture that is not ACCEPT, and every one that was judged.
        answers: What people said, by the digest of the sample, in order.
        gate: While it is closed (`clear`), every answer waits.
        fails: Raised by the next answers or feedbacks.
        watched: What `watching` says.
    """

    def __init__(self, bundle: Path | None) -> None:
        self.engine: Engine | None = open_engine(bundle).load() if bundle is not None else None
        self.outbox = MemoryOutbox()
        self.answers: list[tuple[str, Feedback]] = []
        self.telemetry = Telemetry()
        self.gate = threading.Event()
        self.gate.set()
        self.inside = 0
        self.most_inside = 0
        self.fails: BaseException | None = None
        self.watched = Watching()
        self._latest: Answer | None = None
        self._lock = threading.Lock()

    def recognise(self, picture: bytes, *, source: str, top_k: int | None = None) -> Answer:
        if self.engine is None:
            raise UsageError("there is no bundle on this device yet", hint="wait for the first release")
        self._wait_at_the_gate()
        frame = Frame(data=picture, captured_at=time.time(), source=source, sequence=0)
        self.telemetry.add(frames_seen=1, bytes_seen=len(picture))
        try:
            if self.fails is not None:
                raise self.fails
            inference = self.engine.infer(picture, top_k=top_k)
        except ImageError:
            self.telemetry.add(frames_unreadable=1)
            raise
        except BackendError:
            self.telemetry.add(frames_failed=1)
            raise
        manifest = self.engine.bundle.manifest
        self.telemetry.answered(inference, manifest.version)
        answer = Answer(frame=frame, inference=inference, manifest=manifest)
        if inference.decision.outcome is Outcome.ACCEPT:
            return answer
        return dataclasses.replace(answer, kept=True, sample_digest=self._keep(frame, inference))

    def feedback(self, answer: Answer, feedback: Feedback) -> str:
        if isinstance(self.fails, EdgeloopError):
            raise self.fails
        digest = self._keep(answer.frame, answer.inference)
        self.outbox.put_answer(digest, feedback, now=feedback.at)
        self.answers.append((digest, feedback))
        return digest

    def latest(self) -> Answer | None:
        return self._latest

    def serving(self) -> Serving | None:
        return serving_of(self.engine) if self.engine is not None else None

    def watching(self) -> Watching:
        return self.watched

    def counts(self) -> Counts:
        return self.telemetry.counts()

    def state(self) -> AgentState:
        digest = self.engine.bundle.digest if self.engine is not None else ""
        return AgentState(
            device_id="shelf-7",
            phase="running" if digest else "waiting for a bundle",
            slots=SlotState(slots={"a": Slot(bundle_digest=digest, version=1)}, active="a" if digest else ""),
            outbox=self.outbox.stats(),
            server_reached_at=0.0,
            at=time.time(),
        )

    def watch(self, picture: bytes, *, name: str = "camera:0") -> Answer:
        """Lays down a frame of the source, answered for."""
        self.watched = Watching(name=name)
        self._latest = self.recognise(picture, source=name)
        return self._latest

    def close(self) -> None:
        self.gate.set()
        if self.engine is not None:
            self.engine.close()

    def _wait_at_the_gate(self) -> None:
        with self._lock:
            self.inside += 1
            self.most_inside = max(self.most_inside, self.inside)
        try:
            assert self.gate.wait(30)
        finally:
            with self._lock:
                self.inside -= 1

    def _keep(self, frame: Frame, inference: Inference) -> str:
        assert isinstance(frame.data, bytes)
        verdict = KeepVerdict(keep=True, reason=KeepReason.FEEDBACK, value=1.0)
        metadata = sample_metadata(frame, inference, verdict, device_id="shelf-7")
        digest = hashlib.sha256(frame.data).hexdigest()
        self.outbox.put(Sample(digest=digest, payload=frame.data, metadata=metadata), now=frame.captured_at)
        return digest


@contextmanager
def serving_kiosk(bundle: Path | None, **options: object) -> Iterator[tuple[SmallDesk, KioskServer]]:
    """A desk with a bundle, and its kiosk on a free port, for the length of a block."""
    desk = SmallDesk(bundle)
    server = KioskServer(desk, KioskOptions(**{"port": 0, "per_minute": 100_000, **options}))  # type: ignore[arg-type]
    server.start()
    try:
        yield desk, server
    finally:
        desk.gate.set()
        server.stop()
        desk.close()


def caller(server: KioskServer, **settings: object) -> httpx.Client:
    """A client that is not told by the environment to go elsewhere."""
    return httpx.Client(base_url=server.address, trust_env=False, timeout=30, **settings)  # type: ignore[arg-type]

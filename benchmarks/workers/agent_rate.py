"""Measured program: answers a made-up camera of 720p, alone or as a whole agent whose outbox drains meanwhile.

python -m benchmarks.workers.agent_rate alone|agent BUNDLE PICTURES FPS SECONDS [HOME SERVER]

Prints one JSON object: frames answered, seconds it took, and how many milliseconds each frame held the loop.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edge.agent import Agent
from edge.background import switch_threads_quickly
from edge.engine import open_engine
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.sync.grpc_transport import GrpcTransport
from edge.types import Frame

if TYPE_CHECKING:
    from edge.types import ByteArray

SIZE = (1280, 720)


class Camera:
    """A live source: frames come due at a rate, and one that comes due while another is answered is lost.

    Attributes:
        held_ms: How long each frame held whoever took it.
        superseded: Frames that were lost.
    """

    is_live = True
    current_pass = 1

    def __init__(self, pictures: list[ByteArray], fps: float, seconds: float) -> None:
        self._pictures = pictures
        self._fps = fps
        self._seconds = seconds
        self.held_ms: list[float] = []
        self.superseded = 0
        self.took_s = 0.0

    def frames(self) -> Iterator[Frame]:
        """As long as asked for; at 0 frames a second, as fast as they are taken."""
        began = time.perf_counter()
        number = due = 0
        while (now := time.perf_counter()) - began < self._seconds:
            if self._fps:
                newest = int((now - began) * self._fps)
                if newest < due:
                    time.sleep(max(0.0, due / self._fps - (now - began)))
                    continue
                self.superseded += newest - due
                due = newest + 1
            data = self._pictures[number % len(self._pictures)]
            handed_out = time.perf_counter()
            yield Frame(data=data, captured_at=time.time(), source="made-up", sequence=number)
            self.held_ms.append((time.perf_counter() - handed_out) * 1e3)
            number += 1
        self.took_s = time.perf_counter() - began

    def close(self) -> None:
        """Nothing to let go of."""


def alone(camera: Camera, bundle: Path) -> dict[str, object]:
    """Inference and nothing else."""
    with open_engine(bundle, allow_unproven=True) as engine:
        for frame in camera.frames():
            engine.infer(frame.data)
    return {}


def agent(camera: Camera, home: Path, server: str) -> dict[str, object]:
    """The agent with everything that it does besides."""
    switch_threads_quickly()
    settings = AgentSettings(home=home, server=server, source="made-up", link_interval_s=0.1)
    before = _pending(home)
    transport = GrpcTransport(server)
    worker = Agent(
        settings, transport=transport, say=lambda line: None, open_source=lambda where, options, **more: camera
    )
    counts = worker.run()
    transport.close()
    return {"drained": before + counts.kept - _pending(home), "left": _pending(home), "kept": counts.kept}


def _pending(home: Path) -> int:
    outbox = SqliteOutbox(home / "outbox.sqlite")
    try:
        return outbox.stats().pending
    finally:
        outbox.close()


def main(mode: str, bundle: Path, pictures: Path, fps: float, seconds: float, *agent_words: str) -> None:
    """Prints what was measured."""
    arrays = [
        np.asarray(Image.open(path).convert("RGB").resize(SIZE))
        for path in sorted(pictures.iterdir())
        if path.is_file()
    ]
    camera = Camera(arrays, fps, seconds)
    more = alone(camera, bundle) if mode == "alone" else agent(camera, Path(agent_words[0]), agent_words[1])
    said = {"frames": len(camera.held_ms), "took_s": camera.took_s, "superseded": camera.superseded}
    print(json.dumps(said | {"held_ms": camera.held_ms} | more))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), float(sys.argv[4]), float(sys.argv[5]), *sys.argv[6:])

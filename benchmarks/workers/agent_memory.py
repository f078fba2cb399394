"""Measured program: a whole agent over many frames of a made-up camera, its outbox full and shedding.

python -m benchmarks.workers.agent_memory BUNDLE PICTURES FRAMES EVERY HOME

Prints resident memory in bytes for each so many frames.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.worker import resident_bytes
from edge.agent import Agent
from edge.background import switch_threads_quickly
from edge.commands import sideload
from edge.settings import AgentSettings
from edge.types import Frame

SIZE = (320, 240)
CAP_BYTES = 8_000_000


class Camera:
    """A live source; every fiftieth frame is one that was never seen, so that there is something to keep."""

    is_live = True
    current_pass = 1

    def __init__(self, pictures: Path, frames: int, every: int) -> None:
        paths = [path for path in sorted(pictures.iterdir()) if path.is_file()]
        self._pictures = [np.asarray(Image.open(path).convert("RGB").resize(SIZE)) for path in paths]
        self._frames = frames
        self._every = every
        self._rng = np.random.default_rng(3)

    def frames(self) -> Iterator[Frame]:
        """As fast as they are taken."""
        for number in range(self._frames):
            data = self._pictures[number % len(self._pictures)]
            if number % 50 == 0:
                data = data ^ self._rng.integers(0, 8, data.shape, dtype=np.uint8)
            yield Frame(data=data, captured_at=time.time(), source="made-up", sequence=number)
            if (number + 1) % self._every == 0:
                print(resident_bytes(), flush=True)

    def close(self) -> None:
        """Nothing to let go of."""


def main(bundle: Path, pictures: Path, frames: int, every: int, home: Path) -> None:
    """Prints the samples."""
    switch_threads_quickly()
    settings = AgentSettings(home=home, source="made-up", outbox_max_bytes=CAP_BYTES)
    sideload(settings, bundle, say=lambda line: None)
    camera = Camera(pictures, frames, every)
    agent = Agent(settings, transport=None, say=lambda line: None, open_source=lambda where, options, **more: camera)
    agent.run()
    size = (home / "outbox.sqlite").stat().st_size
    if size > CAP_BYTES:
        raise SystemExit(f"the outbox has {size} bytes, at most {CAP_BYTES} are allowed")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]), Path(sys.argv[5]))

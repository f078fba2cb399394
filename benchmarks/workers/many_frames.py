"""Measured program: answers for the pictures of a folder in turn, and says every so often how large it is.

python -m benchmarks.workers.many_frames BUNDLE FOLDER FRAMES EVERY
"""

from __future__ import annotations

import itertools
import sys
from pathlib import Path

from benchmarks.worker import resident_bytes
from edge import open_engine


def main(bundle: Path, folder: Path, frames: int, every: int) -> None:
    """Prints one number of bytes for each `every` frames."""
    pictures = [path.read_bytes() for path in sorted(folder.iterdir())]
    with open_engine(bundle, allow_unproven=True) as engine:
        for number, data in enumerate(itertools.islice(itertools.cycle(pictures), frames), start=1):
            engine.infer(data)
            if number % every == 0:
                print(resident_bytes(), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4]))

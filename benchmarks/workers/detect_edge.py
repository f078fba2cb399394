"""Measured program: JPEG bytes to boxes and decision by `Engine.infer`.

python -m benchmarks.workers.detect_edge BUNDLE [THREADS]
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.worker import serve
from edge import open_engine


def main(bundle: Path, threads: int) -> None:
    """Answers with the number of boxes."""
    engine = open_engine(bundle, threads=threads, allow_unproven=True)
    serve(lambda _, data: str(len(engine.infer(data).prediction.items)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)

"""Measured program: JPEG bytes to decision by `Engine.infer`, one thread.

python -m benchmarks.workers.classify_edge BUNDLE
"""

from __future__ import annotations

import sys
from pathlib import Path

from benchmarks.worker import serve
from edge import open_engine


def main(bundle: Path) -> None:
    """Answers with the best label's position."""
    engine = open_engine(bundle, artifact="tflite")
    serve(lambda _, data: str(engine.infer(data).prediction.top[0].index))


if __name__ == "__main__":
    main(Path(sys.argv[1]))

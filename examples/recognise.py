"""Name what is in a picture: `python examples/recognise.py BUNDLE PICTURE`."""

import sys
from pathlib import Path

from edge import open_engine

with open_engine(Path(sys.argv[1])) as engine:
    answer = engine.infer(Path(sys.argv[2]))
best = answer.prediction.headline
print(f"{answer.decision.outcome.value}: {best.label} ({best.confidence:.0%}) in {answer.timings.total_ms:.1f} ms")

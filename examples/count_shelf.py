"""Count what lies on a shelf: `python examples/count_shelf.py BUNDLE PICTURE [ANNOTATED.jpg]`.

The bundle finds things and names them: a pipeline of a detector and a reader of its crops (task `count`). One of
imported models has no proof; it runs here all the same, as with `--allow-unproven` on the command line.
"""

import sys
from pathlib import Path

from edge import open_engine
from edge.drawing.annotate import annotate

bundle, picture = Path(sys.argv[1]), Path(sys.argv[2])
with open_engine(bundle, allow_unproven=True) as engine:
    answer = engine.infer(picture)
for label, number in answer.prediction.by_label:
    print(f"{number:3d} x {label or 'not recognised'}")
for item in answer.prediction.items:
    box = item.detection.box
    print(f"{item.decision.outcome.value}: {item.label or '?'} at {box.left:.0f},{box.top:.0f}")
print(f"in {answer.timings.total_ms:.0f} ms")
if len(sys.argv) > 3:
    Path(sys.argv[3]).write_bytes(annotate(picture, answer))

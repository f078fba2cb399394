"""Process start to first answer: BUNDLE PHOTO."""

import sys
from pathlib import Path

from edge import open_engine

answer = open_engine(Path(sys.argv[1]), artifact="tflite", allow_unproven=True).infer(Path(sys.argv[2]).read_bytes())
print(answer.prediction.headline.label, flush=True)

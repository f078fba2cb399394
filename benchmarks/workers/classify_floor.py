"""Measured program: the least work that gives the same logits: Pillow `draft`, resize, a bare interpreter call.

python -m benchmarks.workers.classify_floor MODEL
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from benchmarks.worker import serve


def main(model: Path) -> None:
    """Answers with the position of the greatest logit."""
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
    _, height, width, _ = (int(side) for side in given["shape"])

    def answer(_: Path, data: bytes) -> str:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (width, height))
        rgb = image if image.mode == "RGB" else image.convert("RGB")
        small = rgb.resize((width, height), Image.Resampling.BILINEAR)
        interpreter.set_tensor(given["index"], np.asarray(small)[None].astype(np.float32))
        interpreter.invoke()
        return str(int(interpreter.get_tensor(wanted["index"]).argmax()))

    serve(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

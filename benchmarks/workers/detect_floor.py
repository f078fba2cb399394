"""Measured program: decode, letterbox and a bare interpreter call of a detector; nothing is made of its outputs.

python -m benchmarks.workers.detect_floor MODEL [THREADS]
"""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

from benchmarks.worker import serve

GREY = (114, 114, 114)


def letterboxed(data: bytes, side: int) -> np.ndarray:
    """float32 (1, side, side, 3): the whole picture on a grey square."""
    image = Image.open(io.BytesIO(data))
    shrink = max(image.width, image.height) / side
    fitted = (round(image.width / shrink), round(image.height / shrink))
    image.draft("RGB", fitted)
    square = Image.new("RGB", (side, side), GREY)
    rgb = image if image.mode == "RGB" else image.convert("RGB")
    small = rgb.resize(fitted, Image.Resampling.BILINEAR)
    square.paste(small, ((side - fitted[0]) // 2, (side - fitted[1]) // 2))
    return np.asarray(square)[None].astype(np.float32)


def main(model: Path, threads: int) -> None:
    """Answers with the number of outputs."""
    interpreter = Interpreter(model_path=str(model), num_threads=threads)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]
    wanted = [detail["index"] for detail in interpreter.get_output_details()]
    side = int(given["shape"][1])

    def answer(_: Path, data: bytes) -> str:
        interpreter.set_tensor(given["index"], letterboxed(data, side))
        interpreter.invoke()
        return str(len([interpreter.get_tensor(index) for index in wanted]))

    serve(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 1)

"""Measured program: the same 60 crops with the same preparation code, one interpreter of one thread, one at a time.

python -m benchmarks.workers.crops_floor MODEL all|prepare|model

`prepare` only makes the inputs, `model` only runs the network so often: so preparation can be weighed against it.
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter

from benchmarks.bundles import MATCH, gallery_vectors
from benchmarks.worker import serve
from benchmarks.workers.crops_edge import detections, opened
from edge.preprocess import preprocess_crop


def main(model: Path, part: str) -> None:
    """Answers with the best SKU of the first crops, where all is done."""
    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    wanted = interpreter.get_output_details()[0]["index"]
    gallery = gallery_vectors()
    blank = np.zeros((1, MATCH.preprocess.height, MATCH.preprocess.width, 3), np.float32)

    def embedding(tensor: np.ndarray) -> np.ndarray:
        interpreter.set_tensor(given, tensor)
        interpreter.invoke()
        return interpreter.get_tensor(wanted)[0]

    def answer(_: Path, data: bytes) -> str:
        picture = opened(data)
        rows = []
        for detection in detections(picture.size):
            tensor = blank if part == "model" else preprocess_crop(picture, detection.box, MATCH.preprocess).tensor
            if part != "prepare":
                rows.append(embedding(tensor))
        if part != "all":
            return ""
        found = np.stack(rows)
        found /= np.linalg.norm(found, axis=1, keepdims=True)
        return ",".join(str(best) for best in (found @ gallery.T).argmax(axis=1)[:8])

    serve(answer)


if __name__ == "__main__":
    main(Path(sys.argv[1]), sys.argv[2])

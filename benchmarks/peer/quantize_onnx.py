"""A float ONNX model through ONNX Runtime as its documentation has it: `quant_pre_process`, then `quantize_static`.

python -m benchmarks.peer.quantize_onnx MODEL PIXELS OUT

PIXELS is a numpy file, uint8 (pictures, height, width, 3). All of `quantize_static` is left at its defaults: QDQ, int8
activations and weights, one scale a tensor, ranges from the least and the greatest value.
"""

from __future__ import annotations

import json
import sys
import tempfile
from pathlib import Path

import numpy as np
import onnxruntime
from onnxruntime.quantization import CalibrationDataReader, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process


class Pictures(CalibrationDataReader):
    """Hands out one picture after the other.

    Args:
        name: Of the model's input.
        pixels: uint8 (pictures, height, width, 3).
    """

    def __init__(self, name: str, pixels: np.ndarray) -> None:
        self._feeds = iter({name: picture[None].astype(np.float32)} for picture in pixels)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one; None after the last."""
        return next(self._feeds, None)


def main(model: Path, pixels: Path, out: Path) -> None:
    """Prepares, calibrates, quantizes."""
    name = onnxruntime.InferenceSession(str(model), providers=["CPUExecutionProvider"]).get_inputs()[0].name
    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(model), str(prepared))
        quantize_static(str(prepared), str(out), Pictures(name, np.load(pixels)))
    print(json.dumps({}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

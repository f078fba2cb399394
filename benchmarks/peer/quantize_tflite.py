"""A float TFLite model through ai-edge-quantizer as its documentation has it: recipe `static_wi8_ai8`, own calibration.

python -m benchmarks.peer.quantize_tflite MODEL PIXELS OUT

PIXELS is a numpy file, uint8 (pictures, height, width, 3). The last line that is printed is JSON: the scale and the
zero point of the input, which the recipe makes int8.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from ai_edge_quantizer import quantizer, recipe


def main(model: Path, pixels: Path, out: Path) -> None:
    """Calibrates, quantizes, and says how pictures become input."""
    signatures = Interpreter(model_path=str(model)).get_signature_list()
    name, signature = next(iter(signatures.items()))
    pictures = np.load(pixels).astype(np.float32)
    maker = quantizer.Quantizer(str(model))
    maker.load_quantization_recipe(recipe.static_wi8_ai8())
    samples = [{signature["inputs"][0]: picture[None]} for picture in pictures]
    calibration = maker.calibrate({name: samples}, num_threads=1)
    maker.quantize(calibration).export_model(str(out), overwrite=True)
    scale, zero_point = Interpreter(model_path=str(out)).get_input_details()[0]["quantization"]
    print(json.dumps({"scale": float(scale), "zero_point": int(zero_point)}))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), Path(sys.argv[3]))

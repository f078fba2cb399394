"""The same with the same runtime and model and nothing else: MODEL PHOTO LABELS."""

import sys

import numpy as np
from ai_edge_litert.interpreter import Interpreter
from PIL import Image

interpreter = Interpreter(model_path=sys.argv[1], num_threads=1)
interpreter.allocate_tensors()
given, wanted = interpreter.get_input_details()[0], interpreter.get_output_details()[0]
size = (int(given["shape"][2]), int(given["shape"][1]))
with open(sys.argv[3]) as file:  # noqa: PTH123  (pathlib would cost an import)
    labels = file.read().splitlines()
image = Image.open(sys.argv[2])
image.draft("RGB", size)
small = image.convert("RGB").resize(size, Image.Resampling.BILINEAR)
interpreter.set_tensor(given["index"], np.asarray(small)[None].astype(np.float32))
interpreter.invoke()
print(labels[int(interpreter.get_tensor(wanted["index"]).argmax())], flush=True)

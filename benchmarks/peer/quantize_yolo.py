"""A trained YOLO through ultralytics' own exporter: `export(quantize=8, data=…)` on the calibration pictures.

python -m benchmarks.peer.quantize_yolo WEIGHTS ARCHITECTURE SIZE CLASSES FORMAT OUT PICTURE…

CLASSES are separated by commas; FORMAT is ultralytics' own name, `litert` (which it once called `tflite`) or `onnx`.
Pictures are copied beside OUT first: ultralytics writes a cache where it finds them. It calibrates on the split `val`
of its data file, so that is where they are named.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from pathlib import Path

from safetensors.torch import load_file

from model_zoo.common.yolo import describe, prepare_ultralytics

prepare_ultralytics()

from ultralytics import YOLO  # noqa: E402


def write_data(folder: Path, pictures: list[Path], classes: list[str]) -> Path:
    """A data file of ultralytics whose every split is these pictures; their boxes do not matter."""
    shutil.rmtree(folder, ignore_errors=True)
    for part in ("images", "labels"):
        (folder / part).mkdir(parents=True)
    for number, picture in enumerate(pictures):
        shutil.copy(picture, folder / "images" / f"{number:04}{picture.suffix}")
        (folder / "labels" / f"{number:04}.txt").write_text("0 0.5 0.5 0.5 0.5\n")
    names = "".join(f"  {number}: {name}\n" for number, name in enumerate(classes))
    file = folder / "data.yaml"
    file.write_text(f"path: {folder}\ntrain: images\nval: images\nnames:\n{names}")
    return file


def main(weights: Path, architecture: str, size: int, classes: list[str], form: str, out: Path, *files: str) -> None:
    """Exports the network and says nothing more: its input is 0 to 1, channels first."""
    folder = out.parent / f"{out.stem}-data"
    data = write_data(folder, [Path(file).resolve() for file in files], classes)
    model = describe(architecture, len(classes))
    model.load_state_dict(load_file(weights))
    yolo = YOLO(f"{architecture}.yaml")
    model.names, model.args, model.task = dict(enumerate(classes)), yolo.model.args, yolo.model.task
    yolo.model = model.eval()
    os.chdir(folder)  # ultralytics writes its exports there
    written = Path(yolo.export(format=form, imgsz=size, quantize=8, data=str(data), device="cpu"))
    written.replace(out)
    os.chdir(out.parent)
    shutil.rmtree(folder)
    print(json.dumps({}))


if __name__ == "__main__":
    main(
        Path(sys.argv[1]).resolve(),
        sys.argv[2],
        int(sys.argv[3]),
        sys.argv[4].split(","),
        sys.argv[5],
        Path(sys.argv[6]).resolve(),
        *sys.argv[7:],
    )

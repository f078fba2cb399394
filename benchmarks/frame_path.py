"""JPEG bytes → decision against the floor: Pillow `draft` + resize + a bare interpreter call, interleaved in one run.

python -m benchmarks.frame_path BUNDLE [--size 1920x1080] [--frames 200]
"""

from __future__ import annotations

import io
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import click
import numpy as np
from PIL import Image

from edge import open_engine
from edge.engine import Engine


def picture(width: int, height: int) -> bytes:
    """A JPEG with enough detail that decoding costs what a photo's does."""
    rng = np.random.default_rng(7)
    coarse = Image.fromarray(rng.integers(0, 256, (height // 16, width // 16, 3), dtype=np.uint8))
    buffer = io.BytesIO()
    coarse.resize((width, height), Image.Resampling.BICUBIC).save(buffer, "JPEG", quality=90)
    return buffer.getvalue()


def floor(model: Path, width: int, height: int) -> Callable[[bytes], object]:
    """The least work that gives the same logits."""
    from ai_edge_litert.interpreter import Interpreter

    interpreter = Interpreter(model_path=str(model), num_threads=1)
    interpreter.allocate_tensors()
    given = interpreter.get_input_details()[0]["index"]
    wanted = interpreter.get_output_details()[0]["index"]

    def run(data: bytes) -> object:
        image = Image.open(io.BytesIO(data))
        image.draft("RGB", (width, height))
        small = image.convert("RGB").resize((width, height), Image.Resampling.BILINEAR)
        interpreter.set_tensor(given, np.asarray(small, np.float32)[None])
        interpreter.invoke()
        return interpreter.get_tensor(wanted)

    return run


def measure(engine: Engine, data: bytes, frames: int) -> tuple[list[float], list[float]]:
    """Milliseconds of both, frame by frame, in turn."""
    spec = engine.bundle.manifest.stages[0].preprocess
    bare = floor(engine.bundle.path(engine.artifact.file), spec.width, spec.height)
    ours, least = [], []
    for number in range(frames + 10):
        began = time.perf_counter()
        bare(data)
        middle = time.perf_counter()
        engine.infer(data)
        end = time.perf_counter()
        if number >= 10:
            least.append((middle - began) * 1e3)
            ours.append((end - middle) * 1e3)
    return ours, least


@click.command()
@click.argument("bundle", type=click.Path(exists=True, file_okay=False, path_type=Path))
@click.option("--size", default="1920x1080", show_default=True, help="Picture size.")
@click.option("--frames", default=200, show_default=True, help="Counted frames.")
def main(bundle: Path, size: str, frames: int) -> None:
    """Prints medians of both and their ratio."""
    width, height = (int(side) for side in size.split("x"))
    data = picture(width, height)
    with open_engine(bundle, artifact="tflite") as engine:
        ours, least = measure(engine, data, frames)
    bare, whole = statistics.median(least), statistics.median(ours)
    print("| picture | floor, ms | engine.infer, ms | ratio |")
    print("|---|---|---|---|")
    print(f"| {size}, {len(data) // 1024} KB | {bare:.2f} | {whole:.2f} | {whole / bare:.2f} |")


if __name__ == "__main__":
    main()

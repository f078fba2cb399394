"""Tiny ONNX models of other people's making: any input, any outputs, made in memory in a millisecond."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

LABELS = ("red", "green", "blue")
COLOURS = {"red": (220, 20, 30), "green": (30, 210, 20), "blue": (20, 40, 230)}
SIZE = 16


def colour_model(
    path: Path,
    *,
    layout: str = "nchw",
    dtype: int = TensorProto.FLOAT,
    end: str = "",
    shape: tuple[object, ...] | None = None,
    inputs: int = 1,
    metadata: Mapping[str, str] | None = None,
) -> Path:
    """A classifier whose three scores are the mean of each channel, in `scores` (1, 3).

    Args:
        path: Where it is written.
        layout: `nchw` or `nhwc`.
        dtype: Type of the input.
        end: Operator behind the mean, for instance `Softmax`.
        shape: Of the input; by default 16 by 16 pixels.
        inputs: How many inputs it has; those after the first do nothing.
        metadata: Custom properties.
    """
    shape = shape or ((1, 3, SIZE, SIZE) if layout == "nchw" else (1, SIZE, SIZE, 3))
    axes = numpy_helper.from_array(np.array([2, 3] if layout == "nchw" else [1, 2], dtype=np.int64), "axes")
    nodes = [
        helper.make_node("Cast", ["image"], ["real"], to=TensorProto.FLOAT),
        helper.make_node("ReduceMean", ["real", "axes"], ["mean" if end else "scores"], keepdims=0),
    ]
    if end:
        nodes.append(helper.make_node(end, ["mean"], ["scores"]))
    names = ["image", *(f"other{number}" for number in range(1, inputs))]
    graph = helper.make_graph(
        nodes,
        "colours",
        [helper.make_tensor_value_info(name, dtype, list(shape)) for name in names],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, 3])],
        [axes],
    )
    return _saved(graph, path, metadata)


def fixed_model(path: Path, outputs: Mapping[str, np.ndarray], *, size: int = SIZE) -> Path:
    """A model that gives the same outputs for every picture, float32 (1, size, size, 3) in."""
    nodes = [
        helper.make_node("ReduceMin", ["image"], ["least"], keepdims=0),
        helper.make_node("Mul", ["least", "zero"], ["nothing"]),
        *(helper.make_node("Add", [f"fixed_{name}", "nothing"], [name]) for name in outputs),
    ]
    fixed = [numpy_helper.from_array(array.astype(np.float32), f"fixed_{name}") for name, array in outputs.items()]
    graph = helper.make_graph(
        nodes,
        "fixed",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1, size, size, 3])],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, list(array.shape)) for name, array in outputs.items()],
        [*fixed, numpy_helper.from_array(np.float32(0), "zero")],
    )
    return _saved(graph, path, None)


def write_labels(path: Path, lines: tuple[str, ...] = LABELS) -> Path:
    """A label file."""
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def write_colours(folder: Path, *, each: int = 4, wrong: int = 0) -> Path:
    """A folder of pictures for each class; `wrong` pictures of green lie in the folder of red."""
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True, exist_ok=True)
        for number in range(each):
            tone = tuple(min(255, level + 3 * number) for level in colour)
            Image.new("RGB", (24 + number, 20), tone).save(folder / label / f"{number}.png")
    for number in range(wrong):
        Image.new("RGB", (24, 20 + number), COLOURS["green"]).save(folder / "red" / f"wrong{number}.png")
    return folder


def _saved(graph: onnx.GraphProto, path: Path, metadata: Mapping[str, str] | None) -> Path:
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    for key, value in (metadata or {}).items():
        model.metadata_props.add(key=key, value=value)
    path.write_bytes(model.SerializeToString())
    return path

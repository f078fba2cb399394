"""Turns an ONNX file into TFLite; in the environment `onnx2tf`: `python -m converters.apart.onnx2tf_job REQUEST`.

onnx2tf makes a Keras model whose input, and often an output, has its channels last. Only the input stays so: outputs
get the shape and name that the ONNX file gives them, so that what is known about them holds for the TFLite file, too.
"""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import itertools
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import tensorflow as tf  # type: ignore[import-not-found, import-untyped, unused-ignore]
from onnx2tf import convert as convert_to_keras  # type: ignore[import-not-found, import-untyped, unused-ignore]

from converters.apart.job_report import (
    ANSWERS_FILE,
    MODEL_FILE,
    JobError,
    JobReport,
    JobRequest,
    Tensor,
    one_line,
    run_job,
)
from converters.apart.tflite_export import Array, check_picture_input, noise, tflite_bytes, write_answers

# onnx2tf tries a network on pictures, which it fetches unless this file lies in the working directory.
_SAMPLE_FILE, _SAMPLE_SHAPE = "calibration_image_sample_data_20x128x128x3_float32.npy", (20, 128, 128, 3)
_PLAIN_OUTPUT = "output_{}"
_SIMPLIFY_LIMIT_S = 120
_CHANNELS = (1, 3)
_TO_NHWC, _TO_NCHW = (0, 2, 3, 1), (0, 3, 1, 2)
# Beyond this share of the largest value no order of the axes explains a difference.
_SAME_WITHIN = 1e-2

Answer = Mapping[str, Array]


def convert(request: JobRequest) -> JobReport:
    """Simplifies, converts, puts the outputs' axes back, and asks the original about noise.

    Raises:
        JobError: Damaged, not a model of one picture of a fixed size, or onnx2tf cannot convert it.
    """
    folder = Path(request.folder)
    plain, given, names = _prepared(Path(request.model), folder)
    is_nhwc = given.shape[1] not in _CHANNELS and given.shape[3] in _CHANNELS
    model = _keras_model(_simplified(plain, folder / "simple.onnx"), given.name if is_nhwc else "", folder)
    shape = given.shape if is_nhwc else tuple(given.shape[axis] for axis in _TO_NHWC)
    inputs = noise(shape, given.dtype)
    originals = [_original(plain, given.name, one if is_nhwc else one.transpose(_TO_NCHW)) for one in inputs]
    answers = [dict(zip(names, arrays, strict=True)) for arrays in originals]
    orders = _orders(answers[0], [np.asarray(one) for one in _flat(model, inputs[0])])

    def function(picture: Any) -> Mapping[str, Any]:  # noqa: ANN401
        outputs = zip(orders.items(), _flat(model, picture), strict=True)
        return {name: tf.cast(_ordered(output, order), tf.float32) for (name, order), output in outputs}

    tensor = Tensor(name="image", shape=shape, dtype=given.dtype)
    (folder / MODEL_FILE).write_bytes(tflite_bytes(function, tensor, folder=folder))
    write_answers(folder / ANSWERS_FILE, inputs, answers)
    outputs = tuple(Tensor(name=name, shape=one.shape, dtype="float32") for name, one in answers[0].items())
    version = importlib.metadata.version("onnx2tf")
    return JobReport(producer=f"onnx2tf {version}, TensorFlow {tf.__version__}", input=tensor, outputs=outputs)


def _prepared(path: Path, folder: Path) -> tuple[Path, Tensor, list[str]]:
    """A copy with all weights in it, a batch of one and plain names of outputs; and its input and true outputs."""
    try:
        model = onnx.load(path)
    except Exception as cause:  # protobuf's, the file system's, and the library's own
        raise JobError(f"damaged: {one_line(cause)}", hint="copy it again with all of its files") from cause
    weights = {item.name for item in model.graph.initializer}
    inputs = [item for item in model.graph.input if item.name not in weights]
    if len(inputs) != 1:
        raise JobError(f"needs exactly one input, found {len(inputs)}")
    kind = inputs[0].type.tensor_type
    dtype = str(np.dtype(onnx.helper.tensor_dtype_to_np_dtype(kind.elem_type)))
    shape = check_picture_input([dim.dim_value or None for dim in kind.shape.dim], dtype)
    kind.shape.dim[0].dim_value = 1
    names = [output.name for output in model.graph.output]
    _rename_outputs(model)
    plain = folder / "model.onnx"
    onnx.save(model, plain)
    return plain, Tensor(name=inputs[0].name, shape=shape, dtype=dtype), names


def _rename_outputs(model: onnx.ModelProto) -> None:
    """Plain names in the same order, for onnx2tf loses outputs whose names TensorFlow would not allow."""
    for number, output in enumerate(model.graph.output):
        name = _PLAIN_OUTPUT.format(number)
        model.graph.node.append(onnx.helper.make_node("Identity", [output.name], [name]))
        output.name = name


def _simplified(plain: Path, simple: Path) -> Path:
    """What onnx2tf itself would do, by name of a program that a moved environment does not find."""
    command = [sys.executable, "-m", "onnxsim", str(plain), str(simple)]
    try:
        done = subprocess.run(command, capture_output=True, check=False, timeout=_SIMPLIFY_LIMIT_S)  # noqa: S603
    except subprocess.TimeoutExpired:
        return plain
    return simple if done.returncode == 0 and simple.is_file() else plain


def _keras_model(path: Path, kept_input: str, folder: Path) -> Any:  # noqa: ANN401
    """onnx2tf's model; it ends the process where it fails, after lines that say why."""
    samples = np.random.default_rng(0).random(_SAMPLE_SHAPE).astype(np.float32)
    np.save(Path.cwd() / _SAMPLE_FILE, samples)
    said = io.StringIO()
    try:
        with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
            return convert_to_keras(
                input_onnx_file_path=str(path),
                output_folder_path=str(folder / "onnx2tf"),
                not_use_onnxsim=True,
                disable_model_save=True,
                keep_shape_absolutely_input_names=[kept_input] if kept_input else None,
                verbosity="error",
            )
    except (Exception, SystemExit) as cause:
        raise JobError(f"onnx2tf cannot convert it: {_complaint(said.getvalue()) or one_line(cause)}") from cause


def _complaint(said: str) -> str:
    """The last line in which onnx2tf speaks of an error, without colours."""
    plain = ("".join(sign for sign in line if sign.isprintable()) for line in said.splitlines())
    lines = [line.partition("ERROR:")[2].strip() for line in plain if "ERROR:" in line]
    named = [line.removesuffix("[0m").strip() for line in lines]
    return next((line for line in reversed(named) if line and "://" not in line), "")[:200]


def _original(path: Path, name: str, array: Array) -> list[Array]:
    try:
        session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
        return [np.asarray(one) for one in session.run(None, {name: array})]
    except Exception as cause:  # onnxruntime's exceptions share no base class
        raise JobError(f"cannot be run: {one_line(cause)}") from cause


def _flat(model: Any, picture: Any) -> list[Any]:  # noqa: ANN401
    return list(tf.nest.flatten(model(picture, training=False)))


def _orders(wanted: Answer, found: Sequence[Array]) -> dict[str, tuple[int, ...]]:
    """For each output how its axes must be turned to give the original's; channels first is tried before the rest."""
    if len(wanted) != len(found):
        raise JobError(f"onnx2tf made {len(found)} outputs of {len(wanted)}")
    return {name: _order(name, want, have) for (name, want), have in zip(wanted.items(), found, strict=True)}


def _order(name: str, want: Array, have: Array) -> tuple[int, ...]:
    plain = tuple(range(want.ndim))
    usual = (0, want.ndim - 1, *range(1, want.ndim - 1)) if want.ndim > 2 else plain
    possible = [plain, usual, *itertools.permutations(plain)] if have.ndim == want.ndim <= 5 else []
    for order in possible:
        turned = have.transpose(order)
        if turned.shape == want.shape and _difference(want, turned) <= _SAME_WITHIN:
            return order
    raise JobError(f"onnx2tf's model does not give the output {name!r} of the original")


def _difference(want: Array, have: Array) -> float:
    if want.size == 0:
        return 0.0
    scale = max(float(np.abs(want.astype(np.float64)).max()), 1e-6)
    return float(np.abs(want.astype(np.float64) - have.astype(np.float64)).max()) / scale


def _ordered(output: Any, order: tuple[int, ...]) -> Any:  # noqa: ANN401
    return output if order == tuple(range(len(order))) else tf.transpose(output, order)


if __name__ == "__main__":
    run_job(convert)

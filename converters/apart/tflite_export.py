"""A TensorFlow function as a float32 TFLite file with the names that it shall have; runs in an environment apart."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import tensorflow as tf  # type: ignore[import-not-found, import-untyped, unused-ignore]
from tensorflow.python.framework.convert_to_constants import (  # type: ignore[import-not-found, import-untyped, unused-ignore]
    convert_variables_to_constants_v2,
)

from converters.apart.job_report import JobError, Tensor, one_line

Function = Callable[[Any], Mapping[str, Any]]
Array = npt.NDArray[Any]
NOISE_SCALES = (1.0, 255.0)
_DTYPES = ("float32", "uint8", "int8")
_MISSING = re.compile(r"^\s*(?:Flex|Custom|TF Select) ops: (.+)$", re.MULTILINE)


def tflite_bytes(function: Function, tensor: Tensor, *, folder: Path) -> bytes:
    """Converts a function of one tensor.

    Only TFLite's own operators are used, for a device has no others; and weights become constants first, for Keras'
    variables would become variables of the TFLite file that nobody fills.

    Args:
        function: Gives its outputs by name.
        tensor: What it takes.
        folder: For what lies in between.

    Raises:
        JobError: An operator has no counterpart in TFLite.
    """
    specification = tf.TensorSpec(tensor.shape, tensor.dtype, name=tensor.name)
    saved = str(folder / "saved")
    try:
        module = tf.Module()
        signature = _frozen(function, specification)
        # Nobody trains it again, and the gradients of some activations cannot be saved.
        options = tf.saved_model.SaveOptions(experimental_custom_gradients=False)
        tf.saved_model.save(module, saved, signatures={"serving_default": signature}, options=options)
        converter = tf.lite.TFLiteConverter.from_saved_model(saved)
        converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS]
        return bytes(converter.convert())
    except Exception as cause:  # TensorFlow's errors share no base class
        raise JobError(_reason(cause)) from cause


def _frozen(function: Function, specification: Any) -> Any:  # noqa: ANN401
    """The same function without variables."""
    listed = tf.function(lambda picture: list(function(picture).values()), input_signature=[specification])
    frozen = convert_variables_to_constants_v2(listed.get_concrete_function())
    names = list(function(tf.zeros(specification.shape, specification.dtype)))

    def named(picture: Any) -> dict[str, Any]:  # noqa: ANN401
        return dict(zip(names, frozen(picture), strict=True))

    return tf.function(named, input_signature=[specification]).get_concrete_function()


def _reason(cause: Exception) -> str:
    missing = _MISSING.search(str(cause))
    if missing:
        return f"TFLite has no operator for {missing[1].strip()[:200]}"
    return f"TensorFlow cannot make a TFLite file of it: {one_line(cause)}"


def check_picture_input(shape: Sequence[int | None], dtype: str) -> tuple[int, ...]:
    """The shape of an input with a batch of one.

    Args:
        shape: Batch first; None where it is open.
        dtype: Type of its numbers.

    Raises:
        JobError: It is not one picture of a fixed size.
    """
    shown = f"({', '.join('any' if size is None else str(size) for size in shape)})"
    if len(shape) != 4 or shape[0] not in (None, 1):
        raise JobError(f"input must be one picture, (1, height, width, channels), found {shown}")
    sizes = tuple(size for size in shape[1:] if size is not None)
    if len(sizes) != 3:
        raise JobError(
            f"input must have a fixed height and width, found {shown}", hint="build the model with its input size"
        )
    if dtype not in _DTYPES:
        raise JobError(f"input must be of {', '.join(_DTYPES)}, found {dtype}")
    return (1, *sizes)


def noise(shape: Sequence[int], dtype: str) -> tuple[Array, ...]:
    """Pictures of noise that no model was made for, always the same: of 0 to 1, and of 0 to 255."""
    rng = np.random.default_rng(0)
    if dtype != "float32":
        limits = np.iinfo(dtype)
        return tuple(rng.integers(limits.min, limits.max, shape, dtype, endpoint=True) for _ in NOISE_SCALES)
    return tuple((rng.random(shape) * scale).astype(np.float32) for scale in NOISE_SCALES)


def write_answers(path: Path, inputs: Sequence[Array], answers: Sequence[Mapping[str, Array]]) -> None:
    """Writes what the original says as `input_N` and, for its outputs M, `answer_N_M`, for the other side to compare.

    Args:
        path: A NumPy archive.
        inputs: As the converted model takes them.
        answers: For each input the outputs, in the order of the report.
    """
    arrays: dict[str, Any] = {f"input_{number}": array for number, array in enumerate(inputs)}
    for number, answer in enumerate(answers):
        arrays |= {f"answer_{number}_{index}": np.asarray(array) for index, array in enumerate(answer.values())}
    np.savez(path, **arrays)

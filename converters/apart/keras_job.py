"""Turns a Keras file into TFLite; runs in the environment `keras`: `python -m converters.apart.keras_job REQUEST`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import h5py  # type: ignore[import-not-found, import-untyped, unused-ignore]
import keras  # type: ignore[import-not-found, import-untyped, unused-ignore]
import numpy as np
import tensorflow as tf  # type: ignore[import-not-found, import-untyped, unused-ignore]

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
from converters.apart.keras_config import HDF5_SIGNATURE, check_config, check_keras_file
from converters.apart.tflite_export import check_picture_input, noise, tflite_bytes, write_answers


def convert(request: JobRequest) -> JobReport:
    """Loads, names, converts, and asks the original about noise.

    Raises:
        JobError: Not a Keras file, one with code in it, or no model of one picture of a fixed size.
    """
    folder = Path(request.folder)
    model = _loaded(Path(request.model), folder)
    tensor = _input(model)

    def function(picture: Any) -> Mapping[str, Any]:  # noqa: ANN401
        return {name: tf.cast(one, tf.float32) for name, one in _named(model, model(picture, training=False)).items()}

    data = tflite_bytes(function, tensor, folder=folder)
    (folder / MODEL_FILE).write_bytes(data)
    inputs = noise(tensor.shape, tensor.dtype)
    answers = [{name: np.asarray(one) for name, one in function(array).items()} for array in inputs]
    write_answers(folder / ANSWERS_FILE, inputs, answers)
    outputs = tuple(Tensor(name=name, shape=one.shape, dtype="float32") for name, one in answers[0].items())
    return JobReport(producer=f"Keras {keras.__version__}, TensorFlow {tf.__version__}", input=tensor, outputs=outputs)


def _loaded(path: Path, folder: Path) -> Any:  # noqa: ANN401
    """The model under a name by which Keras knows its format: what it holds counts, not what it is called."""
    check_keras_file(path)
    with path.open("rb") as file:
        is_hdf5 = file.read(len(HDF5_SIGNATURE)) == HDF5_SIGNATURE
    if is_hdf5:
        check_config(_hdf5_config(path))
    linked = folder / f"model{'.h5' if is_hdf5 else '.keras'}"
    linked.symlink_to(path)
    try:
        return keras.saving.load_model(linked, compile=False, safe_mode=True)
    except Exception as cause:  # whatever the layers of the file raise
        raise JobError(f"Keras cannot load it: {_why(cause)}", hint="its layers must be Keras' own") from cause


def _why(cause: Exception) -> str:
    """What Keras says of a layer, without its advice to programmers."""
    inner = str(cause).partition("Exception encountered: ")[2].strip().splitlines()
    return (inner[0] if inner else one_line(cause)).partition(". Please")[0]


def _hdf5_config(path: Path) -> str | bytes:
    try:
        with h5py.File(path, "r") as file:
            config = file.attrs.get("model_config")
    except (OSError, RuntimeError, KeyError) as cause:
        raise JobError(f"damaged: {one_line(cause)}", hint="copy it again, or save it again") from cause
    if not isinstance(config, str | bytes):
        raise JobError("holds weights without a model", hint="save the whole model: model.save('model.keras')")
    return config


def _input(model: Any) -> Tensor:  # noqa: ANN401
    inputs = list(getattr(model, "inputs", None) or ())
    if len(inputs) != 1:
        raise JobError(f"needs exactly one input, found {len(inputs) or 'a model that was never built'}")
    shape = check_picture_input(tuple(inputs[0].shape), str(inputs[0].dtype))
    return Tensor(name="image", shape=shape, dtype=str(inputs[0].dtype))


def _named(model: Any, outputs: Any) -> dict[str, Any]:  # noqa: ANN401
    """Outputs by the names that the model gives them, or by those of their layers."""
    if isinstance(outputs, Mapping):
        return dict(outputs)
    listed = tf.nest.flatten(outputs)
    names = [str(name) for name in getattr(model, "output_names", ())]
    distinct = len(set(names)) == len(names) == len(listed)
    return dict(zip(names if distinct else [f"output_{number}" for number in range(len(listed))], listed, strict=True))


if __name__ == "__main__":
    run_job(convert)

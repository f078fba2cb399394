"""Opens a foreign model with the runtime that a device uses, and asks it what it knows about itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from converters.foreign.external import require_external_data
from converters.foreign.metadata import Metadata, onnx_metadata, tflite_metadata
from edge.backends.base import InferenceBackend
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat, InputType, PreprocessSpec
from edge.errors import BackendError, UsageError
from edge.preprocess import preprocess

if TYPE_CHECKING:
    from edge.types import ByteArray, FloatArray

MAX_MODEL_BYTES = 2_000_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Quantization:
    """How integers of a tensor become real numbers: (integer - zero_point) * scale.

    Attributes:
        scale: Above 0.
        zero_point: Of the tensor's type.
    """

    scale: float
    zero_point: int


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignModel:
    """A model file and what it says about itself.

    Attributes:
        path: The file.
        format: Which runtime opens it.
        input_shape: Of its one input, batch of 1 first.
        dtype: Type of the input's numbers.
        input_quantization: Of an integer input; None where the file does not tell.
        output_quantization: Of integer outputs, by name.
        metadata: What its authors wrote beside the weights.
    """

    path: Path
    format: ArtifactFormat
    input_shape: tuple[int, ...]
    dtype: InputType
    input_quantization: Quantization | None
    output_quantization: Mapping[str, Quantization]
    metadata: Metadata

    @property
    def name(self) -> str:
        """File name, for errors."""
        return self.path.name


@contextmanager
def opened_model(path: Path) -> Iterator[tuple[ForeignModel, InferenceBackend]]:
    """A model file with its runtime, for as long as the block lasts.

    Raises:
        UsageError: No such file, its name says neither TFLite nor ONNX, or its weights lie in a file that is missing.
        MissingExtraError: The runtime is not installed.
        BackendError: The runtime refuses the file, or it is not a model with one picture as its input.
    """
    format_ = _format(path)
    data = _read(path)
    if format_ is ArtifactFormat.ONNX:
        require_external_data(path)
    backend = open_backend(path, format_)
    try:
        yield _described(path, format_, data, backend), backend
    finally:
        backend.close()


def probe(backend: InferenceBackend, spec: PreprocessSpec) -> tuple[Mapping[str, FloatArray], ...]:
    """What a model says about a few drawn pictures that it takes as its input.

    Args:
        backend: The model.
        spec: How its input is made.

    Returns:
        For each picture the outputs by name, float32.

    Raises:
        BackendError: It cannot be run.
    """
    return tuple(backend.run(preprocess(picture, spec).tensor).by_name for picture in _drawn(spec))


def _drawn(spec: PreprocessSpec) -> Sequence[ByteArray]:
    """Plain grey, red, green and blue, a ramp of colours, and noise of a fixed seed; uint8 (height, width, 3)."""
    import numpy as np

    rows, columns = np.mgrid[: spec.height, : spec.width]
    ramp = np.stack([rows * 255 // spec.height, columns * 255 // spec.width, 255 - rows * 255 // spec.height], axis=-1)
    noise = np.random.default_rng(0).integers(0, 256, size=ramp.shape)
    plain = [np.full_like(ramp, 0) + colour for colour in ((128,) * 3, (255, 0, 0), (0, 255, 0), (0, 0, 255))]
    return [plane.astype(np.uint8) for plane in (*plain, ramp, noise)]


def _format(path: Path) -> ArtifactFormat:
    known = {f".{item.value}": item for item in ArtifactFormat}
    if path.suffix.lower() not in known:
        raise UsageError(f"{path}: not a model that can be imported", hint=f"give a {' or '.join(known)} file")
    return known[path.suffix.lower()]


def _read(path: Path) -> bytes:
    try:
        if path.stat().st_size > MAX_MODEL_BYTES:
            raise UsageError(f"{path}: larger than {MAX_MODEL_BYTES} bytes")
        return path.read_bytes()
    except OSError as cause:
        raise UsageError(f"{path}: cannot be read: {(cause.strerror or str(cause)).lower()}") from cause


def _described(path: Path, format_: ArtifactFormat, data: bytes, backend: InferenceBackend) -> ForeignModel:
    shape = tuple(backend.input_shape)
    if len(shape) != 4 or shape[0] != 1:
        raise BackendError(
            f"{path.name}: input must be one picture, (1, height, width, channels) or (1, channels, height, width), "
            f"found {list(shape)}"
        )
    if format_ is ArtifactFormat.TFLITE:
        taken, given = _tflite_quantization(path)
        metadata = tflite_metadata(data)
    else:
        taken, given, metadata = None, {}, onnx_metadata(_onnx_properties(path))
    return ForeignModel(
        path=path,
        format=format_,
        input_shape=shape,
        dtype=InputType(backend.input_dtype),
        input_quantization=taken,
        output_quantization=given,
        metadata=metadata,
    )


def _tflite_quantization(path: Path) -> tuple[Quantization | None, dict[str, Quantization]]:
    """Of the input, and of the outputs by the names that `edge.backends` gives them."""
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    plain = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_path=str(path), experimental_op_resolver_type=plain)
    interpreter.allocate_tensors()
    inputs, outputs = interpreter.get_input_details(), {}
    for detail in interpreter.get_output_details():
        outputs[str(detail["name"])] = _quantization(detail["quantization"])
    for signature in list(interpreter.get_signature_list())[:1]:
        details = interpreter.get_signature_runner(signature).get_output_details()
        outputs |= {str(name): _quantization(detail["quantization"]) for name, detail in details.items()}
    known = {name: value for name, value in outputs.items() if value is not None}
    return _quantization(inputs[0]["quantization"]), known


def _quantization(pair: tuple[float, int]) -> Quantization | None:
    scale, zero_point = float(pair[0]), int(pair[1])
    return Quantization(scale=scale, zero_point=zero_point) if scale > 0 else None


def _onnx_properties(path: Path) -> dict[str, str]:
    from edge.backends.onnx import load_runtime

    onnxruntime = load_runtime()
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    session = onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    return {str(key): str(value) for key, value in session.get_modelmeta().custom_metadata_map.items()}

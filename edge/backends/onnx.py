"""ONNX models through onnxruntime, on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import BackendError, MissingExtraError
from edge.types import RawOutputs

if TYPE_CHECKING:
    import onnxruntime

    from edge.types import FloatArray


class OnnxBackend:
    """One `.onnx` file with float32 input and outputs; see `InferenceBackend`.

    Args:
        path: The model file.
        threads: Processor threads the runtime may use, at least 1.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        BackendError: The file is damaged, or is no model with one float32 input.
    """

    name = "onnxruntime"

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        self._path = path
        self._session: onnxruntime.InferenceSession | None = _open_session(path, threads)
        inputs = self._session.get_inputs()
        if len(inputs) != 1 or inputs[0].type != "tensor(float)":
            found = ", ".join(f"{item.name} {item.type}" for item in inputs) or "none"
            raise BackendError(f"{path.name}: needs exactly one float32 input, found {found}")
        if not all(isinstance(size, int) for size in inputs[0].shape):
            raise BackendError(
                f"{path.name}: input {inputs[0].name!r} must have a fixed shape, found {inputs[0].shape}"
            )
        self._input_name = inputs[0].name
        self._output_names = [output.name for output in self._session.get_outputs()]
        self.input_shape: tuple[int, ...] = tuple(inputs[0].shape)

    def run(self, tensor: FloatArray) -> RawOutputs:
        """Runs the network once; see `InferenceBackend.run`."""
        if self._session is None:
            raise BackendError(f"{self._path.name}: the backend is closed")
        if tensor.shape != self.input_shape or tensor.dtype != "float32":
            raise BackendError(
                f"{self._path.name}: input must be float32 {self.input_shape}, found {tensor.dtype} {tensor.shape}"
            )
        try:
            arrays = self._session.run(self._output_names, {self._input_name: tensor})
        except Exception as cause:  # onnxruntime's exceptions share no base class of their own
            raise BackendError(f"{self._path.name}: inference failed: {_first_line(cause)}") from cause
        return RawOutputs(by_name=dict(zip(self._output_names, arrays, strict=True)))

    def close(self) -> None:
        """Frees the model; see `InferenceBackend.close`."""
        self._session = None


def _open_session(path: Path, threads: int) -> onnxruntime.InferenceSession:
    try:
        import onnxruntime
    except ImportError as cause:
        raise MissingExtraError("onnxruntime", "onnx") from cause
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_ENABLE_ALL
    options.log_severity_level = 4
    try:
        return onnxruntime.InferenceSession(str(path), sess_options=options, providers=["CPUExecutionProvider"])
    except Exception as cause:  # onnxruntime's exceptions share no base class of their own
        raise BackendError(
            f"{path.name}: not a usable ONNX model: {_first_line(cause)}", hint="fetch or convert it again"
        ) from cause


def _first_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__

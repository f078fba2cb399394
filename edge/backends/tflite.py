"""TFLite models through LiteRT (or the older tflite-runtime), on the CPU."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.errors import BackendError, MissingExtraError
from edge.types import RawOutputs

if TYPE_CHECKING:
    from edge.types import FloatArray


class TfliteBackend:
    """One `.tflite` file with float32 input and outputs; see `InferenceBackend`.

    Args:
        path: The model file.
        threads: Processor threads the runtime may use, at least 1.

    Raises:
        MissingExtraError: Neither ai-edge-litert nor tflite-runtime is installed.
        BackendError: The file is damaged, or is no model with one float32 input.
    """

    name = "litert"

    def __init__(self, path: Path, *, threads: int = 1) -> None:
        interpreter_class = _interpreter_class()
        self._path = path
        try:
            self._interpreter = interpreter_class(model_path=str(path), num_threads=threads)
            self._interpreter.allocate_tensors()
            inputs, outputs = _bound_tensors(self._interpreter)
        except (ValueError, RuntimeError, OSError) as cause:
            raise BackendError(
                f"{path.name}: not a usable TFLite model: {_first_line(cause)}", hint="fetch or convert it again"
            ) from cause
        _require_one_float_input(path, inputs)
        self._input_index = int(inputs[0]["index"])
        self._output_indices = {name: int(detail["index"]) for name, detail in outputs.items()}
        self.input_shape = tuple(int(size) for size in inputs[0]["shape"])

    def run(self, tensor: FloatArray) -> RawOutputs:
        """Runs the network once; see `InferenceBackend.run`."""
        if self._interpreter is None:
            raise BackendError(f"{self._path.name}: the backend is closed")
        if tensor.shape != self.input_shape or tensor.dtype != "float32":
            raise BackendError(
                f"{self._path.name}: input must be float32 {self.input_shape}, found {tensor.dtype} {tensor.shape}"
            )
        try:
            self._interpreter.set_tensor(self._input_index, tensor)
            self._interpreter.invoke()
            by_name = {name: self._interpreter.get_tensor(index) for name, index in self._output_indices.items()}
        except (ValueError, RuntimeError) as cause:
            raise BackendError(f"{self._path.name}: inference failed: {_first_line(cause)}") from cause
        return RawOutputs(by_name=by_name)

    def close(self) -> None:
        """Frees the model; see `InferenceBackend.close`."""
        self._interpreter = None


def _interpreter_class() -> Any:  # noqa: ANN401  (two libraries without types share this class)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError:
        try:
            from tflite_runtime.interpreter import Interpreter
        except ImportError as cause:
            raise MissingExtraError("ai-edge-litert", "tflite") from cause
    return Interpreter


def _bound_tensors(interpreter: Any) -> tuple[list[dict[str, Any]], dict[str, dict[str, Any]]]:  # noqa: ANN401
    """Inputs, and outputs by name: those of the only signature, or of the graph where there is none."""
    signatures = interpreter.get_signature_list()
    if not signatures:
        outputs = {str(detail["name"]): detail for detail in interpreter.get_output_details()}
        return list(interpreter.get_input_details()), outputs
    runner = interpreter.get_signature_runner(next(iter(signatures)))
    return list(runner.get_input_details().values()), dict(runner.get_output_details())


def _require_one_float_input(path: Path, inputs: list[dict[str, Any]]) -> None:
    found = [f"{detail['name']} {detail['dtype'].__name__}" for detail in inputs]
    if len(inputs) != 1 or inputs[0]["dtype"].__name__ != "float32":
        raise BackendError(f"{path.name}: needs exactly one float32 input, found {', '.join(found) or 'none'}")


def _first_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__

"""TFLite models through LiteRT (or the older tflite-runtime).

The input and output tensors are looked up once, when the model is opened. Each frame is then one `set_tensor`, one
`invoke` and one `get_tensor` for each output: 14 and 0.5 microseconds of copying around a 224-pixel model, which the
runtime's views of its own memory do not beat, and whose shapes may change with each frame.

Several interpreters of one file share its pages, for the runtime maps the file; what each adds is its packed weights.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edge.backends.base import CPU, INPUT_DTYPES, RuntimeOptions, check_input, first_line
from edge.errors import BackendError, MissingExtraError, UsageError
from edge.types import RawOutputs

if TYPE_CHECKING:
    from types import ModuleType

    from edge.backends.tflite_outputs import TfliteOutput
    from edge.types import InputArray

BUILTIN = "builtin"
_DAMAGED = "fetch or convert it again, or update the runtime"
_LIBRARY = re.compile(r"\.(so[.0-9]*|dylib|dll)\Z")


class TfliteBackend:
    """One `.tflite` file with one input; see `InferenceBackend`.

    Outputs are named by the file's signature, or by their tensors where it has none.

    Args:
        path: The model file.
        options: Threads and delegate: `cpu`, `builtin`, or the path of an external delegate's library.
        content: Gives the model where the file is encrypted; None to map the file.

    Raises:
        MissingExtraError: Neither ai-edge-litert nor tflite-runtime is installed.
        UsageError: No such delegate.
        BackendError: The file is damaged or no model with one input of a known type, or the delegate fails.
    """

    name = "litert"

    def __init__(
        self, path: Path, options: RuntimeOptions | None = None, *, content: Callable[[], bytes] | None = None
    ) -> None:
        from edge.backends.tflite_outputs import bound_tensors

        runtime, options = _runtime(), options or RuntimeOptions()
        arguments = _delegate_arguments(runtime, options.delegate)
        arguments |= {"model_path": str(path)} if content is None else {"model_content": content()}
        try:
            interpreter = runtime.Interpreter(num_threads=options.threads, **arguments)
            interpreter.allocate_tensors()
            inputs, outputs = bound_tensors(interpreter, file=path.name)
        except (ValueError, RuntimeError, OSError) as cause:
            raise _refused(path, options, cause) from cause
        self.input_shape, self.input_dtype = _input(path, inputs)
        self._path = path
        self._interpreter: Any = interpreter
        self._input_index = int(inputs[0]["index"])
        self._outputs: tuple[TfliteOutput, ...] = outputs

    def run(self, tensor: InputArray) -> RawOutputs:
        """Runs the network once; see `InferenceBackend.run`."""
        interpreter = self._interpreter
        if interpreter is None:
            raise BackendError(f"{self._path.name}: the backend is closed")
        check_input(tensor, file=self._path.name, shape=self.input_shape, dtype=self.input_dtype)
        try:
            interpreter.set_tensor(self._input_index, tensor)
            interpreter.invoke()
            by_name = {output.name: output.read(interpreter) for output in self._outputs}
        except (ValueError, RuntimeError) as cause:
            raise BackendError(f"{self._path.name}: inference failed: {first_line(cause)}") from cause
        return RawOutputs(by_name=by_name)

    def close(self) -> None:
        """Frees the model; see `InferenceBackend.close`."""
        self._interpreter = None


def _runtime() -> ModuleType:
    """The module with `Interpreter`, of the newer library where both are installed."""
    try:
        from ai_edge_litert import interpreter
    except ModuleNotFoundError:
        try:
            from tflite_runtime import interpreter
        except ModuleNotFoundError as cause:
            raise MissingExtraError("ai-edge-litert", "tflite") from cause
        except (ImportError, AttributeError) as cause:  # built for numpy 1, it fails in several ways beside numpy 2
            raise BackendError(f"tflite-runtime cannot be loaded: {first_line(cause)}") from cause
    except ImportError as cause:
        raise BackendError(f"ai-edge-litert cannot be loaded: {first_line(cause)}") from cause
    return interpreter  # type: ignore[no-any-return]


def _delegate_arguments(runtime: ModuleType, delegate: str) -> dict[str, Any]:
    """What the interpreter is told about who computes."""
    if delegate == CPU:
        return {}
    if delegate == BUILTIN:
        return {"experimental_op_resolver_type": runtime.OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES}
    if not _LIBRARY.search(delegate):
        raise UsageError(
            f"LiteRT has no delegate {delegate!r}", hint=f"choose {CPU}, {BUILTIN} or the path of a shared library"
        )
    return {"experimental_delegates": [_external_delegate(runtime, delegate)]}


def _external_delegate(runtime: ModuleType, library: str) -> object:
    import ctypes

    try:
        symbols = ctypes.CDLL(library)
        # The runtime's own loader leaves a half-made object behind where these are missing.
        _ = symbols.tflite_plugin_create_delegate, symbols.tflite_plugin_destroy_delegate
        return runtime.load_delegate(library)
    except AttributeError as cause:
        raise BackendError(f"{library}: not a LiteRT delegate: {first_line(cause)}") from cause
    except (OSError, ValueError) as cause:
        raise BackendError(f"{library}: the delegate cannot be loaded: {' '.join(str(cause).split())[:300]}") from cause


def _refused(path: Path, options: RuntimeOptions, cause: Exception) -> BackendError:
    if options.delegate in (CPU, BUILTIN):
        return BackendError(f"{path.name}: not a usable TFLite model: {first_line(cause)}", hint=_DAMAGED)
    return BackendError(
        f"{path.name}: refused with delegate {options.delegate}: {first_line(cause)}", hint="try delegate cpu"
    )


def _input(path: Path, inputs: list[dict[str, Any]]) -> tuple[tuple[int, ...], str]:
    """Shape and type of the only input; an open batch becomes 1."""
    found = [f"{detail['name']} {_type_name(detail)}" for detail in inputs]
    if len(inputs) != 1 or _type_name(inputs[0]) not in INPUT_DTYPES:
        raise BackendError(
            f"{path.name}: needs exactly one input of {', '.join(INPUT_DTYPES)}, found {', '.join(found) or 'none'}"
        )
    shape = tuple(int(size) for size in inputs[0]["shape"])
    signature = [int(size) for size in inputs[0].get("shape_signature", shape)]
    if min(signature[1:], default=1) < 0 or math.prod(shape) < 1:
        raise BackendError(f"{path.name}: input {inputs[0]['name']!r} must have a fixed shape, found {signature}")
    return shape, _type_name(inputs[0])


def _type_name(detail: dict[str, Any]) -> str:
    return str(detail["dtype"].__name__)

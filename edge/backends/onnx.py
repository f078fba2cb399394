"""ONNX models through ONNX Runtime, on the processor or with another execution provider.

Names are looked up once, when the model is opened. Input and output buffers bound once (`io_binding`) were measured
against plain `run` on the processor: 7.52 and 7.48 ms, 13 and 14 microseconds for a model of two layers. So plain `run`
serves, whose outputs are the caller's own and may have shapes that are known only afterwards.

Backends of the same file and options on the processor share one session, which several threads may run at once: two
threads in one session were measured at 1.2 times the rate of two sessions, and the second session's 34 MB are saved.
That is as fast as a model with a fixed batch of 8 on two threads (278 and 268 crops a second, MobileNetV2 in float32),
so there is no batch here.
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from edge.backends.base import CPU, RuntimeOptions, check_input, first_line
from edge.errors import BackendError, MissingExtraError, UsageError
from edge.types import RawOutputs

if TYPE_CHECKING:
    import onnxruntime

    from edge.types import InputArray

_DAMAGED = "fetch or convert it again, or update the runtime"
CPU_PROVIDER = "CPUExecutionProvider"
# What each delegate asks for, best first; the processor comes last by itself.
PROVIDERS: dict[str, tuple[str, ...]] = {
    CPU: (),
    "cuda": ("CUDAExecutionProvider",),
    "tensorrt": ("TensorrtExecutionProvider", "CUDAExecutionProvider"),
    "openvino": ("OpenVINOExecutionProvider",),
    "coreml": ("CoreMLExecutionProvider",),
}
_INPUT_TYPES = {"tensor(float)": "float32", "tensor(uint8)": "uint8", "tensor(int8)": "int8"}
_SessionKey = tuple[str, int, int, int, RuntimeOptions]
_shared: weakref.WeakValueDictionary[_SessionKey, onnxruntime.InferenceSession] = weakref.WeakValueDictionary()
_shared_lock = threading.Lock()
_RECORD_ASSIGNMENT = "session.record_ep_graph_assignment_info"


class OnnxBackend:
    """One `.onnx` file with one input; see `InferenceBackend`.

    Args:
        path: The model file.
        options: Threads and delegate: `cpu`, `cuda`, `tensorrt`, `openvino` or `coreml`.
        content: Gives the model where the file is encrypted; None to read the file.

    Raises:
        MissingExtraError: onnxruntime is not installed.
        UsageError: No such delegate.
        BackendError: The file is damaged or no model with one input of a known type and a fixed shape, or the asked
            provider is not there or took no part of the model.
    """

    name = "onnxruntime"

    def __init__(
        self, path: Path, options: RuntimeOptions | None = None, *, content: Callable[[], bytes] | None = None
    ) -> None:
        session = _session(path, options or RuntimeOptions(), content)
        self._path = path
        try:
            self.input_shape, self.input_dtype = _input(path, session)
            self._input_name = session.get_inputs()[0].name
            self._output_names = _output_names(path, session)
        except UnicodeDecodeError as cause:
            raise BackendError(f"{path.name}: not a usable ONNX model: a name is not UTF-8", hint=_DAMAGED) from cause
        self._session: onnxruntime.InferenceSession | None = session

    def run(self, tensor: InputArray) -> RawOutputs:
        """Runs the network once; see `InferenceBackend.run`."""
        if self._session is None:
            raise BackendError(f"{self._path.name}: the backend is closed")
        check_input(tensor, file=self._path.name, shape=self.input_shape, dtype=self.input_dtype)
        try:
            arrays = self._session.run(self._output_names, {self._input_name: tensor})
        except Exception as cause:  # onnxruntime's exceptions share no base class of their own
            raise BackendError(f"{self._path.name}: inference failed: {first_line(cause)}") from cause
        named = zip(self._output_names, arrays, strict=True)
        return RawOutputs(by_name={name: array.astype("float32", copy=False) for name, array in named})

    def close(self) -> None:
        """Frees the model; see `InferenceBackend.close`."""
        self._session = None


def available_providers() -> tuple[str, ...]:
    """Delegates that the installed onnxruntime was built with, `cpu` first; whether they work shows on opening.

    Raises:
        MissingExtraError: onnxruntime is not installed.
    """
    built = set(load_runtime().get_available_providers())
    return tuple(name for name, asked in PROVIDERS.items() if not asked or asked[0] in built)


def load_runtime() -> onnxruntime:
    """Imports onnxruntime with its telemetry switched off.

    Since 1.29 the builds for Linux report models and runs to their maker, and write a file for it when they are
    imported. Whoever wants that sets ORT_DISABLE_TELEMETRY to 0.

    Raises:
        MissingExtraError: It is not installed.
        BackendError: It is damaged.
    """
    os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
    try:
        import onnxruntime
    except ModuleNotFoundError as cause:
        raise MissingExtraError("onnxruntime", "onnx") from cause
    except ImportError as cause:
        raise BackendError(f"onnxruntime cannot be loaded: {first_line(cause)}") from cause
    return onnxruntime


def _session(path: Path, options: RuntimeOptions, content: Callable[[], bytes] | None) -> onnxruntime.InferenceSession:
    """One that another backend has open, or a new one; a file that was replaced meanwhile is another file."""
    if options.delegate != CPU:
        return _open_session(path, options, content)
    try:
        status = path.stat()
    except OSError:
        return _open_session(path, options, content)  # says what is wrong with it
    key = (str(path.absolute()), status.st_ino, status.st_size, status.st_mtime_ns, options)
    with _shared_lock:
        session = _shared.get(key)
        if session is None:
            session = _shared[key] = _open_session(path, options, content)
        return session


def _open_session(
    path: Path, options: RuntimeOptions, content: Callable[[], bytes] | None
) -> onnxruntime.InferenceSession:
    runtime = load_runtime()
    model = str(path) if content is None else content()
    asked = _asked_providers(path, runtime, options)
    try:
        session = runtime.InferenceSession(
            model,
            sess_options=_session_options(runtime, options),
            providers=_with_settings(asked, options),
            # Else a failing provider is replaced, now or in the middle of a run, with lines on the terminal at most.
            enable_fallback=0,
        )
    except Exception as cause:  # onnxruntime's exceptions share no base class of their own
        if asked:
            raise _not_taken(path, options, first_line(cause)) from cause
        raise BackendError(f"{path.name}: not a usable ONNX model: {first_line(cause)}", hint=_DAMAGED) from cause
    if asked:
        _require_taken(path, session, options, asked[0])
    return session


def _session_options(runtime: onnxruntime, options: RuntimeOptions) -> onnxruntime.SessionOptions:
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = options.threads
    settings.inter_op_num_threads = 1
    settings.graph_optimization_level = runtime.GraphOptimizationLevel.ORT_ENABLE_ALL
    settings.log_severity_level = 4
    # Else the threads of a finished run wait for the next one in a loop: 8 of the 10 ms after it, on a whole core.
    settings.add_session_config_entry("session.force_spinning_stop", "1")
    if options.delegate != CPU:
        settings.add_session_config_entry(_RECORD_ASSIGNMENT, "1")
    return settings


def _asked_providers(path: Path, runtime: onnxruntime, options: RuntimeOptions) -> list[str]:
    """The providers of a delegate that this runtime was built with.

    The library would drop what it does not have with a warning, and go on without.
    """
    if options.delegate not in PROVIDERS:
        raise UsageError(
            f"ONNX Runtime has no delegate {options.delegate!r} here", hint=f"choose one of: {', '.join(PROVIDERS)}"
        )
    asked, built = PROVIDERS[options.delegate], runtime.get_available_providers()
    if asked and asked[0] not in built:
        raise _not_taken(path, options, f"this onnxruntime has no {asked[0]}, only {', '.join(built)}")
    return [name for name in asked if name in built]


def _with_settings(asked: list[str], options: RuntimeOptions) -> list[str | tuple[str, dict[str, str]]]:
    """The processor comes last; OpenVINO would take every core, whatever the session is told."""
    settings = {"OpenVINOExecutionProvider": {"num_of_threads": str(options.threads)}}
    return [*((name, settings[name]) if name in settings else name for name in asked), CPU_PROVIDER]


def _require_taken(path: Path, session: onnxruntime.InferenceSession, options: RuntimeOptions, provider: str) -> None:
    """A provider whose libraries are missing, or that can do nothing of this model, leaves all to the processor."""
    if provider not in session.get_providers():
        raise _not_taken(path, options, f"{provider} could not be started")
    report = getattr(session, "get_provider_graph_assignment_info", None)  # since onnxruntime 1.24
    if report is not None and all(part.ep_name != provider for part in report()):
        raise _not_taken(path, options, f"{provider} took no part of the model")


def _not_taken(path: Path, options: RuntimeOptions, reason: str) -> BackendError:
    return BackendError(f"{path.name}: delegate {options.delegate}: {reason}", hint="run it with delegate cpu")


def _input(path: Path, session: onnxruntime.InferenceSession) -> tuple[tuple[int, ...], str]:
    """Shape and type of the only input; a named batch becomes 1."""
    inputs = session.get_inputs()
    if len(inputs) != 1 or inputs[0].type not in _INPUT_TYPES:
        found = ", ".join(f"{item.name} {item.type}" for item in inputs) or "none"
        known = ", ".join(_INPUT_TYPES.values())
        raise BackendError(f"{path.name}: needs exactly one input of {known}, found {found}")
    batch, *rest = inputs[0].shape or [0]
    if not all(isinstance(size, int) and size > 0 for size in rest) or batch == 0:
        raise BackendError(f"{path.name}: input {inputs[0].name!r} must have a fixed shape, found {inputs[0].shape}")
    return (batch if isinstance(batch, int) else 1, *rest), _INPUT_TYPES[inputs[0].type]


def _output_names(path: Path, session: onnxruntime.InferenceSession) -> list[str]:
    for output in session.get_outputs():
        if not output.type.startswith("tensor(") or output.type == "tensor(string)":
            raise BackendError(
                f"{path.name}: output {output.name!r} is {output.type}, only tensors of numbers can be read",
                hint="export it again without that output (skl2onnx: zipmap=False)",
            )
    return [output.name for output in session.get_outputs()]

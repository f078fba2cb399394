"""What the engine asks of an inference runtime, and what every runtime refuses in the same words."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from edge.errors import BackendError, UsageError

if TYPE_CHECKING:
    from edge.types import InputArray, RawOutputs

# What ONNX Runtime says before it comes to the point; the path would take most of the line.
_CEREMONY = re.compile(r"^\[ONNXRuntimeError\] : \d+ : [A-Z_]+ : (?:Load model from [^\n]*? failed:\s*)?")
MAX_THREADS = 1024
INPUT_DTYPES = ("float32", "uint8", "int8")
CPU = "cpu"


@dataclass(frozen=True, slots=True, kw_only=True)
class RuntimeOptions:
    """How a runtime shall run a model.

    Attributes:
        threads: Processor threads for one inference, at least 1.
        delegate: What computes. `cpu` is the runtime's own choice for the processor (XNNPACK in LiteRT). LiteRT also
            knows `builtin`, its kernels without XNNPACK, and the path of an external delegate's shared library;
            ONNX Runtime knows `cuda`, `tensorrt`, `openvino` and `coreml`.

    Raises:
        UsageError: `threads` is below 1 or above 1,024, or `delegate` is empty.
    """

    threads: int = 1
    delegate: str = CPU

    def __post_init__(self) -> None:
        """Refuses what no runtime can do."""
        if not 1 <= self.threads <= MAX_THREADS:
            raise UsageError(f"threads must be at least 1 and at most {MAX_THREADS}, found {self.threads}")
        if not self.delegate:
            raise UsageError("delegate must not be empty", hint="give cpu, or one that this device has")


class InferenceBackend(Protocol):
    """One loaded model in one runtime. Not thread-safe, but for the pool: one thread at a time.

    Attributes:
        name: Name of the runtime, for logs (`litert`, `onnxruntime`).
        input_shape: Shape of the one input tensor, batch first; for our own models (1, height, width, 3).
        input_dtype: Type of its numbers: `float32`, `uint8` or `int8`.
    """

    name: str
    input_shape: tuple[int, ...]
    input_dtype: str

    def run(self, tensor: InputArray) -> RawOutputs:
        """Runs the network once.

        Args:
            tensor: Of `input_dtype` and `input_shape`; need not be contiguous.

        Returns:
            Every output by name, float32. Quantized ones are dequantized by the model's own scale and zero point,
            other numbers are converted. The arrays are the caller's own.

        Raises:
            BackendError: Wrong shape or type, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Frees the model. Calling it twice is harmless."""
        ...


def check_input(tensor: InputArray, *, file: str, shape: tuple[int, ...], dtype: str) -> None:
    """Refuses a tensor that is not what the model reads.

    Args:
        tensor: What is to be run.
        file: Name of the model file, for errors.
        shape: What the model reads.
        dtype: The type of its numbers.

    Raises:
        BackendError: Another shape or type.
    """
    if tensor.shape != shape or tensor.dtype != dtype:
        raise BackendError(f"{file}: input must be {dtype} {shape}, found {tensor.dtype} {tensor.shape}")


def first_line(cause: BaseException) -> str:
    """What a runtime said, in one line of at most 300 characters."""
    lines = _CEREMONY.sub("", str(cause).strip()).splitlines()
    return lines[0].strip()[:300] if lines else type(cause).__name__

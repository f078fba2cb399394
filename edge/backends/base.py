"""What the engine asks of an inference runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from edge.types import FloatArray, RawOutputs


class InferenceBackend(Protocol):
    """One loaded model in one runtime. Not thread-safe: one thread at a time.

    Attributes:
        name: Name of the runtime, for logs (`litert`, `onnxruntime`).
        input_shape: Shape of the one input tensor, (1, height, width, 3).
    """

    name: str
    input_shape: tuple[int, ...]

    def run(self, tensor: FloatArray) -> RawOutputs:
        """Runs the network once.

        Args:
            tensor: float32, of `input_shape`.

        Returns:
            Every output by name; the arrays are the caller's own.

        Raises:
            BackendError: Wrong shape, or the runtime failed.
        """
        ...

    def close(self) -> None:
        """Frees the model. Calling it twice is harmless."""
        ...

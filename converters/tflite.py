"""Writes TFLite flatbuffers with litert-torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.export import INPUT_NAME
from converters.quiet import muted_stderr, quiet_libraries
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    from converters.export import ExportedNetwork


def to_tflite(exported: ExportedNetwork) -> bytes:
    """Writes a network as a float32 TFLite model with named input and output.

    The same weights give the same bytes, in any process.

    Args:
        exported: The network under the model I/O contract.

    Raises:
        MissingExtraError: litert-torch is not installed.
        EdgeloopError: An operation of the network has no TFLite form.
    """
    import torch

    sample = {INPUT_NAME: torch.zeros(1, exported.height, exported.width, 3)}
    try:
        with quiet_libraries():
            import litert_torch

            model = litert_torch.convert(exported.graph, sample_kwargs=sample)
            with muted_stderr():
                return bytes(model.model_content())
    except ImportError as cause:
        raise MissingExtraError("litert-torch", "convert") from cause
    except Exception as cause:  # the library raises its own and its compiler's kinds of error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise EdgeloopError(f"the network cannot be written as TFLite: {lines[0]}") from cause

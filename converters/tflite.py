"""Writes TFLite flatbuffers with litert-torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from converters.contract import INPUT_NAME
from converters.quiet import muted_stderr, quiet_libraries
from converters.scopes import named_operation
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    from converters.export import ExportedNetwork


def to_tflite(exported: ExportedNetwork) -> bytes:
    """Writes a network as a float32 TFLite model with named input and outputs.

    The same weights give the same bytes, in any process.

    Args:
        exported: The network under the model I/O contract.

    Raises:
        MissingExtraError: litert-torch is not installed.
        EdgeloopError: An operation of the network has no TFLite form; names it and its layer.
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
        raise unwritable("TFLite", cause, exported) from cause


def unwritable(form: str, cause: BaseException, exported: ExportedNetwork) -> EdgeloopError:
    """The error for a network that a writer refuses.

    Args:
        form: What was to be written.
        cause: What the writer said.
        exported: What it was given.
    """
    root = cause
    while root.__cause__ is not None:
        root = root.__cause__
    lines = str(root).strip().splitlines() or [type(root).__name__]
    operation, layer = named_operation(str(cause), exported.graph)
    where = f" in layer {layer!r}" if layer else ""
    why = f"operation {operation}{where} has no {form} form" if operation else lines[0][:300]
    hint = "replace it by convolutions, matrix products, pooling, or elementwise operations"
    return EdgeloopError(f"the network cannot be written as {form}: {why}", hint=hint)

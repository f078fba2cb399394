"""Writes fp32 ONNX models, free of paths, stack traces and other marks of the machine that wrote them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from converters.export import INPUT_NAME, OUTPUT_NAME
from converters.quiet import quiet_libraries
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    from converters.export import ExportedNetwork

OPSET = 18


def to_onnx(exported: ExportedNetwork) -> bytes:
    """Writes a network as ONNX: input `image` NHWC, output `logits`, float32.

    The same weights give the same bytes, in any process.

    Args:
        exported: The network under the model I/O contract.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        EdgeloopError: An operation of the network has no ONNX form.
    """
    import torch

    sample = {INPUT_NAME: torch.zeros(1, exported.height, exported.width, 3)}
    try:
        with quiet_libraries():
            program = torch.onnx.export(
                exported.program,
                kwargs=sample,
                dynamo=True,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                opset_version=OPSET,
                verbose=False,
            )
    except ImportError as cause:
        raise MissingExtraError("onnx", "convert") from cause
    except Exception as cause:  # the exporter raises its own kinds of error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise EdgeloopError(f"the network cannot be written as ONNX: {lines[0]}") from cause
    if program is None:
        raise EdgeloopError("the network cannot be written as ONNX: the exporter gave no model")
    return without_marks(program.model_proto)


def without_marks(model: Any) -> bytes:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    """The bytes of a model without comments and metadata: they hold source paths and stack traces.

    Args:
        model: An `onnx.ModelProto`; changed in place.
    """
    graph = model.graph
    for part in (model, graph, *graph.node, *graph.input, *graph.output, *graph.value_info, *graph.initializer):
        part.ClearField("doc_string")
        part.ClearField("metadata_props")
    graph.ClearField("value_info")
    return bytes(model.SerializeToString(deterministic=True))

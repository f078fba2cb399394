"""Writes fp32 ONNX models, free of paths, stack traces and other marks of the machine that wrote them."""

from __future__ import annotations

import ast
from typing import TYPE_CHECKING, Any

from converters.contract import INPUT_NAME
from converters.quiet import quiet_libraries
from converters.tflite import unwritable
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    from converters.export import ExportedNetwork

OPSET = 18
_CLASSES = "pkg.torch.onnx.class_hierarchy"
_SCOPES = "pkg.torch.onnx.name_scopes"


def to_onnx(exported: ExportedNetwork) -> bytes:
    """Writes a network as ONNX: input `image` NHWC, float32, and its outputs by name.

    Nodes are named by the class and the path of their layer, as far as the exporter tells, so that recipes can name
    layers in both formats. The same weights give the same bytes, in any process.

    Args:
        exported: The network under the model I/O contract.

    Raises:
        MissingExtraError: onnx or onnxscript is not installed.
        EdgeloopError: An operation of the network has no ONNX form; names it and its layer.
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
                output_names=list(exported.outputs),
                opset_version=OPSET,
                verbose=False,
            )
    except ImportError as cause:
        raise MissingExtraError("onnx", "convert") from cause
    except Exception as cause:  # the exporter raises its own kinds of error
        raise unwritable("ONNX", cause, exported) from cause
    if program is None:
        raise EdgeloopError("the network cannot be written as ONNX: the exporter gave no model")
    model = program.model_proto
    _name_by_scope(model)
    return without_marks(model)


def _name_by_scope(model: Any) -> None:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    """Names nodes `<path of the layer>:<its class>/<operation>_<number>`; the metadata that tells them goes later."""
    for number, node in enumerate(model.graph.node):
        told = {item.key: item.value for item in node.metadata_props}
        # The last of either list is the operation itself.
        classes, scopes = _items(told.get(_CLASSES, ""))[:-1], _items(told.get(_SCOPES, ""))[:-1]
        scope = f"{scopes[-1]}:{'.'.join(classes)}/" if scopes and classes else ""
        node.name = f"{scope}{node.op_type}_{number}"


def _items(value: str) -> list[str]:
    """`['', 'network.stem', 'conv2d']` as a list."""
    try:
        return [str(item) for item in ast.literal_eval(value)] if value else []
    except (ValueError, SyntaxError):
        return []


def without_marks(model: Any) -> bytes:  # noqa: ANN401
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

"""Quantizes ONNX models with ONNX Runtime's own tools, with ranges of our own."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from converters.onnx import without_marks
from converters.onnx_graph import matching_nodes, picture_tensors, read_onnx
from converters.quiet import quiet_libraries
from converters.types import QuantRecipe, Scheme
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    from converters.ranges import Ranges


def quantize_onnx(
    float_model: bytes, recipe: QuantRecipe, *, ranges: Ranges | None = None, float_layers: Sequence[str] = ()
) -> bytes:
    """Quantizes a float32 ONNX model; input and outputs stay float32.

    int8 is written as pairs of quantize and dequantize operations (QDQ): weights for each output channel, activations
    uint8. A softmax inside the network stays float, as in TFLite.

    Args:
        float_model: The model.
        recipe: What is quantized, and how.
        ranges: Activation ranges by tensor name; needed for static int8 only.
        float_layers: Patterns of node names, of this network's own layers that stay float; one that matches none is no
            error.

    Returns:
        The quantized model; the same bytes for the same arguments.

    Raises:
        MissingExtraError: onnx or onnxruntime is not installed.
        EdgeloopError: The quantizer refuses the model, or a layer that shall stay float is not in it.
    """
    if recipe.scheme is Scheme.FLOAT32:
        return float_model
    graph = read_onnx(float_model)
    for pattern in recipe.float_layers:
        if not matching_nodes(graph, (pattern,)):
            raise EdgeloopError(f"recipe {recipe.name!r}: no layer of the network matches {pattern!r}")
    kept = matching_nodes(graph, (*recipe.float_layers, *float_layers))
    try:
        with quiet_libraries():
            match recipe.scheme:
                case Scheme.STATIC_INT8:
                    return without_marks(_static(graph, recipe, ranges, kept))
                case Scheme.FLOAT16:
                    return without_marks(_half(graph, kept))
                case Scheme.WEIGHT_INT8:
                    raise ValueError("weight-only int8 has no ONNX form")
    except ImportError as cause:
        raise MissingExtraError("onnxruntime", "onnx") from cause
    except (ValueError, RuntimeError, KeyError, TypeError) as cause:
        raise EdgeloopError(f"recipe {recipe.name!r} cannot be applied: {str(cause).strip()}") from cause


def _static(
    graph: Any,  # noqa: ANN401  (onnx.ModelProto)
    recipe: QuantRecipe,
    ranges: Ranges | None,
    kept: Sequence[str],
) -> Any:  # noqa: ANN401
    import numpy as np
    from onnxruntime.quantization import CalibrationMethod, QDQQuantizer, QuantType
    from onnxruntime.quantization.calibrate import TensorsData
    from onnxruntime.quantization.registry import QDQRegistry

    if ranges is None:
        raise ValueError("static int8 needs activation ranges")
    pictures = picture_tensors(graph)
    # A border of pixels is no arithmetic: what moves the picture is left alone, and the picture is quantized once.
    moving = [node.name for node in graph.graph.node if set(node.output) <= pictures]
    softmaxes = [node.name for node in graph.graph.node if node.op_type == "Softmax"]
    known = {name: (np.float32(one.low), np.float32(one.high)) for name, one in ranges.items()}
    quantizer = QDQQuantizer(
        graph,
        per_channel=True,
        reduce_range=False,
        weight_qType=QuantType.QUInt8 if recipe.unsigned_weights else QuantType.QInt8,
        activation_qType=QuantType.QUInt8,
        tensors_range=TensorsData(CalibrationMethod.MinMax, known),
        nodes_to_quantize=[],
        nodes_to_exclude=[*kept, *moving, *softmaxes],
        op_types_to_quantize=list(QDQRegistry),
        extra_options={},
    )
    quantizer.quantize_model()
    return quantizer.model.model


def _half(graph: Any, kept: Sequence[str]) -> Any:  # noqa: ANN401
    """float16 inside, float32 outside; decoding stays float32, for a float16 is two pixels apart beyond 2,048."""
    from onnxruntime.transformers.float16 import convert_float_to_float16

    made = convert_float_to_float16(graph, keep_io_types=True, node_block_list=list(kept))
    # A tensor that two float layers read is cast for each of them, by nodes of one name that no runtime takes.
    seen: set[str] = set()
    for node in list(made.graph.node):
        if node.output[0] in seen:
            made.graph.node.remove(node)
        seen.add(node.output[0])
    return made

"""Quantizes TFLite models with ai-edge-quantizer, with ranges of our own."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from converters.graph import first_layers, read_graph
from converters.quiet import quiet_libraries
from converters.types import QuantRecipe, Scheme
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    from converters.ranges import Ranges
    from edge.types import ByteArray

EVERYTHING = ".*"


def quantize(
    float_model: bytes,
    recipe: QuantRecipe,
    *,
    ranges: Ranges | None = None,
    sample: ByteArray | None = None,
    float_layers: Sequence[str] = (),
    only: str = EVERYTHING,
) -> bytes:
    """Quantizes a float32 TFLite model; input and outputs stay float32.

    A softmax inside the network stays float in static int8: its integer form differs between processors, and no other
    operation's does.

    Args:
        float_model: The model.
        recipe: What is quantized, and how.
        ranges: Activation ranges by tensor name; needed for static int8 only.
        sample: One picture, uint8 (height, width, 3); needed for static int8 only.
        float_layers: Patterns as the recipe has them, of this network's own layers; one that matches none is no error.
        only: Pattern of the layers that static int8 quantizes; all others stay float.

    Returns:
        The quantized model; the same bytes for the same arguments, in any process.

    Raises:
        MissingExtraError: ai-edge-quantizer is not installed.
        EdgeloopError: The quantizer refuses the model, or a layer that shall stay float is not in it.
    """
    if recipe.scheme is Scheme.FLOAT32:
        return float_model
    quantizer = _quantizer(float_model, recipe, float_layers, only)
    try:
        with quiet_libraries():
            calibration = None
            if recipe.scheme is Scheme.STATIC_INT8:
                calibration = _calibration(quantizer, float_model, ranges, sample)
            result = quantizer.quantize(calibration, enable_progress_bar=False, enable_progress_report=False)
    except (ValueError, RuntimeError, KeyError) as cause:
        raise EdgeloopError(f"recipe {recipe.name!r} cannot be applied: {str(cause).strip()}") from cause
    return bytes(result.quantized_model)


def _quantizer(float_model: bytes, recipe: QuantRecipe, float_layers: Sequence[str], only: str) -> Any:  # noqa: ANN401  (a library without types)
    try:
        from ai_edge_quantizer import qtyping, quantizer
        from ai_edge_quantizer.algorithm_manager import AlgorithmName
    except ImportError as cause:
        raise MissingExtraError("ai-edge-quantizer", "convert") from cause
    made = quantizer.Quantizer(float_model)
    every_op = qtyping.TFLOperationName.ALL_SUPPORTED
    match recipe.scheme:
        case Scheme.STATIC_INT8:
            made.add_static_config(only, every_op, activation_num_bits=8, weight_num_bits=8)
            names = qtyping.TFLOperationName
            for float_op in (names.INPUT, names.OUTPUT, names.SOFTMAX):
                made.update_quantization_recipe(EVERYTHING, float_op, algorithm_key=AlgorithmName.NO_QUANTIZE)
        case Scheme.WEIGHT_INT8:
            made.add_weight_only_config(EVERYTHING, every_op, num_bits=8)
        case Scheme.FLOAT16:
            made.update_quantization_recipe(EVERYTHING, every_op, _half_floats(), AlgorithmName.FLOAT_CASTING)
    for pattern in (*_float_layers(float_model, recipe), *float_layers):
        made.update_quantization_recipe(pattern, every_op, algorithm_key=AlgorithmName.NO_QUANTIZE)
    return made


def _float_layers(float_model: bytes, recipe: QuantRecipe) -> tuple[str, ...]:
    """Patterns of the layers that stay float.

    The input's mean is folded into the first layer, so an error of its weights is multiplied by raw grey levels. Where
    only weights are quantized that would be most of the whole error, for a few bytes: that layer stays float then.
    """
    interpreter = read_graph(float_model)
    names = [str(detail["name"]) for detail in interpreter.get_tensor_details()]
    for pattern in recipe.float_layers:
        if not any(re.search(pattern, name) for name in names):
            raise EdgeloopError(f"recipe {recipe.name!r}: no layer of the network matches {pattern!r}")
    if recipe.scheme is Scheme.STATIC_INT8:
        return recipe.float_layers
    return (*recipe.float_layers, *(re.escape(name) for name in first_layers(interpreter)))


def _half_floats() -> Any:  # noqa: ANN401
    from ai_edge_quantizer import qtyping

    return qtyping.OpQuantizationConfig(
        weight_tensor_config=qtyping.TensorQuantizationConfig(num_bits=16, dtype=qtyping.TensorDataType.FLOAT),
        compute_precision=qtyping.ComputePrecision.FLOAT,
        explicit_dequantize=True,
    )


def _calibration(
    quantizer: Any,  # noqa: ANN401
    float_model: bytes,
    ranges: Ranges | None,
    sample: ByteArray | None,
) -> dict[str, Any]:
    """The quantizer's own calibration of one picture, for its form, with every range replaced by ours."""
    import numpy as np

    from edge.preprocess import to_input

    if ranges is None or sample is None:
        raise ValueError("static int8 needs activation ranges and a sample picture")
    signature, inputs = _signature(float_model)
    result = quantizer.calibrate({signature: [{inputs[0]: to_input(sample)}]}, num_threads=1)
    for name, statistics in result.items():
        if name not in ranges:
            raise ValueError(f"no activation range for tensor {name!r}")
        statistics["min"] = np.full_like(statistics["min"], ranges[name].low)
        statistics["max"] = np.full_like(statistics["max"], ranges[name].high)
    return dict(result)


def _signature(float_model: bytes) -> tuple[str, Sequence[str]]:
    signatures = read_graph(float_model).get_signature_list()
    name = next(iter(signatures))
    return name, signatures[name]["inputs"]

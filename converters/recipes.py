"""The named quantization recipes and the order in which they are tried: data, not code paths."""

from __future__ import annotations

from converters.types import CalibrationRange, QuantRecipe, Scheme

FLOAT_TOLERANCE = 1e-4

STATIC_INT8 = QuantRecipe(name="static_wi8_ai8", scheme=Scheme.STATIC_INT8)
STATIC_INT8_P99_999 = QuantRecipe(
    name="static_wi8_ai8_p99.999", scheme=Scheme.STATIC_INT8, ranges=CalibrationRange.P99_999
)
STATIC_INT8_P99_99 = QuantRecipe(
    name="static_wi8_ai8_p99.99", scheme=Scheme.STATIC_INT8, ranges=CalibrationRange.P99_99
)
# Of a network that nobody knows, the layer that is worth keeping float is the one that makes the answer.
STATIC_INT8_FLOAT_HEAD = QuantRecipe(
    name="static_wi8_ai8_float_head",
    scheme=Scheme.STATIC_INT8,
    float_layers=(r"serving_default_\w+_output",),
    tolerance=FLOAT_TOLERANCE,
)
WEIGHT_INT8 = QuantRecipe(name="weight_int8", scheme=Scheme.WEIGHT_INT8, tolerance=FLOAT_TOLERANCE)
FLOAT16 = QuantRecipe(name="fp16", scheme=Scheme.FLOAT16, tolerance=FLOAT_TOLERANCE)
FLOAT32 = QuantRecipe(name="fp32", scheme=Scheme.FLOAT32, tolerance=FLOAT_TOLERANCE)

# Smallest and fastest first; the first one that the acceptance rule does not refuse is taken.
DEFAULT_RECIPES = (
    STATIC_INT8,
    STATIC_INT8_P99_999,
    STATIC_INT8_P99_99,
    STATIC_INT8_FLOAT_HEAD,
    WEIGHT_INT8,
    FLOAT16,
    FLOAT32,
)

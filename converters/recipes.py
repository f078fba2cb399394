"""The named quantization recipes and the order in which they are tried: data, not code paths."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

from converters.types import CalibrationRange, QuantRecipe, Scheme
from edge.bundle.manifest import ArtifactFormat, ArtifactSpec
from edge.errors import UsageError

FLOAT_TOLERANCE = 1e-4
# int8 of ONNX Runtime differs between processors: up to 0.06 on logits that span some 20.
ONNX_INT8_TOLERANCE = 0.02
HALF_TOLERANCE = 0.02

STATIC_INT8 = QuantRecipe(name="static_wi8_ai8", scheme=Scheme.STATIC_INT8)
STATIC_INT8_P99_999 = QuantRecipe(
    name="static_wi8_ai8_p99.999", scheme=Scheme.STATIC_INT8, ranges=CalibrationRange.P99_999
)
STATIC_INT8_P99_99 = QuantRecipe(
    name="static_wi8_ai8_p99.99", scheme=Scheme.STATIC_INT8, ranges=CalibrationRange.P99_99
)
STATIC_INT8_MSE = QuantRecipe(name="static_wi8_ai8_mse", scheme=Scheme.STATIC_INT8, ranges=CalibrationRange.MSE)
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

ONNX_FLOAT32 = QuantRecipe(
    name="onnx_fp32", scheme=Scheme.FLOAT32, format=ArtifactFormat.ONNX, tolerance=FLOAT_TOLERANCE
)
ONNX_FLOAT16 = QuantRecipe(
    name="onnx_fp16", scheme=Scheme.FLOAT16, format=ArtifactFormat.ONNX, tolerance=HALF_TOLERANCE
)
ONNX_INT8 = QuantRecipe(
    name="onnx_qdq_wu8_au8",
    scheme=Scheme.STATIC_INT8,
    format=ArtifactFormat.ONNX,
    tolerance=ONNX_INT8_TOLERANCE,
    unsigned_weights=True,
)
ONNX_INT8_P99_999 = replace(ONNX_INT8, name="onnx_qdq_wu8_au8_p99.999", ranges=CalibrationRange.P99_999)
# Faster on processors with VNNI, and ruined by overflows on those without.
ONNX_INT8_SIGNED = replace(ONNX_INT8, name="onnx_qdq_wi8_au8", unsigned_weights=False)

# Smallest and fastest first; of the first kind that the acceptance rule does not refuse, the one with the least noise.
DEFAULT_RECIPES = (
    STATIC_INT8,
    STATIC_INT8_P99_999,
    STATIC_INT8_P99_99,
    STATIC_INT8_MSE,
    STATIC_INT8_FLOAT_HEAD,
    WEIGHT_INT8,
    FLOAT16,
    FLOAT32,
)
# What a search may try: every way to make either format, and no more.
SEARCHED_RECIPES = (*DEFAULT_RECIPES, ONNX_INT8, ONNX_INT8_P99_999, ONNX_INT8_SIGNED, ONNX_FLOAT16)

RECIPES = {recipe.name: recipe for recipe in (*SEARCHED_RECIPES, ONNX_FLOAT32)}


def find_recipes(names: Iterable[str]) -> tuple[QuantRecipe, ...]:
    """Recipes by name, in the order given.

    Raises:
        UsageError: There is no such recipe, or one is named twice.
    """
    names = tuple(names)
    for name in names:
        if name not in RECIPES:
            raise UsageError(f"no quantization recipe {name!r}", hint=f"there are {', '.join(RECIPES)}")
    if len(set(names)) != len(names):
        raise UsageError("a quantization recipe is named twice")
    return tuple(RECIPES[name] for name in names)


def with_float_layers(recipes: Sequence[QuantRecipe], layers: Sequence[str]) -> tuple[QuantRecipe, ...]:
    """Recipes whose static int8 ones leave these layers float too; patterns as in `QuantRecipe.float_layers`."""
    if not layers:
        return tuple(recipes)
    return tuple(
        replace(recipe, name=f"{recipe.name}_told_float", float_layers=(*recipe.float_layers, *layers))
        if recipe.scheme is Scheme.STATIC_INT8 and recipe.format is ArtifactFormat.TFLITE
        else recipe
        for recipe in recipes
    )


def described(artifact: ArtifactSpec) -> QuantRecipe:
    """The recipe that a bundle's artifact was made by, as far as the manifest tells: enough to weigh it again.

    Names of recipes that a search made up begin with that of the recipe they come from.
    """
    names = sorted(RECIPES, key=len, reverse=True)
    known = next((name for name in names if artifact.recipe.startswith(name)), None)
    scheme = RECIPES[known].scheme if known else Scheme.STATIC_INT8
    return QuantRecipe(name=artifact.recipe, scheme=scheme, format=artifact.format, tolerance=artifact.tolerance)

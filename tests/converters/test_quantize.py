from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from converters import recipes
from converters.calibrate import observe_ranges
from converters.quantize import quantize
from converters.types import CalibrationRange, QuantRecipe
from edge.errors import EdgeloopError


@pytest.fixture(scope="session")
def ranges(models) -> Any:
    return observe_ranges(models.tflite, models.pixels, CalibrationRange.EXACT)


def made(models, ranges, recipe: QuantRecipe) -> bytes:
    return quantize(models.tflite, recipe, ranges=ranges, sample=models.pixels[0])


def tensors_of(model: bytes) -> tuple[list[dict[str, Any]], list[dict[str, Any]], Any]:
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(model_content=model, experimental_op_resolver_type=kind)
    interpreter.allocate_tensors()
    details = interpreter.get_tensor_details()
    return interpreter._get_ops_details(), [{**d, "type": d["dtype"].__name__} for d in details], interpreter


@pytest.mark.parametrize("recipe", recipes.DEFAULT_RECIPES, ids=lambda recipe: recipe.name)
def test_every_recipe_gives_the_same_bytes_again_and_keeps_float_io(models, ranges, recipe):
    model = made(models, ranges, recipe)
    assert model == made(models, ranges, recipe)
    _, _, interpreter = tensors_of(model)
    for detail in (*interpreter.get_input_details(), *interpreter.get_output_details()):
        assert detail["dtype"] is np.float32
    assert interpreter.get_signature_list()["serving_default"] == {"inputs": ["image"], "outputs": ["logits"]}


def test_static_int8_is_int8_from_end_to_end(models, ranges):
    ops, details, _ = tensors_of(made(models, ranges, recipes.STATIC_INT8))
    floats = {d["name"] for d in details if d["type"] == "float32"}
    assert {op["op_name"] for op in ops} >= {"QUANTIZE", "CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"}
    assert floats == {"serving_default_image", "serving_default_logits_output_dequant"}


def test_weights_are_quantized_for_each_channel(models, ranges):
    _, details, _ = tensors_of(made(models, ranges, recipes.STATIC_INT8))
    weights = [d for d in details if d["type"] == "int8" and len(d["shape"]) == 4 and d["shape"][0] == 16]
    scales = [len(d["quantization_parameters"]["scales"]) for d in weights]
    assert 16 in scales


def test_the_ranges_given_are_the_ranges_used(models, ranges):
    _, details, _ = tensors_of(made(models, ranges, recipes.STATIC_INT8))
    steps = {d["name"]: d["quantization_parameters"]["scales"] for d in details if d["type"] == "int8"}
    checked = 0
    for name, found in ranges.items():
        if len(steps.get(f"{name}_quantized", steps.get(name, ()))) == 1:
            step = float(steps.get(f"{name}_quantized", steps.get(name))[0])
            assert step == pytest.approx((max(found.high, 0) - min(found.low, 0)) / 255, rel=1e-3), name
            checked += 1
    assert checked >= 6


def test_twice_the_range_is_twice_the_step(models, ranges):
    from converters.ranges import Range

    wide = {name: Range(low=2 * r.low, high=2 * r.high) for name, r in ranges.items()}
    one, two = made(models, ranges, recipes.STATIC_INT8), made(models, wide, recipes.STATIC_INT8)

    def last_step(model: bytes) -> float:
        ops, details, _ = tensors_of(model)
        by_index = {d["index"]: d for d in details}
        last = next(op for op in ops if op["op_name"] == "FULLY_CONNECTED")
        return float(by_index[int(last["outputs"][0])]["quantization"][0])

    assert last_step(two) == pytest.approx(2 * last_step(one), rel=1e-5)


def test_a_float_head_stays_float(models, ranges):
    ops, details, _ = tensors_of(made(models, ranges, recipes.STATIC_INT8_FLOAT_HEAD))
    types = {d["index"]: d["type"] for d in details}
    for op in ops:
        kinds = [types[int(index)] for index in op["inputs"] if int(index) >= 0][:2]
        if op["op_name"] == "FULLY_CONNECTED":
            assert kinds == ["float32", "float32"]
        if op["op_name"] == "CONV_2D":
            assert kinds == ["int8", "int8"]


def test_smaller_recipes_are_smaller(models, ranges):
    """The last layer's weights alone: the test network is too small for file sizes to say much."""

    def weights(recipe: QuantRecipe) -> set[str]:
        _, details, _ = tensors_of(made(models, ranges, recipe))
        return {d["type"] for d in details if tuple(d["shape"]) == (48, 3, 3, 16)}

    assert weights(recipes.FLOAT32) == {"float32"}
    assert "float16" in weights(recipes.FLOAT16)
    assert "int8" in weights(recipes.WEIGHT_INT8)


def test_weight_recipes_keep_the_layer_that_reads_grey_levels_float(models, ranges):
    for recipe, kind in ((recipes.WEIGHT_INT8, "int8"), (recipes.FLOAT16, "float16")):
        _, details, _ = tensors_of(made(models, ranges, recipe))
        types = {tuple(d["shape"]): d["type"] for d in details if d["type"] != "float32" or len(d["shape"]) == 4}
        first = [d["type"] for d in details if tuple(d["shape"]) == (16, 3, 3, 3)]
        assert first == ["float32"]
        assert kind in types.values()


def test_a_layer_that_is_not_there_is_refused_by_name(models, ranges):
    recipe = replace(recipes.STATIC_INT8, name="odd", float_layers=("no_such_layer",))
    with pytest.raises(EdgeloopError, match="'odd': no layer of the network matches 'no_such_layer'"):
        made(models, ranges, recipe)


def test_static_int8_without_ranges_is_refused(models, ranges):
    with pytest.raises(EdgeloopError, match="needs activation ranges"):
        quantize(models.tflite, recipes.STATIC_INT8)
    partial = dict(list(ranges.items())[:2])
    with pytest.raises(EdgeloopError, match="no activation range for tensor"):
        made(models, partial, recipes.STATIC_INT8)


def test_the_declared_order_goes_from_smallest_to_lossless():
    schemes = [recipe.scheme.value for recipe in recipes.DEFAULT_RECIPES]
    assert schemes == ["static_int8"] * 5 + ["weight_int8", "float16", "float32"]
    assert len({recipe.name for recipe in recipes.DEFAULT_RECIPES}) == len(recipes.DEFAULT_RECIPES)
    assert recipes.STATIC_INT8.tolerance == 0

"""Which layer int8 hurts, and how few have to stay float."""

from __future__ import annotations

import math
import re
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from converters import recipes
from converters.calibrate import observe_ranges
from converters.export import export_network
from converters.quantize import quantize
from converters.sensitivity import exactly, fewest, keep_float, layer_noise, rank_layers, rankable
from converters.tflite import to_tflite
from converters.types import CalibrationRange

SIDE = 16


def harmed_network() -> Any:
    """Three convolutions; the second has a weight of 400 for a channel that is always zero.

    Its scale then leaves the other weights, below 1, without a step of their own: the network is ruined by that layer
    alone, and in float it does not matter.
    """
    import torch
    from torch import nn

    torch.manual_seed(5)
    net = nn.Sequential()
    net.add_module("stem", nn.Conv2d(3, 8, 3, stride=2, padding=1))
    net.add_module("act", nn.ReLU())
    net.add_module("harmful", nn.Conv2d(8, 8, 3, padding=1))
    net.add_module("act2", nn.ReLU())
    net.add_module("last", nn.Conv2d(8, 8, 3, padding=1))
    net.add_module("pool", nn.AdaptiveAvgPool2d(1))
    net.add_module("flat", nn.Flatten())
    net.add_module("head", nn.Linear(8, 4))
    with torch.no_grad():
        net.stem.weight.mul_(0.02)
        net.stem.weight[0], net.stem.bias[0] = 0.0, -1.0
        net.harmful.weight[:, 0] = 400.0
    return net.eval()


@pytest.fixture(scope="module")
def harmed() -> Any:
    model = to_tflite(export_network(harmed_network(), height=SIDE, width=SIDE))
    rng = np.random.default_rng(2)
    pictures = [rng.integers(0, 256, size=(SIDE, SIDE, 3), dtype=np.uint8) for _ in range(6)]
    return model, pictures, observe_ranges(model, pictures, CalibrationRange.EXACT)


def layer_named(model: bytes, module: str) -> str:
    (name,) = [layer for layer, kind in rankable(model) if re.search(rf"Conv2d_{module}\b", layer)]
    return name


def test_the_harmful_layer_is_ranked_first_by_far(harmed):
    model, pictures, ranges = harmed
    ticks: list[int] = []
    ranked = rank_layers(model, recipes.STATIC_INT8, ranges, pictures, tick=lambda: ticks.append(1))
    assert ranked[0].layer == layer_named(model, "harmful")
    assert ranked[0].operation == "CONV_2D"
    assert ranked[0].sqnr_db < ranked[1].sqnr_db - 10
    assert [one.sqnr_db for one in ranked] == sorted(one.sqnr_db for one in ranked)
    assert {one.layer for one in ranked} == {layer for layer, _ in rankable(model)}
    assert len(ticks) == len(ranked)


def test_layers_that_are_float_anyway_are_not_ranked(harmed):
    model, pictures, ranges = harmed
    ranked = rank_layers(model, recipes.STATIC_INT8, ranges, pictures[:1], float_layers=("Conv2d_harmful",))
    assert layer_named(model, "harmful") not in {one.layer for one in ranked}
    assert len(ranked) == len(rankable(model)) - 1


def test_noise_jumps_at_the_harmful_layer_and_stays(harmed):
    model, pictures, ranges = harmed
    whole = quantize(model, recipes.STATIC_INT8, ranges=ranges, sample=pictures[0])
    noise = {one.layer: one.sqnr_db for one in layer_noise(model, whole, pictures)}
    before, there, after = (noise[layer_named(model, module)] for module in ("stem", "harmful", "last"))
    assert before > there + 10
    assert after < before - 10


def test_a_model_has_no_noise_against_itself(harmed):
    model, pictures, _ = harmed
    assert {one.sqnr_db for one in layer_noise(model, model, pictures)} == {200.0}


def test_leaving_the_harmful_layer_float_brings_the_answers_back(harmed):
    model, pictures, ranges = harmed
    mended = keep_float(recipes.STATIC_INT8, [layer_named(model, "harmful")])
    assert mended.name == "static_wi8_ai8_1_float"
    worst = []
    for recipe in (recipes.STATIC_INT8, mended):
        made = quantize(model, recipe, ranges=ranges, sample=pictures[0])
        worst.append(layer_noise(model, made, pictures)[-1].sqnr_db)
    assert worst[1] > worst[0] + 10


@settings(deadline=None)
@given(st.integers(1, 300), st.data())
def test_fewest_is_the_least_that_is_enough(num, data):
    enough = data.draw(st.integers(1, num + 1))
    tried: list[int] = []

    def good(number: int) -> bool:
        tried.append(number)
        return number >= enough

    wanted = next((number for number in range(1, num + 1) if number >= enough), None)
    assert fewest(num, good) == wanted
    assert all(1 <= number <= num for number in tried)
    assert len(tried) == len(set(tried)) <= 2 * math.ceil(math.log2(num + 1)) + 1
    assert wanted is None or wanted in tried  # what it says is enough was tried


def test_fewest_takes_what_it_found_where_more_do_harm():
    assert fewest(16, lambda number: number in (5, 8)) in (5, 8)


@pytest.mark.parametrize(
    ("name", "hit"),
    [
        ("net/conv_1", True),
        ("net/conv_1;net/relu", True),
        ("net/pad;net/conv_1", True),
        ("a;net/conv_1;b", True),
        ("net/conv_10", False),
        ("net/conv_1/relu", False),
        ("other/net/conv_1", False),
        ("net/convX1", False),
    ],
)
def test_a_layer_is_meant_exactly(name, hit):
    assert bool(re.search(exactly("net/conv_1"), name)) is hit
    assert not re.search(exactly("net/conv.1"), "net/conv_1")


def test_float_layers_add_up():
    once = keep_float(recipes.STATIC_INT8_FLOAT_HEAD, ["a", "b"])
    assert once.name == "static_wi8_ai8_float_head_2_float"
    assert once.float_layers == (*recipes.STATIC_INT8_FLOAT_HEAD.float_layers, exactly("a"), exactly("b"))
    assert once.tolerance == recipes.STATIC_INT8_FLOAT_HEAD.tolerance

"""Fine-tuning for int8: the simulation is what TFLite does, and a network that int8 hurts is hurt clearly less."""

from __future__ import annotations

import copy
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pytest
import torch
from conversion_jobs import LABELS, SPEC, draw
from PIL import Image
from torch import nn

from converters.calibrate import observe_ranges
from converters.compare import output_error
from converters.export import export_network
from converters.parity import one_thread
from converters.qat import QatRecipe, fine_tune
from converters.qat_layers import (
    GraphWalker,
    fake_quantize,
    fake_quantize_weights,
    int8_layers,
    observe_nodes,
    rounded_nodes,
)
from converters.quantize import quantize
from converters.ranges import Range
from converters.recipes import STATIC_INT8
from converters.scopes import classes_of
from converters.tflite import to_tflite
from converters.types import CalibrationRange
from edge.errors import EdgeloopError, UsageError
from edge.preprocess import to_input

RECIPE = QatRecipe(epochs=1, batch_size=8)
NUM_TRAINING = 120


class Uneven(nn.Module):
    """Depthwise and pointwise convolutions whose channels live on scales far apart, which one int8 scale cannot hold.

    Scaling a channel up behind a rectifier and its reader down leaves the float answer as it was.
    """

    def __init__(self, *, unevenness: float) -> None:
        super().__init__()
        torch.manual_seed(5)
        self.stem = nn.Sequential(nn.Conv2d(3, 12, 3, 2, 1), nn.ReLU())
        self.depthwise = nn.Sequential(nn.Conv2d(12, 12, 3, 1, 1, groups=12), nn.ReLU())
        self.pointwise = nn.Sequential(nn.Conv2d(12, 24, 1), nn.ReLU())
        self.classifier = nn.Linear(24, len(LABELS))
        self.unevenness = unevenness

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        x = self.pointwise(self.depthwise(self.stem((pictures - 120.0) / 60.0)))
        return self.classifier(x.mean((2, 3)))

    def make_uneven(self) -> None:
        scale = torch.exp(self.unevenness * torch.randn(12, generator=torch.Generator().manual_seed(1)))
        with torch.no_grad():
            self.depthwise[0].weight.mul_(scale.view(-1, 1, 1, 1))
            self.depthwise[0].bias.mul_(scale)
            self.pointwise[0].weight.div_(scale.view(1, -1, 1, 1))


class Heads(nn.Module):
    """Two outputs, one of them from a decode module that stays float, and operations of several kinds."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(2)
        self.stem = nn.Sequential(nn.Conv2d(3, 6, 3, 2, 1), nn.ReLU6(), nn.AvgPool2d(2), nn.Conv2d(6, 8, 1))
        self.up = nn.ConvTranspose2d(8, 4, 2, 2)
        self.score = nn.Conv2d(4, 2, 1)
        self.decode = FloatDecode()

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        x = self.up(torch.relu(self.stem(pictures / 255.0)))
        return {"scores": torch.sigmoid(self.score(x)).flatten(2), "boxes": self.decode(x)}


class FloatDecode(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.box = nn.Conv2d(4, 4, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.sigmoid(self.box(x)).flatten(2) * 32.0


def drawn(seed: int, count: int) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    size = (SPEC.width, SPEC.height)
    pictures = (Image.fromarray(draw(LABELS[number % len(LABELS)], rng)) for number in range(count))
    return [np.asarray(picture.resize(size)) for picture in pictures]


def heads() -> Any:
    return export_network(Heads().eval(), height=16, width=16)


def small(count: int = 12) -> list[np.ndarray]:
    return list(np.random.default_rng(4).integers(0, 256, (count, 16, 16, 3), dtype=np.uint8))


def answers(graph: Any, pictures: list[np.ndarray], **walk: Any) -> dict[str, np.ndarray]:
    walker = GraphWalker(graph, **walk)
    with torch.no_grad():
        found = [walker.run(torch.from_numpy(to_input(picture))) for picture in pictures]
    return {name: np.concatenate([row[name].numpy() for row in found]) for name in found[0]}


def int8_answers(model: bytes, calibration: list[np.ndarray], pictures: list[np.ndarray]) -> np.ndarray:
    """What static int8 says by the normal chain: ranges, quantize, run."""
    from ai_edge_litert.interpreter import Interpreter

    ranges = observe_ranges(model, calibration, CalibrationRange.EXACT)
    quantized = quantize(model, STATIC_INT8, ranges=ranges, sample=calibration[0])
    return run(Interpreter(model_content=quantized, num_threads=1), pictures)


def run(interpreter: Any, pictures: list[np.ndarray]) -> np.ndarray:
    interpreter.allocate_tensors()
    (source,), (target,) = interpreter.get_input_details(), interpreter.get_output_details()
    rows = []
    for picture in pictures:
        interpreter.set_tensor(source["index"], to_input(picture))
        interpreter.invoke()
        rows.append(interpreter.get_tensor(target["index"]).copy())
    return np.concatenate(rows)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuned:
    """A network that int8 hurts, before and after fine-tuning.

    Attributes:
        before: As it was trained.
        after: As it was fine-tuned.
        model_before: `before` as float32 TFLite.
        model_after: `after` as float32 TFLite.
        calibration: The pictures it was fine-tuned on.
    """

    before: Any
    after: Any
    model_before: bytes
    model_after: bytes
    calibration: list[np.ndarray]


@pytest.fixture(scope="module")
def tuned() -> Tuned:
    calibration = drawn(1, NUM_TRAINING)
    net = Uneven(unevenness=2.5)
    batch = torch.from_numpy(np.stack(calibration)).permute(0, 3, 1, 2).float()
    truths = torch.arange(NUM_TRAINING) % len(LABELS)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-2)
    with one_thread():
        for _ in range(60):
            optimiser.zero_grad()
            nn.functional.cross_entropy(net(batch), truths).backward()
            optimiser.step()
    net.make_uneven()
    before = export_network(net.eval(), height=SPEC.height, width=SPEC.width)
    after = fine_tune(before, calibration, QatRecipe(epochs=8))
    return Tuned(
        before=before,
        after=after,
        model_before=to_tflite(before),
        model_after=to_tflite(after),
        calibration=calibration,
    )


@pytest.mark.slow
def test_fine_tuning_makes_static_int8_clearly_better_on_pictures_it_never_saw(tuned):
    unseen = drawn(2, 120)
    wanted = answers(tuned.before.graph, unseen)["logits"]
    before = output_error("logits", wanted, int8_answers(tuned.model_before, tuned.calibration, unseen))
    after = output_error("logits", wanted, int8_answers(tuned.model_after, tuned.calibration, unseen))
    assert before.sqnr_db < 20.0
    assert after.sqnr_db > before.sqnr_db + 3.0, (before, after)
    assert after.mean_abs < 0.7 * before.mean_abs, (before, after)


@pytest.mark.slow
def test_the_simulation_rounds_as_tflite_does(tuned):
    graph, pictures = tuned.before.graph, tuned.calibration
    wanted = answers(graph, pictures)["logits"]
    real = output_error("logits", wanted, int8_answers(tuned.model_before, pictures, pictures))
    ranges = observe_nodes(graph, pictures, CalibrationRange.EXACT)
    state = dict(graph.state_dict())
    played = answers(
        graph,
        pictures,
        weights={layer.weight: fake_quantize_weights(state[layer.weight], layer.axis) for layer in int8_layers(graph)},
        after=lambda node, values: fake_quantize(values, ranges[node.name]) if node.name in ranges else values,
    )["logits"]
    assert output_error("logits", wanted, played).sqnr_db == pytest.approx(real.sqnr_db, abs=0.5)


@pytest.mark.slow
def test_layers_keep_their_names_in_tflite(tuned):
    from ai_edge_litert.interpreter import Interpreter

    def names(model: bytes) -> list[str]:
        return [str(detail["name"]) for detail in Interpreter(model_content=model).get_tensor_details()]

    assert names(tuned.model_after) == names(tuned.model_before)


def test_the_same_call_gives_the_same_bits_and_leaves_its_argument_alone():
    exported = heads()
    before = copy.deepcopy(exported.graph.state_dict())
    first, second = (fine_tune(exported, small(), RECIPE).graph.state_dict() for _ in range(2))
    assert all(torch.equal(first[name], second[name]) for name in before)
    assert all(torch.equal(before[name], tensor) for name, tensor in exported.graph.state_dict().items())
    assert any(not torch.equal(before[name], first[name]) for name in before)


def test_another_seed_is_another_order():
    first, second = (fine_tune(heads(), small(), replace(RECIPE, seed=seed)).graph.state_dict() for seed in (0, 1))
    assert any(not torch.equal(first[name], second[name]) for name in first)


def test_only_weights_change_and_decoding_stays_as_it_was():
    exported = heads()
    tuned = fine_tune(exported, small(), RECIPE)
    assert str(tuned.graph.graph) == str(exported.graph.graph)
    for old_node, new_node in zip(exported.graph.graph.nodes, tuned.graph.graph.nodes, strict=True):
        assert classes_of(new_node) == classes_of(old_node)
    assert (tuned.height, tuned.width, tuned.num_folded) == (exported.height, exported.width, exported.num_folded)
    old, new = exported.graph.state_dict(), tuned.graph.state_dict()
    changed = {name for name in old if not torch.equal(old[name], new[name])}
    trained = {attribute for layer in int8_layers(tuned.graph) for attribute in (layer.weight, layer.bias)}
    assert changed == trained
    assert any("decode" in name for name in old)
    assert not any("decode" in name for name in changed)


def test_the_program_says_what_the_graph_says():
    tuned = fine_tune(heads(), small(), RECIPE)
    picture = torch.from_numpy(to_input(small(1)[0]))
    with torch.no_grad():
        from_graph, from_program = tuned.graph(image=picture), tuned.program.module()(image=picture)
    assert sorted(from_graph) == ["boxes", "scores"]
    assert all(torch.equal(from_graph[name], from_program[name]) for name in from_graph)


def test_every_pass_is_told_and_the_best_is_kept():
    ticks: list[int] = []
    exported = heads()
    wild = replace(RECIPE, epochs=3, learning_rate=60.0)
    tuned = fine_tune(exported, small(), wild, tick=lambda: ticks.append(1))
    assert len(ticks) == 3
    old, new = exported.graph.state_dict(), tuned.graph.state_dict()
    assert all(torch.equal(old[name], new[name]) for name in old)


def test_what_is_rounded_and_on_whose_scale():
    graph = heads().graph
    rounded = {
        node.name: source if isinstance(source, Range) else source.name for node, source in rounded_nodes(graph).items()
    }
    border = {name for name in rounded if name.startswith("cat")}
    assert {name: rounded[name] for name in rounded if name not in border} == {
        "image": Range(low=0.0, high=255.0),
        "hardtanh": "hardtanh",  # not the convolution before it: TFLite computes both at once
        "avg_pool2d": "hardtanh",
        "relu": "relu",
        "conv_transpose2d": "conv_transpose2d",
        "conv2d_2": "conv2d_2",
        "sigmoid": Range(low=0.0, high=255 / 256),
    }
    assert all(rounded[name] == Range(low=0.0, high=255.0) for name in border)
    assert [layer.axis for layer in int8_layers(graph)] == [0, 0, 1, 0]


@pytest.mark.parametrize("found", [Range(low=-1.0, high=3.0), Range(low=0.5, high=2.0), Range(low=-2.0, high=-1.0)])
def test_rounding_keeps_zero_has_256_values_and_passes_gradients_within_the_range(found):
    values = torch.linspace(-4, 4, 5001).requires_grad_()
    rounded = fake_quantize(values, found)
    rounded.sum().backward()
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    step = (high - low) / 255
    inside = (values >= low - step / 2) & (values <= high + step / 2)
    assert len(rounded.detach().unique()) == 256
    assert 0.0 in rounded
    assert (
        float((rounded - values).detach()[(values > low + step) & (values < high - step)].abs().max()) <= 0.501 * step
    )
    assert bool((values.grad[~inside] == 0).all())
    assert bool((values.grad[(values > low + step) & (values < high - step)] == 1).all())


def test_weights_are_rounded_for_each_output_channel():
    weights = torch.tensor([[100.0, 33.3], [1.0, 0.333], [0.0, 0.0]])
    found = fake_quantize_weights(weights, 0)
    assert torch.allclose(
        found / weights.amax(1, keepdim=True).clamp_min(1) * 127, torch.tensor([[127.0, 42], [127, 42], [0, 0]])
    )


def unweighted() -> Any:
    return export_network(nn.Sequential(nn.AvgPool2d(16), nn.Flatten()).eval(), height=16, width=16)


def damaged() -> Any:
    exported = heads()
    exported.graph.state_dict()["network.score.weight"][0] = float("nan")
    return exported


@pytest.mark.parametrize(
    ("exported", "pictures", "recipe", "error", "words"),
    [
        (heads, [], RECIPE, UsageError, "needs at least one picture"),
        (heads, drawn(1, 1), RECIPE, UsageError, r"shape \(16, 16, 3\), found \(32, 32, 3\)"),
        (unweighted, small(2), RECIPE, EdgeloopError, "found no convolution"),
        (heads, small(2), replace(RECIPE, learning_rate=1e30), EdgeloopError, "diverged in epoch 1 of 1"),
        (damaged, small(2), RECIPE, EdgeloopError, "not finite numbers"),
    ],
    ids=["no pictures", "other size", "no layers", "diverged", "damaged weights"],
)
def test_what_cannot_be_tuned_is_refused_in_one_line(exported, pictures, recipe, error, words):
    with pytest.raises(error, match=words) as caught:
        fine_tune(exported(), pictures, recipe)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change", [{"epochs": 0}, {"batch_size": 0}, {"learning_rate": 0.0}, {"learning_rate": float("nan")}]
)
def test_a_recipe_that_trains_nothing_is_refused(change):
    with pytest.raises(ValueError, match="above 0"):
        replace(RECIPE, **change)

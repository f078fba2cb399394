"""Fine-tunes a network so that it survives static int8, where no post-training recipe is good enough.

The float network teaches: its own outputs over the calibration pictures are what the rounded network shall say, so no
labels are needed and every kind of head can be tuned (Hinton et al., 2015; Jacob et al., 2018). Ranges are neither
learned nor frozen: they are measured anew before each pass, because the conversion will measure them too, and a learned
range would be lost on the way. What comes out is a float network like the one that went in, with other weights.
"""

from __future__ import annotations

import copy
import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import torch
from torch.func import vmap

from converters.contract import INPUT_NAME
from converters.parity import one_thread
from converters.qat_layers import (
    GraphWalker,
    Layer,
    fake_quantize,
    fake_quantize_weights,
    int8_layers,
    observe_nodes,
    weight_steps,
)
from converters.types import CalibrationRange
from edge.errors import EdgeloopError, UsageError
from edge.preprocess import to_input

if TYPE_CHECKING:
    from torch.fx import GraphModule, Node

    from converters.export import ExportedNetwork
    from converters.ranges import Range
    from edge.types import ByteArray

_LEAST_POWER = 1e-12
# Gradients are shares of a whole: far below what the default of 1e-8 is made for.
_ADAM_EPSILON = 1e-15


@dataclass(frozen=True, slots=True, kw_only=True)
class QatRecipe:
    """How a network is fine-tuned for static int8.

    Attributes:
        name: For the manifest and the report.
        epochs: Passes over the pictures, at least 1.
        learning_rate: Steps of an int8 weight that one update may move it, at first; falls to 0 along a cosine.
        batch_size: Pictures of one update, at least 1; all their activations are in memory at once.
        seed: Of the order of the pictures.
        ranges: How activation ranges are taken; as in the recipe that will quantize.
    """

    name: str = "qat"
    epochs: int = 10
    learning_rate: float = 0.01
    batch_size: int = 16
    seed: int = 0
    ranges: CalibrationRange = CalibrationRange.EXACT

    def __post_init__(self) -> None:
        """Refuses what would not train."""
        if self.epochs < 1 or self.batch_size < 1 or not 0 < self.learning_rate < math.inf:
            raise ValueError(f"recipe {self.name!r} needs epochs, batch_size and learning_rate above 0")


@dataclass(frozen=True, slots=True, kw_only=True)
class _Knob:
    """Weights that are trained, counted in steps from where they began: one rate then suits every layer.

    Attributes:
        start: The tensor as it was.
        unit: A step; broadcasts over `start`.
        moved: How many steps it has moved, what is trained; the shape of `start`.
        axis: Of the output channels of weights; None for a bias, which int8 does not round.
    """

    start: torch.Tensor
    unit: torch.Tensor
    moved: torch.Tensor
    axis: int | None

    def value(self) -> torch.Tensor:
        """The tensor as it is now, differentiable in `moved`."""
        return self.start + self.unit * self.moved

    def rounded(self) -> torch.Tensor:
        """The tensor as int8 holds it."""
        return self.value() if self.axis is None else fake_quantize_weights(self.value(), self.axis)


def fine_tune(
    exported: ExportedNetwork,
    pictures: Sequence[ByteArray],
    recipe: QatRecipe,
    *,
    tick: Callable[[], None] = lambda: None,
) -> ExportedNetwork:
    """Trains the weights of convolutions and linear layers to answer in int8 as they do in float.

    The same arguments give the same bits. What is returned never does worse in the simulation than what came in: the
    weights of the best pass are taken, or the old ones.

    Args:
        exported: The network; stays as it is.
        pictures: uint8 (height, width, 3), as `edge.preprocess` makes them; those of the calibration.
        recipe: How to train.
        tick: Called after each of the recipe's epochs.

    Returns:
        The same graph with other weights.

    Raises:
        UsageError: There are no pictures, or not of the network's size.
        EdgeloopError: The network has no layer to train, or training diverged.
    """
    _check_pictures(exported, pictures)
    graph = copy.deepcopy(exported.graph).requires_grad_(False)
    layers = int8_layers(graph)
    if not layers:
        raise EdgeloopError(
            "fine-tuning found no convolution and no linear layer that int8 rounds",
            hint="convert this network with a post-training recipe",
        )
    with one_thread():
        weights = _Trainer(exported.graph, graph, layers, pictures, recipe).train(tick)
        _write_weights(graph, weights)
        sample = {INPUT_NAME: torch.zeros(1, exported.height, exported.width, 3)}
        with torch.no_grad():
            program = torch.export.export(graph, (), sample)
    return replace(exported, graph=graph, program=program)


def _check_pictures(exported: ExportedNetwork, pictures: Sequence[ByteArray]) -> None:
    if not pictures:
        raise UsageError("fine-tuning needs at least one picture", hint="give the calibration pictures, about 200")
    wanted = (exported.height, exported.width, 3)
    for picture in pictures:
        if picture.shape != wanted:
            raise UsageError(f"fine-tuning needs pictures of shape {wanted}, found {picture.shape}")


class _Trainer:
    """Holds what training changes: the student's weights, the ranges and the optimiser.

    Args:
        teacher: The float graph whose outputs are the truth.
        student: A copy whose weights follow the training.
        layers: Of `student`.
        pictures: uint8 (height, width, 3).
        recipe: How to train.
    """

    def __init__(
        self,
        teacher: GraphModule,
        student: GraphModule,
        layers: Sequence[Layer],
        pictures: Sequence[ByteArray],
        recipe: QatRecipe,
    ) -> None:
        self._teacher, self._student = GraphWalker(teacher), student
        self._pictures, self._recipe = pictures, recipe
        self._ranges = observe_nodes(student, pictures, recipe.ranges)
        self._knobs = _knobs(student, layers, self._ranges)
        self._power = self._signal()
        self._order = torch.Generator().manual_seed(recipe.seed)
        self._optimiser = torch.optim.Adam(
            [knob.moved for knob in self._knobs.values()], lr=recipe.learning_rate, eps=_ADAM_EPSILON
        )
        updates = recipe.epochs * math.ceil(len(pictures) / recipe.batch_size)
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(self._optimiser, updates)

    def train(self, tick: Callable[[], None]) -> dict[str, torch.Tensor]:
        """Returns the best weights that were met, by attribute of the graph."""
        best, least = self._weights(), self._noise()
        for epoch in range(1, self._recipe.epochs + 1):
            self._run_epoch()
            weights = self._weights()
            try:
                noise = self._follow(weights)
            except EdgeloopError as cause:
                raise EdgeloopError(
                    f"fine-tuning diverged in epoch {epoch} of {self._recipe.epochs}: {cause.message}",
                    hint="lower the learning rate",
                ) from cause
            if noise < least:
                best, least = weights, noise
            tick()
        return best

    def _follow(self, weights: Mapping[str, torch.Tensor]) -> float:
        """Gives the student other weights, measures its ranges anew, and says how noisy it is then."""
        _write_weights(self._student, weights)
        self._ranges = observe_nodes(self._student, self._pictures, self._recipe.ranges)
        return self._noise()

    def _run_epoch(self) -> None:
        order = torch.randperm(len(self._pictures), generator=self._order).tolist()
        for batch in self._batches(order):
            self._optimiser.zero_grad()
            torch.autograd.backward(self._error(batch))
            self._optimiser.step()
            self._schedule.step()

    def _noise(self) -> float:
        """Noise to signal over all pictures, summed over the outputs.

        Raises:
            EdgeloopError: It is not a finite number.
        """
        with torch.no_grad():
            noise = sum(float(self._error(batch)) for batch in self._batches(range(len(self._pictures))))
        if not math.isfinite(noise):
            raise EdgeloopError("the network's answers are not finite numbers", hint="the weights are damaged")
        return noise

    def _error(self, batch: torch.Tensor) -> torch.Tensor:
        """Squared distance from the teacher as a share of the teacher's power over all pictures.

        Args:
            batch: float32 (pictures, height, width, 3).
        """
        ranges, weights = self._ranges, {name: knob.rounded() for name, knob in self._knobs.items()}

        def as_int8(node: Node, values: torch.Tensor) -> torch.Tensor:
            return fake_quantize(values, ranges[node.name]) if node.name in ranges else values

        with torch.no_grad():
            wanted = _answers(self._teacher, batch)
        found = _answers(GraphWalker(self._student, weights=weights, after=as_int8), batch)
        return torch.stack([(found[name] - wanted[name]).square().sum() / self._power[name] for name in wanted]).sum()

    def _signal(self) -> dict[str, float]:
        power: dict[str, float] = {}
        with torch.no_grad():
            for batch in self._batches(range(len(self._pictures))):
                for name, values in _answers(self._teacher, batch).items():
                    power[name] = power.get(name, _LEAST_POWER) + float(values.double().square().sum())
        return power

    def _weights(self) -> dict[str, torch.Tensor]:
        return {name: knob.value().detach() for name, knob in self._knobs.items()}

    def _batches(self, order: Sequence[int]) -> Iterator[torch.Tensor]:
        for start in range(0, len(order), self._recipe.batch_size):
            chosen = [to_input(self._pictures[index])[0] for index in order[start : start + self._recipe.batch_size]]
            yield torch.stack([torch.from_numpy(picture) for picture in chosen])


def _answers(walker: GraphWalker, batch: torch.Tensor) -> dict[str, torch.Tensor]:
    """The float outputs for several pictures of a graph that takes one at a time, (pictures, 1, …) each."""
    answers: Mapping[str, torch.Tensor] = vmap(lambda picture: walker.run(picture[None]))(batch)
    return {name: values for name, values in answers.items() if values.is_floating_point()}


def _knobs(graph: GraphModule, layers: Sequence[Layer], ranges: Mapping[str, Range]) -> dict[str, _Knob]:
    knobs = {}
    for layer in layers:
        weights = _tensor(graph, layer.weight)
        knobs[layer.weight] = _knob(weights, weight_steps(weights, layer.axis), layer.axis)
        if layer.bias is not None:
            knobs[layer.bias] = _knob(_tensor(graph, layer.bias), torch.tensor(_output_step(layer.node, ranges)), None)
    return knobs


def _knob(start: torch.Tensor, unit: torch.Tensor, axis: int | None) -> _Knob:
    return _Knob(start=start, unit=unit, moved=torch.zeros_like(start).requires_grad_(), axis=axis)


def _output_step(node: Node, ranges: Mapping[str, Range]) -> float:
    """The int8 step of a layer's output, or of the rectifier's that it is computed with."""
    found = ranges.get(node.name) or ranges[next(iter(node.users)).name]
    return (max(found.high, 0.0) - min(found.low, 0.0)) / 255


def _tensor(graph: GraphModule, name: str) -> torch.Tensor:
    tensor: torch.Tensor = operator.attrgetter(name)(graph)
    return tensor.detach().clone()


def _write_weights(graph: GraphModule, weights: Mapping[str, torch.Tensor]) -> None:
    with torch.no_grad():
        for name, tensor in weights.items():
            operator.attrgetter(name)(graph).copy_(tensor)

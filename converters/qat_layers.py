"""What static int8 does to a network, played on its float graph.

Values go through the graph as the int8 model would hold them: weights rounded for each output channel, symmetrically;
activations for each tensor, asymmetrically, in the range that calibration would find (Jacob et al., 2018). Rounding has
no useful derivative, so gradients pass through it as if it were not there, and stop at the ends of the range.

Which operations round, and on whose scale, follows ai-edge-quantizer and TFLite's kernels. Operations that TFLite
spells out (layer normalisation, SiLU) are rounded once, where the int8 model rounds each part.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch.fx import GraphModule, Interpreter, Node

from converters.calibrate import PICTURE_RANGE, watched_ranges
from converters.contract import FLOAT_SCOPE
from converters.ranges import Range
from converters.scopes import classes_of
from edge.preprocess import to_input

if TYPE_CHECKING:
    from converters.types import CalibrationRange
    from edge.types import ByteArray, FloatArray

_ATEN = torch.ops.aten
_LEAST_STEP = 1e-9

# The weights' axis of output channels, by operation.
_LAYERS = {
    _ATEN.conv1d.default: 0,
    _ATEN.conv1d.padding: 0,
    _ATEN.conv2d.default: 0,
    _ATEN.conv2d.padding: 0,
    _ATEN.linear.default: 0,
    _ATEN.conv_transpose2d.input: 1,
}
# TFLite computes these together with a rectifier that follows: what lies between is never an int8 tensor.
_FUSING = (*_LAYERS, _ATEN.add.Tensor, _ATEN.add_.Tensor, _ATEN.sub.Tensor, _ATEN.mul.Tensor)
_RECTIFIERS = (_ATEN.relu.default, _ATEN.relu_.default, _ATEN.relu6.default, _ATEN.relu6_.default)
_CLAMPS = (_ATEN.hardtanh.default, _ATEN.hardtanh_.default, _ATEN.clamp.default, _ATEN.clamp_.default)
_FUSED_CLAMPS = ((0, 6), (-1, 1))
# Kernels of these have one scale for all networks.
_FIXED = {
    _ATEN.sigmoid.default: Range(low=0.0, high=255 / 256),
    _ATEN.softmax.int: Range(low=0.0, high=255 / 256),
    _ATEN.tanh.default: Range(low=-1.0, high=127 / 128),
}
# These move, copy or drop values: what was rounded stays rounded.
_MOVING = (
    _ATEN.permute.default,
    _ATEN.transpose.int,
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN.flatten.using_ints,
    _ATEN.unflatten.int,
    _ATEN.squeeze.dim,
    _ATEN.squeeze.dims,
    _ATEN.unsqueeze.default,
    _ATEN.expand.default,
    _ATEN.slice.Tensor,
    _ATEN.select.int,
    _ATEN.split.Tensor,
    _ATEN.split_with_sizes.default,
    _ATEN.chunk.default,
    operator.getitem,
    _ATEN.contiguous.default,
    _ATEN.clone.default,
    _ATEN.detach.default,
    _ATEN.dropout.default,
    _ATEN.max_pool2d.default,
    _ATEN.constant_pad_nd.default,
    _ATEN.pad.default,
    _ATEN.pixel_shuffle.default,
    _ATEN.upsample_nearest2d.default,
    _ATEN.upsample_nearest2d.vec,
)
# These make new values on the scale of what they read.
_SAME_SCALE = (
    _ATEN.avg_pool2d.default,
    _ATEN.adaptive_avg_pool2d.default,
    _ATEN.upsample_bilinear2d.default,
    _ATEN.upsample_bilinear2d.vec,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Layer:
    """An operation with weights of its own that int8 rounds.

    Attributes:
        node: The operation.
        weight: Attribute of the graph that holds its weights.
        bias: Attribute of the graph that holds its bias; None where it has none.
        axis: The weights' axis of output channels.
    """

    node: Node
    weight: str
    bias: str | None
    axis: int


def int8_layers(graph: GraphModule) -> tuple[Layer, ...]:
    """The convolutions and linear layers that static int8 rounds; those of a decode module stay float.

    Args:
        graph: As in `ExportedNetwork`.

    Returns:
        In the order of computation. Layers that share weights are all named.
    """
    found = [layer for node in graph.graph.nodes if (layer := _layer(node)) is not None]
    kept_float = {layer.weight for layer in found if stays_float(layer.node)}
    return tuple(layer for layer in found if layer.weight not in kept_float)


def stays_float(node: Node) -> bool:
    """Whether an operation belongs to a decode module, which no int8 recipe touches."""
    return FLOAT_SCOPE in classes_of(node)


def rounded_nodes(graph: GraphModule) -> dict[Node, Node | Range]:
    """Where static int8 rounds activations.

    Args:
        graph: As in `ExportedNetwork`.

    Returns:
        Operation to the operation whose range counts, mostly itself, or to a range that is the same for any picture.
    """
    found: dict[Node, Node | Range] = {}
    for node in graph.graph.nodes:
        if node.op == "placeholder" or (node.target is _ATEN.cat.default and _holds_picture(node)):
            found[node] = PICTURE_RANGE
        elif node.op == "call_function" and not (node.target in _MOVING or stays_float(node) or _is_fused(node)):
            found[node] = _FIXED.get(node.target) or found.get(source := _scale_source(node), source)
    return found


def observe_nodes(graph: GraphModule, pictures: Sequence[ByteArray], kind: CalibrationRange) -> dict[str, Range]:
    """Finds the range of every activation that static int8 rounds, as calibration will, on the float graph.

    Args:
        graph: As in `ExportedNetwork`.
        pictures: uint8 (height, width, 3); at least one.
        kind: How ranges are taken.

    Returns:
        Name of the operation to range.

    Raises:
        EdgeloopError: A value is not a finite number; the operation is named.
    """
    rounded = rounded_nodes(graph)
    watched = {source for source in rounded.values() if isinstance(source, Node)}
    known = watched_ranges(_watch(graph, pictures, watched), len(pictures), (kind,))[kind]
    found = {node.name: _range_of(source, known) for node, source in rounded.items()}
    return {name: range_ for name, range_ in found.items() if range_ is not None}


def _range_of(source: Node | Range, known: Mapping[str, Range]) -> Range | None:
    """None for an operation that gives no floats, which int8 does not round."""
    return source if isinstance(source, Range) else known.get(source.name)


def _watch(graph: GraphModule, pictures: Sequence[ByteArray], nodes: Set[Node]) -> Iterator[dict[str, FloatArray]]:
    for picture in pictures:
        seen: dict[str, FloatArray] = {}

        def see(node: Node, values: torch.Tensor, seen: dict[str, FloatArray] = seen) -> torch.Tensor:
            if node in nodes:
                seen[node.name] = values.numpy()
            return values

        with torch.no_grad():
            GraphWalker(graph, after=see).run(torch.from_numpy(to_input(picture)))
        yield seen


class GraphWalker(Interpreter):
    """Runs a graph with other weights, and with something done to what its operations compute.

    Args:
        graph: As in `ExportedNetwork`.
        weights: Tensors in place of those attributes of the graph.
        after: Takes an operation and the float tensor it computed; returns what is passed on.
    """

    def __init__(
        self,
        graph: GraphModule,
        *,
        weights: Mapping[str, torch.Tensor] | None = None,
        after: Callable[[Node, torch.Tensor], torch.Tensor] | None = None,
    ) -> None:
        super().__init__(graph)
        self._weights = weights or {}
        self._after = after or (lambda _, values: values)

    def run_node(self, n: Node) -> Any:  # noqa: ANN401  (whatever the operation gives)
        """Runs one operation."""
        if n.op == "get_attr" and str(n.target) in self._weights:
            return self._weights[str(n.target)]
        answer = super().run_node(n)
        if n.op == "call_function" and isinstance(answer, torch.Tensor) and answer.is_floating_point():
            return self._after(n, answer)
        return answer


def fake_quantize(values: torch.Tensor, found: Range) -> torch.Tensor:
    """Rounds to the 256 values of an int8 tensor, zero among them; differentiable within the range.

    Args:
        values: Float, any shape.
        found: What the tensor has to hold.
    """
    low, high = min(found.low, 0.0), max(found.high, 0.0)
    step = max((high - low) / 255, _LEAST_STEP)
    lowest = round(low / step)
    clipped = values.clamp(lowest * step, (lowest + 255) * step)
    return clipped + ((clipped / step).round() * step - clipped).detach()


def fake_quantize_weights(weights: torch.Tensor, axis: int) -> torch.Tensor:
    """Rounds to the 255 values of symmetric int8, channel by channel; differentiable.

    Args:
        weights: Float, any shape.
        axis: Of the output channels.
    """
    step = weight_steps(weights, axis)
    return weights + ((weights / step).round() * step - weights).detach()


def weight_steps(weights: torch.Tensor, axis: int) -> torch.Tensor:
    """Distance between neighbouring int8 values, for each output channel; broadcasts over `weights`."""
    others = [other for other in range(weights.ndim) if other != axis]
    return (weights.detach().abs().amax(dim=others, keepdim=True) / 127).clamp_min(_LEAST_STEP)


def _layer(node: Node) -> Layer | None:
    if node.op != "call_function" or node.target not in _LAYERS:
        return None
    weight, bias = node.args[1], node.args[2] if len(node.args) > 2 else None
    if not isinstance(weight, Node) or weight.op != "get_attr":
        return None
    has_bias = isinstance(bias, Node) and bias.op == "get_attr"
    return Layer(
        node=node,
        weight=str(weight.target),
        bias=str(bias.target) if isinstance(bias, Node) and has_bias else None,
        axis=_LAYERS[node.target],
    )


def _is_fused(node: Node) -> bool:
    user = next(iter(node.users)) if len(node.users) == 1 else None
    if user is None or node.target not in _FUSING or stays_float(user):
        return False
    return user.target in _RECTIFIERS or (user.target in _CLAMPS and tuple(user.args[1:3]) in _FUSED_CLAMPS)


def _holds_picture(node: Node) -> bool:
    """Whether a node is the picture itself, moved or with a border around it."""
    while node.op == "call_function" and node.target in (*_MOVING, _ATEN.cat.default):
        sources = [source for source in node.all_input_nodes if source.op != "get_attr"]
        if len(sources) != 1:
            return False
        node = sources[0]
    return node.op == "placeholder"


def _scale_source(node: Node) -> Node:
    """The operation whose scale a node has."""
    source = node
    while source.target in (*_MOVING, *_SAME_SCALE) and isinstance(source.args[0], Node):
        source = source.args[0]
    return source

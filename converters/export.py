"""From a trained network to the graph that every format is written from.

The graph takes what the device has (float32 NHWC, RGB, 0 to 255) and answers with named raw outputs. Normalisations
are folded into the convolutions before any format is written, so that all formats share the same weights and the
writers have half the graph to work on.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule, Node

from converters.contract import FLOAT_SCOPE, INPUT_NAME, OUTPUT_NAME
from converters.dead_channels import lift_dead_channels
from converters.fold import fold_batch_norms, fold_normalisation
from converters.pools import pad_pools_with_zero
from converters.quiet import quiet_libraries
from converters.scopes import classes_of, layer_in_flight, shorten_scopes
from edge.errors import EdgeloopError, UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedNetwork:
    """A network as a flat graph of tensor operations.

    Attributes:
        graph: Takes `image`, float32 (1, height, width, 3) in 0 to 255; returns raw outputs by name.
        program: The same, as torch.export states it.
        height: Input height in pixels.
        width: Input width in pixels.
        outputs: Shape of each output, batch of 1 first, by name.
        num_folded: Batch normalisations that became part of a convolution.
        normalisation_folded: Whether the input's mean and deviation became part of the first convolution.
    """

    graph: GraphModule
    program: ExportedProgram
    height: int
    width: int
    outputs: Mapping[str, tuple[int, ...]]
    num_folded: int
    normalisation_folded: bool


class Deployable(torch.nn.Module):
    """The model I/O contract around a network.

    Args:
        network: Takes float32 NCHW in 0 to 255, normalises inside, returns logits or a dict of raw outputs.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 NHWC in 0 to 255 to raw outputs by name."""
        return as_outputs(self.network(image.permute(0, 3, 1, 2)))


def as_outputs(answer: torch.Tensor | dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """What a network returned, by name: one tensor alone is the logits."""
    return {OUTPUT_NAME: answer} if isinstance(answer, torch.Tensor) else dict(answer)


def export_network(network: torch.nn.Module, *, height: int, width: int) -> ExportedNetwork:
    """Exports `network` under the model I/O contract.

    Args:
        network: Takes float32 NCHW in 0 to 255, normalises inside, returns logits (1, classes) or a dict of outputs.
        height: Input height in pixels.
        width: Input width in pixels.

    Raises:
        EdgeloopError: torch cannot trace the network at this size; names the layer.
    """
    module = Deployable(network).eval()
    outputs = describe_outputs(network, height=height, width=width)
    sample = {INPUT_NAME: torch.zeros(1, height, width, 3)}
    try:
        with torch.no_grad(), quiet_libraries():  # torch prints the graph that it cannot trace
            graph = torch.export.export(module, (), sample).module()
            _drop_guards(graph)
            num_folded = fold_batch_norms(graph)
            normalisation_folded = fold_normalisation(graph)
            lift_dead_channels(graph)
            pad_pools_with_zero(graph)
            shorten_scopes(graph)
            program = torch.export.export(graph, (), sample)
    except Exception as cause:  # torch.export raises whatever the network's own code raises
        layer = layer_in_flight(cause, network)
        where = f" in layer {layer!r}" if layer else ""
        raise EdgeloopError(
            f"the network cannot be exported at {width}x{height}{where}: {_first_line(cause)}",
            hint="its shapes must follow from the fixed input size alone, not from what is in the picture",
        ) from cause
    return ExportedNetwork(
        graph=graph,
        program=program,
        height=height,
        width=width,
        outputs=outputs,
        num_folded=num_folded,
        normalisation_folded=normalisation_folded,
    )


def float_layers(exported: ExportedNetwork) -> tuple[str, ...]:
    """Patterns of the layers that stay float whatever the recipe: those of the network's `FloatDecode` modules.

    An output that such a module makes is named after the output in TFLite, not after the module.

    Returns:
        Regular expressions for tensor names of TFLite and node names of ONNX; empty where there is no such module.
    """
    made = next(iter(exported.graph.graph.find_nodes(op="output"))).args[0]
    patterns = [
        rf"serving_default_{re.escape(name)}_output"
        for name, node in zip(exported.outputs, _output_nodes(made), strict=True)
        if FLOAT_SCOPE in classes_of(node)
    ]
    decoding = any(FLOAT_SCOPE in classes_of(node) for node in exported.graph.graph.nodes)
    return (FLOAT_SCOPE, *patterns) if decoding else ()


def _output_nodes(made: object) -> tuple[Node, ...]:
    """What the graph returns: its outputs in their order, however it wraps them."""
    if isinstance(made, Node):
        return (made,)
    items = made.values() if isinstance(made, dict) else made if isinstance(made, list | tuple) else ()
    return tuple(node for item in items for node in _output_nodes(item))


def describe_outputs(network: torch.nn.Module, *, height: int, width: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of what the network says about one picture.

    Raises:
        EdgeloopError: It cannot be run at this size.
        UsageError: Its answer is neither logits nor a dict of tensors with a batch of 1 in front.
    """
    try:
        with torch.no_grad():
            answer = network(torch.zeros(1, 3, height, width))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as cause:
        raise EdgeloopError(f"the network cannot be run at {width}x{height}: {_first_line(cause)}") from cause
    if isinstance(answer, torch.Tensor) and (answer.ndim != 2 or answer.shape[0] != 1):
        raise UsageError(f"the network must return logits of shape (1, classes), found {list(answer.shape)}")
    if not isinstance(answer, torch.Tensor) and not (isinstance(answer, dict) and answer):
        raise UsageError(f"the network must return logits or tensors by name, found {type(answer).__name__}")
    shapes = {}
    for name, output in as_outputs(answer).items():
        if not isinstance(output, torch.Tensor) or output.ndim < 2 or output.shape[0] != 1:
            found = list(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
            raise UsageError(
                f"the network's output {name!r} must be a tensor with a batch of 1 in front, found {found}"
            )
        shapes[str(name)] = tuple(int(size) for size in output.shape)
    return shapes


def require_finite(network: torch.nn.Module) -> None:
    """Refuses weights that are not numbers.

    Raises:
        EdgeloopError: Names the first tensor with NaN or infinity in it.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            bad = int((~torch.isfinite(tensor)).sum())
            raise EdgeloopError(
                f"weights of {name!r} hold {bad} values that are not finite numbers",
                hint="the training diverged: lower the learning rate and train again",
            )


def require_trained(network: torch.nn.Module) -> None:
    """Refuses a network with branches that training never opened.

    Residual networks are often started with the scale of each block's last batch normalisation at zero (Goyal et al.,
    2017). Until that is trained such blocks are dead: converters fold them away, and sizes and times say nothing.

    Raises:
        EdgeloopError: Names the first normalisation whose scales are all zero.
    """
    for name, module in network.named_modules():
        weight = getattr(module, "weight", None)
        is_norm = isinstance(module, torch.nn.modules.batchnorm._BatchNorm)
        if is_norm and isinstance(weight, torch.Tensor) and not bool(weight.any()):
            raise EdgeloopError(
                f"layer {name!r} multiplies everything by zero: the network was never trained",
                hint="convert trained weights",
            )


def _drop_guards(graph: GraphModule) -> None:
    """Removes torch's run-time check of the input's shape: it is no part of the model, and runtimes check it too."""
    for node in [node for node in graph.graph.nodes if node.op == "call_module" and not node.users]:
        graph.graph.erase_node(node)
    graph.training = False


def _first_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__

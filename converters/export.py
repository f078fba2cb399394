"""From a trained network to the graph that every format is written from.

The graph takes what the device has (float32 NHWC, RGB, 0 to 255) and answers with named raw outputs. Normalisations
are folded into the convolutions before any format is written, so that all formats share the same weights and the
writers have half the graph to work on.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch.export import ExportedProgram
from torch.fx import GraphModule

from converters.fold import fold_batch_norms, fold_normalisation
from converters.pools import pad_pools_with_zero
from edge.errors import EdgeloopError, UsageError

INPUT_NAME = "image"
OUTPUT_NAME = "logits"


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportedNetwork:
    """A network as a flat graph of tensor operations.

    Attributes:
        graph: Takes `image`, float32 (1, height, width, 3) in 0 to 255; returns `{"logits": (1, classes)}`.
        program: The same, as torch.export states it.
        height: Input height in pixels.
        width: Input width in pixels.
        num_folded: Batch normalisations that became part of a convolution.
        normalisation_folded: Whether the input's mean and deviation became part of the first convolution.
    """

    graph: GraphModule
    program: ExportedProgram
    height: int
    width: int
    num_folded: int
    normalisation_folded: bool


class Deployable(torch.nn.Module):
    """The model I/O contract around a network.

    Args:
        network: Takes float32 NCHW in 0 to 255, normalises inside, returns logits.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 NHWC in 0 to 255 to raw outputs by name."""
        return {OUTPUT_NAME: self.network(image.permute(0, 3, 1, 2))}


def export_network(network: torch.nn.Module, *, height: int, width: int) -> ExportedNetwork:
    """Exports `network` under the model I/O contract.

    Args:
        network: Takes float32 NCHW in 0 to 255, normalises inside, returns logits (1, classes).
        height: Input height in pixels.
        width: Input width in pixels.

    Raises:
        EdgeloopError: torch cannot trace the network at this size.
    """
    module = Deployable(network).eval()
    sample = {INPUT_NAME: torch.zeros(1, height, width, 3)}
    try:
        with torch.no_grad():
            graph = torch.export.export(module, (), sample).module()
            _drop_guards(graph)
            num_folded = fold_batch_norms(graph)
            normalisation_folded = fold_normalisation(graph)
            pad_pools_with_zero(graph)
            _shorten_scopes(graph)
            program = torch.export.export(graph, (), sample)
    except Exception as cause:  # torch.export raises whatever the network's own code raises
        raise EdgeloopError(
            f"the network cannot be exported at {width}x{height}: {_first_line(cause)}",
            hint="it must be traceable by torch.export with a fixed input size",
        ) from cause
    return ExportedNetwork(
        graph=graph,
        program=program,
        height=height,
        width=width,
        num_folded=num_folded,
        normalisation_folded=normalisation_folded,
    )


def count_outputs(network: torch.nn.Module, *, height: int, width: int) -> int:
    """How many logits the network gives for one picture.

    Raises:
        EdgeloopError: It cannot be run at this size.
        UsageError: Its answer is not one row of logits.
    """
    try:
        with torch.no_grad():
            answer = network(torch.zeros(1, 3, height, width))
    except (RuntimeError, ValueError, TypeError, IndexError, AttributeError) as cause:
        raise EdgeloopError(f"the network cannot be run at {width}x{height}: {_first_line(cause)}") from cause
    if not isinstance(answer, torch.Tensor) or answer.ndim != 2 or answer.shape[0] != 1:
        found = list(answer.shape) if isinstance(answer, torch.Tensor) else type(answer).__name__
        raise UsageError(f"the network must return logits of shape (1, classes), found {found}")
    return int(answer.shape[1])


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


def _drop_guards(graph: GraphModule) -> None:
    """Removes torch's run-time check of the input's shape: it is no part of the model, and runtimes check it too."""
    for node in [node for node in graph.graph.nodes if node.op == "call_module" and not node.users]:
        graph.graph.erase_node(node)
    graph.training = False


def _shorten_scopes(graph: GraphModule) -> None:
    """Names layers by class and attribute alone: tensor names shall not depend on where a class was imported from."""
    for node in graph.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {"": ("", Deployable)}
        node.meta["nn_module_stack"] = {
            key: (path, str(getattr(kind, "__qualname__", kind)).rpartition(".")[2])
            for key, (path, kind) in stack.items()
        }


def _first_line(cause: BaseException) -> str:
    lines = str(cause).strip().splitlines()
    return lines[0] if lines else type(cause).__name__

"""Networks with any named outputs to float and static-int8 TFLite: the converters' own parts, without a proof."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from converters.calibrate import observe_ranges
from converters.export import INPUT_NAME, ExportedNetwork
from converters.fold import fold_batch_norms, fold_normalisation
from converters.job import Picture
from converters.parity import load_pixels
from converters.pools import pad_pools_with_zero
from converters.quantize import quantize
from converters.tflite import to_tflite
from converters.types import QuantRecipe
from edge.bundle.manifest import PreprocessSpec


class NamedOutputs(torch.nn.Module):
    """The model contract around a network whose answer is a dict of outputs.

    Args:
        network: Takes float32 NCHW in 0 to 255, returns tensors by name.
    """

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 NHWC in 0 to 255 to raw outputs by name."""
        outputs: dict[str, torch.Tensor] = self.network(image.permute(0, 3, 1, 2))
        return outputs


def export_outputs(network: torch.nn.Module, *, size: int) -> ExportedNetwork:
    """Exports a network with a square input under the model contract, normalisations folded where it can be done.

    Args:
        network: Takes float32 NCHW in 0 to 255, returns tensors by name; in inference mode.
        size: Side of the input in pixels.
    """
    sample = {INPUT_NAME: torch.zeros(1, size, size, 3)}
    with torch.no_grad():
        graph = torch.export.export(NamedOutputs(network), (), sample).module()
        for guard in [node for node in graph.graph.nodes if node.op == "call_module" and not node.users]:
            graph.graph.erase_node(guard)
        graph.training = False
        norms, normalisation = fold_batch_norms(graph), fold_normalisation(graph)
        pad_pools_with_zero(graph)
        program = torch.export.export(graph, (), sample)
    return ExportedNetwork(
        graph=graph, program=program, height=size, width=size, num_folded=norms, normalisation_folded=normalisation
    )


def static_int8(float_model: bytes, recipe: QuantRecipe, pictures: Sequence[Path], spec: PreprocessSpec) -> bytes:
    """Quantizes a float TFLite model with exact ranges from real pictures; input and outputs stay float."""
    pixels = load_pixels(pictures, spec)
    return quantize(float_model, recipe, ranges=observe_ranges(float_model, pixels, recipe.ranges), sample=pixels[0])


def to_models(
    network: torch.nn.Module, recipe: QuantRecipe, pictures: Sequence[Path], spec: PreprocessSpec
) -> tuple[bytes, bytes]:
    """A network as float32 and as static-int8 TFLite.

    Returns:
        The float model and the quantized one.
    """
    float_model = to_tflite(export_outputs(network, size=spec.width))
    return float_model, static_int8(float_model, recipe, pictures, spec)


def as_pictures(paths: Sequence[Path]) -> tuple[Picture, ...]:
    """Picture files with their digests, as a conversion job wants them."""
    return tuple(Picture(digest=hashlib.sha256(path.read_bytes()).hexdigest(), path=path) for path in paths)

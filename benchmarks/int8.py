"""Networks with any named outputs to float and static-int8 TFLite: the converters' own parts, without a proof."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from pathlib import Path

import torch

from converters.calibrate import observe_ranges
from converters.examples import Picture
from converters.export import ExportedNetwork, export_network
from converters.parity import load_pixels
from converters.quantize import quantize
from converters.tflite import to_tflite
from converters.types import QuantRecipe
from edge.bundle.manifest import PreprocessSpec


def export_outputs(network: torch.nn.Module, *, size: int) -> ExportedNetwork:
    """Exports a network with a square input under the model contract.

    Args:
        network: Takes float32 NCHW in 0 to 255, returns tensors by name; in inference mode.
        size: Side of the input in pixels.
    """
    return export_network(network, height=size, width=size)


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

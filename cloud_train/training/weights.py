"""Weights as safetensors files: equal bytes for equal values, and errors that name the layer that does not fit."""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save

from edge.errors import UsageError
from model_zoo.common.heads import SoftmaxClassifier

_log = logging.getLogger(__name__)
_OURS = "network."
_LEAST_TO_JUDGE, _ON_THE_GRID = 100, 0.01


def to_bytes(state: dict[str, torch.Tensor]) -> bytes:
    """A safetensors file; equal weights give equal bytes."""
    return save({name: tensor.detach().cpu().contiguous() for name, tensor in state.items()})


def digest(data: bytes) -> str:
    """SHA-256, hex."""
    return hashlib.sha256(data).hexdigest()


def read_weights(path: Path) -> bytes:
    """The bytes of a weights file.

    Raises:
        UsageError: No such file, or it cannot be read.
    """
    try:
        return path.read_bytes()
    except OSError as cause:
        reason = (cause.strerror or str(cause)).lower()
        raise UsageError(f"weights file {path} cannot be read: {reason}", hint="check the path") from cause


def parse_weights(data: bytes, *, where: str) -> dict[str, torch.Tensor]:
    """Tensors by name, as timm calls them; files that edgeloop wrote are understood too.

    Args:
        data: A safetensors file.
        where: Its name, for errors.

    Raises:
        UsageError: Not a safetensors file.
    """
    try:
        tensors = load(data)
    except (SafetensorError, ValueError, KeyError) as cause:
        raise UsageError(
            f"weights file {where} is not a safetensors file", hint="convert it, or check the download"
        ) from cause
    if tensors and all(name.startswith(_OURS) for name in tensors):
        tensors = {name.removeprefix(_OURS): tensor for name, tensor in tensors.items()}
    return tensors


def start_from(classifier: SoftmaxClassifier, tensors: dict[str, torch.Tensor], *, where: str) -> None:
    """Loads a backbone, and the head too where it fits; a head for other classes is left out with a line saying so.

    Args:
        classifier: Changed in place.
        tensors: As `parse_weights` gives them.
        where: Name of the file, for errors.

    Raises:
        UsageError: Weights of another architecture; names the first layer that does not fit.
    """
    network = classifier.network
    heads = network.pretrained_cfg["classifier"]
    head = tuple(f"{name}." for name in ([heads] if isinstance(heads, str) else heads))
    wanted = network.state_dict()
    misfits = [name for name, tensor in wanted.items() if name not in tensors or tensors[name].shape != tensor.shape]
    wrong = [name for name in misfits if not name.startswith(head)]
    if wrong:
        raise UsageError(_misfit(wrong[0], wanted, tensors, where), hint="name weights of the recipe's architecture")
    if misfits:
        _log.warning("%s: its head is for other classes and is left out; the backbone is loaded", where)
    fitting = {name: _off_the_grid(tensors[name]) for name in wanted if name not in misfits}
    network.load_state_dict(fitting, strict=False)


def _off_the_grid(weight: torch.Tensor) -> torch.Tensor:
    """Weights that were dequantized from int8, moved by up to half a step each; all others as they are.

    Such weights lie on a grid of 255 steps a channel. What training moves by less than half a step, the next
    quantization would move straight back, all of it in the same direction: measured, a fine-tuned MobileNetV2 then
    lost 3 of 91 points in int8. Off the grid, rounding is as random as it is for any other weights.
    """
    if not weight.is_floating_point() or weight.ndim < 2 or weight.numel() < _LEAST_TO_JUDGE:
        return weight
    step = (weight.abs().flatten(1).amax(dim=1) / 127).clamp(min=1e-30).view(-1, *[1] * (weight.ndim - 1))
    level = weight / step
    if (level - level.round()).abs().max() > _ON_THE_GRID:
        return weight
    return weight + (torch.rand_like(weight) - 0.5) * step


def _misfit(name: str, wanted: dict[str, torch.Tensor], tensors: dict[str, torch.Tensor], where: str) -> str:
    if name not in tensors:
        return f"weights file {where} has no layer {name!r}"
    found, needed = list(tensors[name].shape), list(wanted[name].shape)
    return f"weights file {where}: layer {name!r} has shape {found}, the network needs {needed}"

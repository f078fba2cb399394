"""Heads that applications share: what stands between a backbone and the outputs of the model contract."""

from __future__ import annotations

import torch

from edge.errors import UsageError
from model_zoo.common.torchvision_native import prepare
from model_zoo.types import ModelDef


class SoftmaxClassifier(torch.nn.Module):
    """A single-head classifier under the model contract: normalisation inside, logits out; softmax is the device's.

    Args:
        network: Takes normalised float32 (N, 3, H, W), returns logits (N, classes).
        mean: Per-channel mean on the 0 to 255 scale, RGB.
        std: Per-channel standard deviation on the 0 to 255 scale, RGB.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(
        self, network: torch.nn.Module, *, mean: tuple[float, float, float], std: tuple[float, float, float]
    ) -> None:
        super().__init__()
        self.network = network
        # Not part of the weights: they are the model definition's, and the run file names them.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """float32 (N, 3, H, W), RGB, 0 to 255, to logits (N, classes)."""
        logits: torch.Tensor = self.network((pictures - self.mean) / self.std)
        return logits


def build_classifier(model: ModelDef, num_classes: int, *, pretrained: bool = False) -> SoftmaxClassifier:
    """Makes a classifier; weights are random, drawn from torch's global generator, unless `pretrained`.

    Args:
        model: Architecture and normalisation.
        num_classes: Number of logits.
        pretrained: Fetch the backbone's weights from timm's hub.

    Raises:
        UsageError: timm does not know the architecture, has no weights for it, or cannot reach its hub.
    """
    prepare()
    import timm

    if not timm.is_model(model.architecture):
        raise UsageError(
            f"{model.architecture!r} is not a network that timm knows", hint="timm.list_models() names them"
        )
    if pretrained and not timm.is_model_pretrained(model.architecture):
        raise UsageError(f"timm has no weights for {model.architecture}", hint="name a local file with --weights")
    try:
        network = timm.create_model(model.architecture, pretrained=pretrained, num_classes=num_classes)
    except Exception as cause:
        if not pretrained:
            raise
        raise _hub_error(model.architecture, cause) from cause
    return SoftmaxClassifier(network, mean=model.mean, std=model.std)


def _hub_error(architecture: str, cause: Exception) -> UsageError:
    """The hub client raises its own errors, requests' and the operating system's."""
    lines = str(cause).strip().splitlines()
    return UsageError(
        f"weights of {architecture} cannot be fetched from timm's hub: {lines[0] if lines else type(cause).__name__}",
        hint="name a local safetensors file with --weights instead",
    )

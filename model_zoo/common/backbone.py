"""Backbones: networks of timm without their own classifier, for the heads of `model_zoo.common.heads`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch

from edge.errors import UsageError
from model_zoo.common.torchvision_native import prepare
from model_zoo.types import ModelDef

TEXT_STRIDE = 8
"""Pixels of the picture for each place of a text reader's feature map, both ways."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Backbone:
    """A network that ends in features.

    Attributes:
        network: Takes normalised float32 (N, 3, H, W).
        num_features: Channels of what it returns.
    """

    network: torch.nn.Module
    num_features: int


def create_network(architecture: str, *, pretrained: bool, num_classes: int) -> Any:  # noqa: ANN401  (timm has no types)
    """Makes a network of timm; weights are random, drawn from torch's global generator, unless `pretrained`.

    Args:
        architecture: timm's name.
        pretrained: Fetch the backbone's weights from timm's hub.
        num_classes: Number of logits; 0 for pooled features instead.

    Raises:
        UsageError: timm does not know the architecture, has no weights for it, or cannot reach its hub.
    """
    prepare()
    import timm

    if not timm.is_model(architecture):
        raise UsageError(f"{architecture!r} is not a network that timm knows", hint="timm.list_models() names them")
    if pretrained and not timm.is_model_pretrained(architecture):
        raise UsageError(f"timm has no weights for {architecture}", hint="name a local file with --weights")
    try:
        return timm.create_model(architecture, pretrained=pretrained, num_classes=num_classes)
    except Exception as cause:
        if not pretrained:
            raise
        raise _hub_error(architecture, cause) from cause


def pooled_backbone(model: ModelDef, *, pretrained: bool) -> Backbone:
    """A backbone that returns one vector for each picture, (N, num_features): the mean over all places.

    Raises:
        UsageError: As `create_network`.
    """
    network = create_network(model.architecture, pretrained=pretrained, num_classes=0)
    return Backbone(network=network, num_features=int(network.head_hidden_size))


def text_backbone(model: ModelDef, *, pretrained: bool) -> Backbone:
    """A backbone that stops at stride 8 and returns a map, (N, num_features, ceil(H / 8), ceil(W / 8)).

    A character is a few strokes: the stages behind stride 8 would make one step of 16 or 32 pixels, which hold more
    than one character, out of features that are for whole objects. The stages that are left see about 60 pixels in
    each direction, more than the height of a line. They are also the cheap ones: 0.06 of MobileNetV2's 2.2 million
    weights.

    Raises:
        UsageError: As `create_network`, or the network has no stage at stride 8.
    """
    network = create_network(model.architecture, pretrained=pretrained, num_classes=0)
    from timm.models import FeatureListNet

    stages = [dict(stage) for stage in getattr(network, "feature_info", ())]
    places = [at for at, stage in enumerate(stages) if stage.get("reduction") == TEXT_STRIDE]
    if not places:
        raise UsageError(
            f"{model.architecture} has no stage at stride {TEXT_STRIDE}, a text reader needs one",
            hint="take a convolutional network such as mobilenetv2_100",
        )
    last = stages[places[-1]]
    # A stage inside a sequence ("blocks.2") is reached by taking the sequence apart.
    cut = FeatureListNet(network, out_indices=(places[-1],), flatten_sequential="." in str(last["module"]))
    return Backbone(network=_OnlyMap(cut), num_features=int(last["num_chs"]))


class _OnlyMap(torch.nn.Module):
    """The one feature map of a network that returns a list of them."""

    def __init__(self, network: torch.nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """Normalised float32 (N, 3, H, W) to (N, C, h, w)."""
        (features,) = self.network(pictures)
        return torch.as_tensor(features)


def _hub_error(architecture: str, cause: Exception) -> UsageError:
    """The hub client raises its own errors, requests' and the operating system's."""
    lines = str(cause).strip().splitlines()
    return UsageError(
        f"weights of {architecture} cannot be fetched from timm's hub: {lines[0] if lines else type(cause).__name__}",
        hint="name a local safetensors file with --weights instead",
    )

"""Heads that applications share: what stands between a backbone and the outputs of the model contract.

Every network here takes float32 (N, 3, H, W), RGB, 0 to 255, normalises it inside, and answers with raw float32:
softmax, lengths of embeddings and the spelling of text are the device's (`edge.postprocess`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch

from edge.errors import UsageError
from model_zoo.common.backbone import TEXT_STRIDE, Backbone, create_network, pooled_backbone, text_backbone
from model_zoo.types import ModelDef

_OUTPUT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_INPUT_NAME = "image"
_STEPS_SEEN = 5
Triple = tuple[float, float, float]


class Normalised(torch.nn.Module):
    """What all networks of the model contract begin with: the picture's mean and deviation.

    Args:
        mean: Per-channel mean on the 0 to 255 scale, RGB.
        std: Per-channel standard deviation on the 0 to 255 scale, RGB.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, *, mean: Triple, std: Triple) -> None:
        super().__init__()
        # Not part of the weights: they are the model definition's, and the run file names them.
        self.register_buffer("mean", torch.tensor(mean).view(1, 3, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(1, 3, 1, 1), persistent=False)

    def normalise(self, pictures: torch.Tensor) -> torch.Tensor:
        """float32 (N, 3, H, W), RGB, 0 to 255, to what the backbone reads."""
        return (pictures - self.mean) / self.std


class SoftmaxClassifier(Normalised):
    """A single-head classifier under the model contract: normalisation inside, logits out; softmax is the device's.

    Args:
        network: Takes normalised float32 (N, 3, H, W), returns logits (N, classes).
        mean: Per-channel mean on the 0 to 255 scale, RGB.
        std: Per-channel standard deviation on the 0 to 255 scale, RGB.
    """

    def __init__(self, network: torch.nn.Module, *, mean: Triple, std: Triple) -> None:
        super().__init__(mean=mean, std=std)
        self.network = network

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        """float32 (N, 3, H, W), RGB, 0 to 255, to logits (N, classes)."""
        logits: torch.Tensor = self.network(self.normalise(pictures))
        return logits


class MultiTaskClassifier(Normalised):
    """One backbone and several softmax heads, for the stage task `attributes`.

    Args:
        backbone: Returns (N, num_features).
        heads: Number of classes by name of the head, which becomes the name of its output.
        mean: Per-channel mean on the 0 to 255 scale, RGB.
        std: Per-channel standard deviation on the 0 to 255 scale, RGB.
    """

    def __init__(self, backbone: Backbone, heads: Mapping[str, int], *, mean: Triple, std: Triple) -> None:
        super().__init__(mean=mean, std=std)
        self.names = tuple(heads)
        self.network = backbone.network
        # A module's name must not be that of a method, as "type" or "float" would be.
        self.heads = torch.nn.ModuleDict(
            {_weights_name(name): torch.nn.Linear(backbone.num_features, heads[name]) for name in self.names}
        )

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 (N, 3, H, W), RGB, 0 to 255, to logits (N, classes) by name of the head."""
        features = self.network(self.normalise(pictures))
        return {name: self.heads[_weights_name(name)](features) for name in self.names}


class ArcFaceEmbedder(Normalised):
    """Pictures to embeddings, for the stage task `match`; trained under `ArcFaceMargin` (Deng et al., 2019).

    The embedding is a fully connected layer on the pooled features and a batch normalisation behind it, as in the
    paper. The normalisation has no scale or shift of its own: every dimension keeps mean 0 and deviation 1 over the
    training pictures, so that one int8 scale fits them all. What is deployed is the embedding before it is brought to
    length 1: the device does that in float64, and in the graph it would cost division and a second int8 scale. The
    layer is written as a 1x1 convolution because converters fold a normalisation into a convolution only.

    Args:
        backbone: Returns (N, num_features).
        dimension: Of the embedding.
        mean: Per-channel mean on the 0 to 255 scale, RGB.
        std: Per-channel standard deviation on the 0 to 255 scale, RGB.
    """

    def __init__(self, backbone: Backbone, dimension: int, *, mean: Triple, std: Triple) -> None:
        super().__init__(mean=mean, std=std)
        self.network = backbone.network
        self.project = torch.nn.Conv2d(backbone.num_features, dimension, 1, bias=False)
        self.norm = torch.nn.BatchNorm2d(dimension, affine=False)

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 (N, 3, H, W), RGB, 0 to 255, to `embedding`, (N, D), of any length but 0."""
        features = self.network(self.normalise(pictures))
        return {"embedding": self.norm(self.project(features[:, :, None, None])).flatten(1)}


class CtcReader(Normalised):
    """Lines of text to CTC logits, for the stage task `text` (CTC: Graves et al., 2006).

    The height is collapsed by a convolution as high as the feature map, which keeps what is above apart from what is
    below, as a mean would not. Two convolutions of 1x5 then let each step see its neighbours: 4 steps on either side.
    No recurrent layer: it would unroll to hundreds of operations on the device, and no Conv1d, which costs
    transpositions. The width is fixed, and so is the number of steps.

    Args:
        backbone: Returns (N, num_features, map_height, T).
        num_classes: Characters and the blank; the blank is class 0 by default (`TextSpec`).
        map_height: Rows of the feature map.
        hidden: Channels of the head.
        mean: Per-channel mean on the 0 to 255 scale, RGB.
        std: Per-channel standard deviation on the 0 to 255 scale, RGB.
    """

    def __init__(
        self, backbone: Backbone, num_classes: int, *, map_height: int, hidden: int = 128, mean: Triple, std: Triple
    ) -> None:
        super().__init__(mean=mean, std=std)
        self.network = backbone.network
        self.collapse = _conv_block(backbone.num_features, hidden, kernel=(map_height, 1))
        self.context = torch.nn.Sequential(
            *(_conv_block(hidden, hidden, kernel=(1, _STEPS_SEEN), padding=(0, _STEPS_SEEN // 2)) for _ in range(2))
        )
        self.spell = torch.nn.Conv2d(hidden, num_classes, 1)

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 (N, 3, H, W), RGB, 0 to 255, to `steps`, logits (N, T, classes), left to right."""
        features = self.network(self.normalise(pictures))
        logits = self.spell(self.context(self.collapse(features)))
        # In this order the device is left with one reshape; squeezing first would cost it two transpositions.
        return {"steps": logits.permute(0, 2, 3, 1).flatten(1, 2)}


def build_classifier(model: ModelDef, num_classes: int, *, pretrained: bool = False) -> SoftmaxClassifier:
    """Makes a classifier; weights are random, drawn from torch's global generator, unless `pretrained`.

    Args:
        model: Architecture and normalisation.
        num_classes: Number of logits.
        pretrained: Fetch the backbone's weights from timm's hub.

    Raises:
        UsageError: timm does not know the architecture, has no weights for it, or cannot reach its hub.
    """
    network = create_network(model.architecture, pretrained=pretrained, num_classes=num_classes)
    return SoftmaxClassifier(network, mean=model.mean, std=model.std)


def build_multi_task(model: ModelDef, heads: Mapping[str, int], *, pretrained: bool = False) -> MultiTaskClassifier:
    """Makes a classifier with several heads; weights as in `build_classifier`, those of the heads always random.

    Args:
        model: Architecture and normalisation.
        heads: Number of classes by name of the head, in the order of the outputs.
        pretrained: Fetch the backbone's weights from timm's hub.

    Raises:
        UsageError: As `build_classifier`; or there is no head, a head has fewer than two classes, or its name cannot
            be that of an output.
    """
    if not heads:
        raise UsageError("a multi-task classifier needs at least one head")
    for name, num_classes in heads.items():
        if name == _INPUT_NAME or not _OUTPUT_NAME.fullmatch(name):
            raise UsageError(
                f"head {name!r} cannot be the name of an output",
                hint=f"take letters, digits and underscores, no digit first, and not {_INPUT_NAME!r}",
            )
        _require_count(f"classes of head {name!r}", num_classes)
    backbone = pooled_backbone(model, pretrained=pretrained)
    return MultiTaskClassifier(backbone, heads, mean=model.mean, std=model.std)


def build_embedder(model: ModelDef, dimension: int, *, pretrained: bool = False) -> ArcFaceEmbedder:
    """Makes an embedder; weights as in `build_classifier`, those of the embedding layer always random.

    Args:
        model: Architecture and normalisation.
        dimension: Of the embedding; 64 to 512 are usual.
        pretrained: Fetch the backbone's weights from timm's hub.

    Raises:
        UsageError: As `build_classifier`, or the dimension is below 2.
    """
    _require_count("dimension", dimension)
    backbone = pooled_backbone(model, pretrained=pretrained)
    return ArcFaceEmbedder(backbone, dimension, mean=model.mean, std=model.std)


def build_ctc_reader(model: ModelDef, num_classes: int, *, pretrained: bool = False) -> CtcReader:
    """Makes a reader of text lines; weights as in `build_classifier`, those of the head always random.

    It gives one step for each 8 pixels of `model.preprocess.width`. CTC needs a step for each character, and one more
    between two equal ones, so the width should be at least 16 pixels for each character of the longest line.

    Args:
        model: Architecture, normalisation, and the fixed size of the input.
        num_classes: Characters and the blank.
        pretrained: Fetch the backbone's weights from timm's hub.

    Raises:
        UsageError: As `build_classifier`; or there are fewer than two classes, or the architecture has no stage at
            stride 8.
    """
    _require_count("classes", num_classes)
    backbone = text_backbone(model, pretrained=pretrained)
    map_height = -(-model.preprocess.height // TEXT_STRIDE)
    return CtcReader(backbone, num_classes, map_height=map_height, mean=model.mean, std=model.std)


def _conv_block(
    num_in: int, num_out: int, *, kernel: tuple[int, int], padding: tuple[int, int] = (0, 0)
) -> torch.nn.Sequential:
    return torch.nn.Sequential(
        torch.nn.Conv2d(num_in, num_out, kernel, padding=padding, bias=False),
        torch.nn.BatchNorm2d(num_out),
        torch.nn.ReLU(),
    )


def _weights_name(head: str) -> str:
    return f"{head}_head"


def _require_count(what: str, count: int) -> None:
    if count < 2:
        raise UsageError(f"{what} must be at least 2, found {count}")

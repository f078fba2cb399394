"""The margin loss that embeddings are trained under. It is no part of any network, and never exported."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from edge.errors import UsageError

_ALMOST_ONE = 1.0 - 1e-6


class ArcFaceMargin(torch.nn.Module):
    """Logits with an additive angular margin (Deng et al., ArcFace: Additive Angular Margin Loss, 2019).

    Each class has a centre. The logit of a class is the cosine between embedding and centre, times `scale`; for the
    picture's own class the angle is first widened by `margin`, so that it must be nearer to its centre than the softmax
    alone would ask. The loss is the cross entropy of these logits. Where the widened angle would pass a half turn, and
    its cosine rise again, the cosine minus margin * sin(margin) takes its place, so that a worse angle never costs
    less.

    Args:
        dimension: Of the embeddings.
        num_classes: Of the training pictures; the device knows classes by its gallery instead.
        margin: Radians, at least 0 and below a quarter turn; the paper's is 0.5.
        scale: Above 0; the paper's is 64. With few classes or pictures 30 is easier to train.

    Raises:
        UsageError: A number makes no sense.
    """

    def __init__(self, dimension: int, num_classes: int, *, margin: float = 0.5, scale: float = 64.0) -> None:
        super().__init__()
        if dimension < 2 or num_classes < 2:
            raise UsageError(f"ArcFace needs at least 2 dimensions and 2 classes, found {dimension} and {num_classes}")
        if not 0 <= margin < math.pi / 2:
            raise UsageError(f"ArcFace's margin must be at least 0 and below pi / 2 radians, found {margin}")
        if not 0 < scale < math.inf:
            raise UsageError(f"ArcFace's scale must be above 0, found {scale}")
        self.margin = margin
        self.scale = scale
        self.centres = torch.nn.Parameter(torch.randn(num_classes, dimension))

    def cosines(self, embeddings: torch.Tensor) -> torch.Tensor:
        """float32 (N, D) of any length but 0, to the cosine with each centre, (N, classes)."""
        return functional.linear(functional.normalize(embeddings), functional.normalize(self.centres))

    def forward(self, embeddings: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        """Embeddings (N, D) and their classes, int64 (N), to logits (N, classes) for the cross entropy."""
        cosines = self.cosines(embeddings)
        places = targets[:, None]
        # At 1 and -1 the root below has no gradient.
        own = cosines.gather(1, places).clamp(-_ALMOST_ONE, _ALMOST_ONE)
        widened = own * math.cos(self.margin) - (1 - own * own).sqrt() * math.sin(self.margin)
        past = own - self.margin * math.sin(self.margin)
        harder = torch.where(own > -math.cos(self.margin), widened, past)
        return self.scale * cosines.scatter(1, places, harder)

"""Networks that int8 breaks on purpose."""

from __future__ import annotations

from typing import Any

from conversion_jobs import network_class

OUTLIER = 30_000.0


def massive_network() -> Any:
    """The small network with one channel in its middle that is always 30,000, and that nothing listens to.

    Everything passes through that tensor, and its one int8 scale is made for the outlier: a step is 118 then, and all
    other channels, a few units high, are zero. Transformers and detectors have such channels (Sun et al., Massive
    Activations in Large Language Models, 2024). In float it changes nothing.
    """
    import torch
    from torch import nn

    class Massive(network_class()):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.massive = nn.Conv2d(16, 16, 1)
            self.narrow = nn.Conv2d(16, 16, 1)
            with torch.no_grad():
                self.massive.bias[0] = OUTLIER
                self.narrow.weight[:, 0] = 0.0

        def features(self, pictures: torch.Tensor) -> torch.Tensor:
            stem = self.stem((pictures - self.mean) / self.std)
            middle = stem + self.pointwise(self.depthwise(stem))
            return self.last(self.narrow(torch.relu(self.massive(middle)))).mean(dim=(2, 3))

    return Massive()

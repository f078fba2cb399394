"""Small real conversions for tests: drawn pictures of four classes and a seeded network that tells them apart.

    python tests/converters/conversion_jobs.py OUT PICTURES

converts into OUT, drawing the pictures into the folder PICTURES, and prints the bundle's digest.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.pipeline import ConversionJob, LabelledPicture, Picture
from edge.bundle.manifest import DecisionPolicy, KeepPolicy, PreprocessSpec, Provenance, QualityLimits
from edge.preprocess import preprocess_pixels

if TYPE_CHECKING:
    import torch

LABELS = ("disc", "empty", "square", "stripes")
SPEC = PreprocessSpec(width=32, height=32)
NUM_CALIBRATION = 40
NUM_VALIDATION = 160


def draw(label: str, rng: np.random.Generator) -> np.ndarray:
    """One picture, uint8, of a shape in a faint or strong colour on a noisy ground; the fainter, the harder."""
    height, width = rng.integers(36, 60, size=2)
    ground = rng.integers(80, 170) + rng.normal(0, 6, size=3) + rng.normal(0, 12, size=(height, width, 3))
    rows, columns = np.mgrid[:height, :width]
    radius = rng.uniform(0.22, 0.4) * min(height, width)
    y, x = height / 2 + rng.normal(0, 2), width / 2 + rng.normal(0, 2)
    shapes = {
        "disc": (rows - y) ** 2 + (columns - x) ** 2 < radius**2,
        "square": (abs(rows - y) < radius) & (abs(columns - x) < radius),
        "stripes": rows % 8 < 4,
        "empty": np.zeros((height, width), dtype=bool),
    }
    colour = {"disc": (1, -0.4, -0.4), "square": (-0.4, 1, -0.4), "stripes": (-0.4, -0.4, 1), "empty": (0, 0, 0)}
    strength = rng.uniform(12, 80)
    picture = ground + strength * shapes[label][..., np.newaxis] * np.array(colour[label])
    return np.clip(picture, 0, 255).astype(np.uint8)


def pictures(folder: Path, *, seed: int, count: int) -> tuple[LabelledPicture, ...]:
    """Draws `count` PNG files, the classes in turn."""
    from PIL import Image

    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    made = []
    for number in range(count):
        label = LABELS[number % len(LABELS)]
        path = folder / f"{seed}-{number:03d}.png"
        Image.fromarray(draw(label, rng)).save(path)
        made.append(LabelledPicture(digest=hashlib.sha256(path.read_bytes()).hexdigest(), path=path, label=label))
    return tuple(made)


@cache
def network_class() -> Any:
    import torch
    from torch import nn

    class SmallNet(nn.Module):
        """Normalises, then four convolutions with batch normalisation, one of them depthwise, and a residual."""

        def __init__(self) -> None:
            super().__init__()
            self.register_buffer("mean", torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1))
            self.register_buffer("std", torch.tensor([58.395, 57.12, 57.375]).view(1, 3, 1, 1))
            self.stem = nn.Sequential(nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6())
            self.depthwise = nn.Sequential(
                nn.Conv2d(16, 16, 3, 1, 1, groups=16, bias=False), nn.BatchNorm2d(16), nn.ReLU6()
            )
            self.pointwise = nn.Sequential(nn.Conv2d(16, 16, 1, bias=False), nn.BatchNorm2d(16))
            self.last = nn.Sequential(nn.Conv2d(16, 48, 3, 2, 1, bias=False), nn.BatchNorm2d(48), nn.ReLU6())
            self.classifier = nn.Linear(48, len(LABELS))

        def features(self, pictures: torch.Tensor) -> torch.Tensor:
            stem = self.stem((pictures - self.mean) / self.std)
            return self.last(stem + self.pointwise(self.depthwise(stem))).mean(dim=(2, 3))

        def forward(self, pictures: torch.Tensor) -> torch.Tensor:
            return self.classifier(self.features(pictures))

    return SmallNet


def network(
    examples: tuple[LabelledPicture, ...], *, ridge: float = 3.0, make: Callable[[], torch.nn.Module] | None = None
) -> torch.nn.Module:
    """A seeded network whose last layer is fitted to `examples` by ridge regression: learned in milliseconds.

    Args:
        examples: What it learns.
        ridge: With next to none its weights are large and cancel each other, which int8 does not survive.
        make: Makes another network than `network_class`, with the same features and last layer.
    """
    import torch

    from converters.parity import one_thread

    torch.manual_seed(3)
    net = (make or network_class())()
    pixels = np.stack([preprocess_pixels(example.path, SPEC)[0] for example in examples])
    batch = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
    with torch.no_grad(), one_thread():
        for module in net.modules():
            if isinstance(module, torch.nn.BatchNorm2d):
                module.momentum = None
        net.train()
        net.features(batch)
        net.eval()
        for tensor in net.state_dict().values():
            tensor.copy_((tensor * 4096).round() / 4096 if tensor.is_floating_point() else tensor)
        features = net.features(batch).double().numpy()
        weight, bias = fitted(features, [LABELS.index(example.label) for example in examples], len(LABELS), ridge)
        net.classifier.weight.copy_(torch.from_numpy(weight))
        net.classifier.bias.copy_(torch.from_numpy(bias))
    return net


def fitted(features: np.ndarray, truths: list[int], num: int, ridge: float = 3.0) -> tuple[np.ndarray, np.ndarray]:
    """Weights (num, features) and biases (num) of a last layer, by ridge regression onto 6 for right, -2 for wrong."""
    inputs = np.hstack([features, np.ones((len(features), 1))])
    targets = 8.0 * (np.eye(num)[truths] - 0.25)
    found = np.linalg.solve(inputs.T @ inputs + ridge * np.eye(inputs.shape[1]), inputs.T @ targets)
    found = np.round(found, 3).astype(np.float32)
    return found[:-1].T.copy(), found[-1].copy()


def make_job(folder: Path, out: Path) -> ConversionJob:
    """A job over pictures drawn into `folder`."""
    training = pictures(folder, seed=1, count=200)
    validation = pictures(folder, seed=2, count=NUM_VALIDATION)
    return ConversionJob(
        network=network(training),
        name="shapes",
        version=1,
        labels=LABELS,
        preprocess=SPEC,
        temperature=1.25,
        calibration=tuple(Picture(digest=p.digest, path=p.path) for p in training[:NUM_CALIBRATION]),
        validation=validation,
        limits=QualityLimits(),
        decision=DecisionPolicy(),
        keep=KeepPolicy(),
        provenance=Provenance(
            run="a" * 64, snapshot="b" * 64, train_recipe="test", seed=3, weights="c" * 64, producer="edgeloop test"
        ),
        out=out,
    )


def main() -> None:
    from converters.pipeline import convert
    from edge.bundle.reader import open_bundle

    out, folder = Path(sys.argv[1]), Path(sys.argv[2])
    job = replace(make_job(folder, out), out=out)
    print(open_bundle(convert(job, progress=False)).digest)


if __name__ == "__main__":
    main()

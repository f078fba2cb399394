"""A small conversion of every kind of answer, all drawn and seeded; each network is written in a second or two."""

from __future__ import annotations

import copy
import hashlib
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from conversion_jobs import LABELS, fitted

from converters.examples import LabelledPicture, Picture, TrueBox
from converters.job import ConversionJob
from edge.bundle.manifest import (
    Decoder,
    DetectSpec,
    MatchSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    QualityLimits,
    Task,
    TextSpec,
)
from edge.preprocess import preprocess_pixels
from edge.types import Box

if TYPE_CHECKING:
    import torch

PATTERNS = ("plain", "striped")
COLOURS = {"red": (205, 60, 55), "green": (60, 195, 70), "grey": (128, 128, 128)}
CELL = 16
NUM = 160


def attributes_job(job: ConversionJob, out: Path) -> ConversionJob:
    """Two heads on the features of the classifier: what shape there is, and whether it is striped."""
    import torch

    features = _features(job)
    truths = [PATTERNS.index(_pattern(picture.label)) for picture in job.validation]
    weight, bias = fitted(features, truths, len(PATTERNS))
    pattern = torch.nn.Linear(features.shape[1], len(PATTERNS))
    with torch.no_grad():
        pattern.weight.copy_(torch.from_numpy(weight))
        pattern.bias.copy_(torch.from_numpy(bias))
    shape = OutputSpec(name="shape", kind=OutputKind.LOGITS, shape=(1, len(LABELS)), labels=LABELS)
    return replace(
        job,
        network=_with_heads(job.network, {"shape": job.network.classifier, "pattern": pattern}),
        task=Task.ATTRIBUTES,
        outputs=(shape, replace(shape, name="pattern", shape=(1, len(PATTERNS)), labels=PATTERNS)),
        validation=tuple(
            replace(picture, label="", attributes=(("shape", picture.label), ("pattern", _pattern(picture.label))))
            for picture in job.validation
        ),
        out=out,
    )


def match_job(job: ConversionJob, out: Path) -> ConversionJob:
    """The classifier's last layer as an embedding, and a gallery of the calibration pictures."""
    labels = [LABELS[place % len(LABELS)] for place in range(len(job.calibration))]
    references = [
        LabelledPicture(digest=picture.digest, path=picture.path, label=label)
        for picture, label in zip(job.calibration, labels, strict=True)
    ]
    return replace(
        job,
        network=_with_heads(job.network, {"embedding": job.network.classifier}),
        task=Task.MATCH,
        outputs=(OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, len(LABELS))),),
        match=MatchSpec(gallery=("gallery.bin",), threshold=0.3),
        references=tuple(references),
        limits=QualityLimits(min_cosine=0.99),
        out=out,
    )


def text_job(job: ConversionJob, folder: Path, out: Path) -> ConversionJob:
    """Reads rows of four coloured cells: red is `a`, green is `b`, grey is nothing."""
    spec = PreprocessSpec(width=4 * CELL, height=2 * CELL)
    calibration, validation = (_lines(folder, seed=seed, count=count) for seed, count in ((11, 24), (12, NUM)))
    return replace(
        job,
        network=_reader(),
        task=Task.TEXT,
        labels=(),
        preprocess=spec,
        outputs=(OutputSpec(name="steps", kind=OutputKind.STEPS, shape=(1, 4, 3)),),
        text=TextSpec(charset="ab"),
        calibration=_unlabelled(calibration),
        validation=validation,
        out=out,
    )


def detect_job(job: ConversionJob, folder: Path, out: Path) -> ConversionJob:
    """Finds red and green cells of a grid of four by four."""
    spec = PreprocessSpec(width=4 * CELL, height=4 * CELL)
    calibration, validation = (_grids(folder, seed=seed, count=count) for seed, count in ((21, 24), (22, NUM)))
    return replace(
        job,
        network=_finder(),
        task=Task.DETECT,
        labels=("red", "green"),
        preprocess=spec,
        outputs=(
            OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=(1, 16, 4)),
            OutputSpec(name="scores", kind=OutputKind.SCORES, shape=(1, 16, 2)),
        ),
        detect=DetectSpec(decoder=Decoder.YOLO),
        calibration=_unlabelled(calibration),
        validation=validation,
        out=out,
    )


def _features(job: ConversionJob) -> np.ndarray:
    import torch

    pixels = np.stack([preprocess_pixels(picture.path, job.preprocess)[0] for picture in job.validation])
    with torch.no_grad():
        found = job.network.eval().features(torch.from_numpy(pixels).permute(0, 3, 1, 2).float())
    return found.double().numpy()


def _pattern(label: str) -> str:
    return PATTERNS[label == "stripes"]


def _unlabelled(pictures: tuple[LabelledPicture, ...]) -> tuple[Picture, ...]:
    return tuple(Picture(digest=picture.digest, path=picture.path) for picture in pictures)


def _write(path: Path, pixels: np.ndarray) -> LabelledPicture:
    from PIL import Image

    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.clip(pixels, 0, 255).astype(np.uint8)).save(path)
    return LabelledPicture(digest=hashlib.sha256(path.read_bytes()).hexdigest(), path=path)


def _painted(cells: list[list[str]], side: int, rng: np.random.Generator) -> np.ndarray:
    """Noisy cells of these colours, (rows * side, columns * side, 3)."""
    plain = np.array([[COLOURS[colour] for colour in row] for row in cells], dtype=np.float64)
    whole = plain.repeat(side, axis=0).repeat(side, axis=1)
    return whole + rng.normal(0, 10, size=whole.shape)


def _lines(folder: Path, *, seed: int, count: int) -> tuple[LabelledPicture, ...]:
    rng, made = np.random.default_rng(seed), []
    for number in range(count):
        row = [str(colour) for colour in rng.choice(list(COLOURS), size=4)]
        steps = [{"red": "a", "green": "b", "grey": ""}[colour] for colour in row]
        text = "".join(one for place, one in enumerate(steps) if place == 0 or one != steps[place - 1])
        picture = _write(folder / f"line-{seed}-{number:03d}.png", _painted([row, row], 24, rng))
        made.append(replace(picture, label=text))
    return tuple(made)


def _grids(folder: Path, *, seed: int, count: int) -> tuple[LabelledPicture, ...]:
    """Pictures half as large again as the network's input, so that boxes have to be brought back."""
    rng, side, made = np.random.default_rng(seed), 24, []
    for number in range(count):
        cells = [["grey"] * 4 for _ in range(4)]
        boxes = []
        for place in rng.choice(16, size=int(rng.integers(1, 4)), replace=False):
            row, column, index = int(place) // 4, int(place) % 4, int(rng.integers(2))
            cells[row][column] = ("red", "green")[index]
            box = Box(left=side * column, top=side * row, right=side * (column + 1), bottom=side * (row + 1))
            boxes.append(TrueBox(index=index, box=box))
        picture = _write(folder / f"grid-{seed}-{number:03d}.png", _painted(cells, side, rng))
        made.append(replace(picture, boxes=tuple(boxes)))
    return tuple(made)


def _with_heads(network: torch.nn.Module, heads: dict[str, torch.nn.Module]) -> torch.nn.Module:
    """The network's features, and a layer for each output by name."""
    import torch

    class Headed(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.network = copy.deepcopy(network)
            self.network.classifier = torch.nn.Identity()
            self.heads = torch.nn.ModuleDict({f"{name}_head": copy.deepcopy(head) for name, head in heads.items()})

        def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
            features = self.network.features(pictures)
            return {name.removesuffix("_head"): head(features) for name, head in self.heads.items()}

    return Headed().eval()


def _cells(weights: list[list[float]]) -> torch.nn.Module:
    """Means of the colours of each cell, and what each row of `weights` makes of red, green and blue."""
    import torch

    mean = torch.nn.Conv2d(3, 3, CELL, stride=CELL, bias=False)
    mix = torch.nn.Conv2d(3, len(weights), 1)
    with torch.no_grad():
        mean.weight.copy_((torch.eye(3) / CELL**2)[:, :, None, None].expand_as(mean.weight))
        mix.weight.copy_(torch.tensor(weights)[:, :3, None, None])
        mix.bias.copy_(torch.tensor(weights)[:, 3])
    return torch.nn.Sequential(mean, mix)


def _reader() -> torch.nn.Module:
    """Logits of blank, `a` and `b` for each column of cells."""
    import torch

    class Reader(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.cells = _cells([[0.1, 0.1, 0.1, 4.0], [4, -4, 0, 0], [-4, 4, 0, 0]])

        def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
            found = self.cells((pictures - 127.5) / 64.0)
            return {"steps": found.mean(dim=2).permute(0, 2, 1)}

    return Reader().eval()


def _finder() -> torch.nn.Module:
    """Red and green cells, with a decode module as real detectors have it."""
    import torch

    class FloatDecode(torch.nn.Module):
        """Offsets and logits of each cell to corners in pixels of the input, and scores."""

        def __init__(self) -> None:
            super().__init__()
            rows, columns = torch.meshgrid(torch.arange(4.0), torch.arange(4.0), indexing="ij")
            self.register_buffer("centres", torch.stack([columns, rows], -1).reshape(1, 16, 2) + 0.5)

        def forward(self, found: torch.Tensor) -> dict[str, torch.Tensor]:
            rows = found.flatten(2).permute(0, 2, 1)
            centres, halves = (self.centres + rows[..., :2]) * CELL, torch.exp(rows[..., 2:4]) * CELL / 2
            boxes = torch.cat([centres - halves, centres + halves], dim=-1)
            return {"boxes": boxes, "scores": torch.sigmoid(rows[..., 4:])}

    class Finder(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            nudges = [[0.01, 0.01, 0.0, 0.0], [0.0, 0.01, 0.01, 0.0], [0.01, 0.0, 0.0, 0.0], [0.0, 0.0, 0.01, 0.0]]
            self.cells = _cells([*nudges, [6, -6, 0, -7.0], [-6, 6, 0, -7.0]])
            self.decode = FloatDecode()

        def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
            return self.decode(self.cells((pictures - 127.5) / 64.0))

    return Finder().eval()


KINDS: dict[str, Callable[[ConversionJob, Path, Path], ConversionJob]] = {
    "attributes": lambda job, folder, out: attributes_job(job, out),
    "match": lambda job, folder, out: match_job(job, out),
    "text": text_job,
    "detect": detect_job,
}

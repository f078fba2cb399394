"""The quantization rule on pictures that nobody drew for us."""

from __future__ import annotations

import hashlib
import json
import random
from pathlib import Path

import numpy as np
import pytest

from converters.pipeline import ConversionJob, LabelledPicture, Picture, convert
from edge.bundle.manifest import DecisionPolicy, KeepPolicy, PreprocessSpec, Provenance, QualityLimits, Verdict
from edge.bundle.reader import open_bundle
from edge.preprocess import preprocess_pixels

SPEC = PreprocessSpec(width=64, height=64)


def coins(folder: Path, count: int) -> list[LabelledPicture]:
    files = sorted(path for path in folder.rglob("*") if path.suffix.lower() in (".jpg", ".jpeg", ".png"))
    random.Random(1).shuffle(files)
    return [
        LabelledPicture(digest=hashlib.sha256(path.read_bytes()).hexdigest(), path=path, label=path.parent.name)
        for path in files[:count]
    ]


def fitted(pictures: list[LabelledPicture], labels: tuple[str, ...]):
    """A small seeded network, trained for a few seconds."""
    import torch
    from torch import nn

    torch.manual_seed(0)

    def block(width: int, out: int, stride: int) -> list[nn.Module]:
        depthwise = nn.Conv2d(width, width, 3, stride, 1, groups=width, bias=False)
        pointwise = nn.Conv2d(width, out, 1, bias=False)
        return [depthwise, nn.BatchNorm2d(width), nn.ReLU6(), pointwise, nn.BatchNorm2d(out), nn.ReLU6()]

    class Normalised(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            stem = [nn.Conv2d(3, 16, 3, 2, 1, bias=False), nn.BatchNorm2d(16), nn.ReLU6()]
            body = [*block(16, 32, 2), *block(32, 64, 2), *block(64, 64, 1), nn.AdaptiveAvgPool2d(1), nn.Flatten()]
            self.body = nn.Sequential(*stem, *body, nn.Linear(64, len(labels)))

        def forward(self, x):
            return self.body((x - 127.5) / 58.0)

    net = Normalised()
    pixels = np.stack([preprocess_pixels(picture.path, SPEC)[0] for picture in pictures])
    truths = torch.tensor([labels.index(picture.label) for picture in pictures])
    optimizer = torch.optim.AdamW(net.parameters(), 4e-3)
    for _ in range(12):
        for part in torch.randperm(len(truths)).split(32):
            batch = torch.from_numpy(pixels[part.numpy()]).permute(0, 3, 1, 2).float()
            loss = nn.functional.cross_entropy(net(batch), truths[part])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    return net


@pytest.mark.data
def test_coins_survive_the_declared_recipes(data_root, tmp_path):
    pictures = coins(data_root / "coins" / "train", 700)
    labels = tuple(sorted({picture.label for picture in pictures}))
    training, validation = pictures[:300], pictures[300:]
    job = ConversionJob(
        network=fitted(training, labels),
        name="coins",
        version=1,
        labels=labels,
        preprocess=SPEC,
        temperature=1.0,
        calibration=tuple(Picture(digest=picture.digest, path=picture.path) for picture in training[:200]),
        validation=tuple(validation),
        limits=QualityLimits(),
        decision=DecisionPolicy(),
        keep=KeepPolicy(),
        provenance=Provenance(
            run="0" * 64, snapshot="0" * 64, train_recipe="test", seed=0, weights="0" * 64, producer="test"
        ),
        out=tmp_path / "coins",
    )
    manifest = open_bundle(convert(job, progress=False)).manifest
    proof = json.loads((job.out / "proof.json").read_bytes())
    record = json.loads((job.out / "conversion.json").read_bytes())
    failed = [row for row in record["trials"] if row["verdict"] == "fail"]
    first = proof["artifacts"][0]
    assert first["float_accuracy"] > 100 / len(labels) + 5
    assert manifest.proof.verdict in (Verdict.PASS, Verdict.UNDECIDED)
    assert first["drop_points"] <= job.limits.max_drop_points
    assert len(manifest.proof.fallbacks) == len(failed)
    if not failed:
        assert first["recipe"].startswith("static_wi8_ai8")
        assert first["agreement"] > 0.95

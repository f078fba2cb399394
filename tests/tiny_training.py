"""A data set and a recipe small enough to train in two seconds, for tests and for the processes they start.

As a script it trains: `python tiny_training.py DATA STORE OUT [POINT]`; it ends itself at durable write POINT.
"""

from __future__ import annotations

import dataclasses
import io
import os
import random
import sys
from pathlib import Path

from PIL import Image

from cloud_train.datasets.snapshot import build_snapshot
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.types import DatasetSnapshot
from edge import durable
from edge.bundle.manifest import PreprocessSpec
from model_zoo.types import AugmentRecipe, ModelDef, TrainRecipe

COLOURS = {"blue": (40, 60, 210), "green": (40, 190, 60), "red": (210, 50, 40)}
RECIPE = TrainRecipe(
    name="tiny",
    model=ModelDef(architecture="test_resnet", preprocess=PreprocessSpec(width=32, height=32)),
    augment=AugmentRecipe(flip=True),
    epochs=4,
    patience=4,
    batch_size=16,
    learning_rate=3e-3,
    num_threads=1,
)


def write_coloured(root: Path, per_class: int = 20, *, labels: tuple[str, ...] = tuple(COLOURS)) -> Path:
    """An ImageFolder whose classes differ in colour alone."""
    for label in labels:
        (root / label).mkdir(parents=True)
        for number in range(per_class):
            (root / label / f"{number:03d}.png").write_bytes(coloured(label, number))
    return root


def coloured(label: str, number: int) -> bytes:
    rng = random.Random(f"{label} {number}")
    cells = bytes(
        min(255, max(0, channel + rng.randint(-60, 60)))
        for _ in range(64)
        for channel in COLOURS.get(label, (120,) * 3)
    )
    buffer = io.BytesIO()
    Image.frombytes("RGB", (8, 8), cells).resize((40, 40), Image.Resampling.BICUBIC).save(buffer, "PNG")
    return buffer.getvalue()


def freeze(data: Path, store: Path) -> tuple[DatasetSnapshot, FolderBlobStore]:
    blobs = FolderBlobStore(store / "blobs")
    return build_snapshot(data, blobs, name="coloured"), blobs


def recipe(**changes: object) -> TrainRecipe:
    return dataclasses.replace(RECIPE, **changes)


def main(data: Path, store: Path, out: Path, end_at: str) -> None:
    from cloud_train.training.classifier import train_classifier

    snapshot, blobs = freeze(data, store)
    durable.observe(lambda point: os._exit(77) if point == end_at else None)
    train_classifier(snapshot, blobs, RECIPE, out, progress=False)


if __name__ == "__main__":
    main(*(Path(one) for one in sys.argv[1:4]), sys.argv[4] if len(sys.argv) > 4 else "")

"""Trains the classifiers that the conversion tables are made with: MobileNetV2 on coins and on groceries.

python -m benchmarks.train_classifiers --data ../shared/data --out work/networks

Each is a snapshot of the data set's training folder (a fifth of it chooses the pass, calibrates and decides on
acceptance) and a run from ImageNet weights; the data set's own test or validation folder stays unseen. The same command
resumes; `train.log` beside the run has its lines.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import sys
from dataclasses import dataclass
from pathlib import Path

import click

from cloud_train.datasets.snapshot import build_snapshot, save_snapshot
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.layout import StoreLayout
from edge.bundle.manifest import PreprocessSpec
from edge.durable import make_folder
from model_zoo.transfer.recipes import transfer_recipe
from model_zoo.types import TrainRecipe

FRACTIONS = (0.79, 0.2, 0.01)


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassifierRow:
    """One trained classifier of the tables.

    Attributes:
        name: Of its folder.
        train: Folder of the data sets that it learns from, one folder a class.
        test: The same for pictures that it never sees.
        size: Side of its input in pixels.
        epochs: Most passes.
    """

    name: str
    train: str
    test: str
    size: int
    epochs: int

    @property
    def recipe(self) -> TrainRecipe:
        """The transfer recipe at this size."""
        plain = transfer_recipe()
        model = dataclasses.replace(plain.model, preprocess=PreprocessSpec(width=self.size, height=self.size))
        return dataclasses.replace(plain, name=f"transfer-{self.name}", model=model, epochs=self.epochs)


ROWS = {
    row.name: row
    for row in (
        ClassifierRow(name="coins", train="coins/train", test="coins/test", size=112, epochs=12),
        ClassifierRow(name="grocery", train="grocery/train", test="grocery/val", size=160, epochs=10),
    )
}


def store_of(out: Path, name: str) -> StoreLayout:
    """Where one row's snapshot, pictures and run lie."""
    return StoreLayout(root=out / f"mobilenetv2-{name}")


def run_of(out: Path, name: str) -> Path:
    """Folder of one row's run."""
    return store_of(out, name).root / "run"


def train_row(row: ClassifierRow, data: Path, out: Path) -> Path:
    """Trains one classifier, or goes on with it; returns its snapshot file."""
    from cloud_train.training.classifier import train_classifier

    layout = store_of(out, row.name)
    make_folder(layout.root)
    blobs = FolderBlobStore(layout.blobs)
    snapshot = build_snapshot(data / row.train, blobs, name=row.name, fractions=FRACTIONS)
    path = layout.snapshot(save_snapshot(snapshot, layout.snapshots))
    weights = data / "weights" / "mobilenetv2_100.safetensors"
    with (layout.root / "train.log").open("a") as log, contextlib.redirect_stderr(log):
        train_classifier(snapshot, blobs, row.recipe, run_of(out, row.name), initial_weights=weights)
    return path


@click.command()
@click.option("--data", default=Path("../shared/data"), type=click.Path(path_type=Path), show_default=True)
@click.option("--out", default=Path("work/networks"), type=click.Path(path_type=Path), show_default=True)
@click.option("--only", type=click.Choice(list(ROWS)), multiple=True, help="Train these only.")
def main(data: Path, out: Path, only: tuple[str, ...]) -> None:
    """Trains what is not trained yet."""
    for name in only or ROWS:
        train_row(ROWS[name], data, out)
        print(f"{name}: {run_of(out, name)}", file=sys.stderr)


if __name__ == "__main__":
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")  # read when torch is first imported; docs/benchmarks.md
    main()

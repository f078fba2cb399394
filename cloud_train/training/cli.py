"""`edgeloop train`."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cloud_train.types import TrainRun
    from model_zoo.types import TrainRecipe

ANY_PATH = click.Path(path_type=Path)


@click.command()
@click.option("--snapshot", "snapshot_file", type=ANY_PATH, required=True, help="Snapshot file to train on.")
@click.option("--blobs", "blob_folder", type=ANY_PATH, required=True, help="The store that holds its pictures.")
@click.option("--recipe", "recipe_name", default="shelf", show_default=True, help="Recipe of the model zoo.")
@click.option("--out", type=ANY_PATH, required=True, help="Folder of the run; a finished run there is not made again.")
@click.option("--weights", type=ANY_PATH, default=None, help="Local safetensors file to start from.")
@click.option("--pretrained", is_flag=True, help="Start from weights of timm's hub.")
@click.option("--epochs", type=click.IntRange(min=1), default=None, help="Most passes over the data.")
@click.option("--seed", type=click.IntRange(min=0), default=None, help="Seed of everything random.")
@click.option("--json", "as_json", is_flag=True, help="Print the run as JSON.")
def train(
    snapshot_file: Path,
    blob_folder: Path,
    recipe_name: str,
    out: Path,
    weights: Path | None,
    pretrained: bool,
    epochs: int | None,
    seed: int | None,
    as_json: bool,
) -> None:
    """Train a network on a snapshot: best epoch kept, confidences calibrated. The same command resumes."""
    from cloud_train.datasets.snapshot import load_snapshot
    from cloud_train.store.opened import open_blobs
    from model_zoo.registry import find_application

    recipe = varied(find_application(recipe_name).recipe, epochs=epochs, seed=seed)
    snapshot = load_snapshot(snapshot_file)
    blobs = open_blobs(blob_folder)
    from cloud_train.training.classifier import train_classifier

    run = train_classifier(
        snapshot, blobs, recipe, out, initial_weights=weights, pretrained=pretrained, progress=not as_json
    )
    print_run(run, out, as_json=as_json)


def varied(recipe: TrainRecipe, *, epochs: int | None, seed: int | None) -> TrainRecipe:
    """The recipe with what the command line overrides, named so that provenance shows it."""
    if epochs is not None:
        recipe = dataclasses.replace(recipe, name=f"{recipe.name}-e{epochs}", epochs=epochs)
    if seed is not None:
        recipe = dataclasses.replace(recipe, seed=seed)
    return recipe


def print_run(run: TrainRun, out: Path, *, as_json: bool) -> None:
    """Prints what a training came to."""
    from edge import jsonvalue

    digest = jsonvalue.digest_of(run)
    if as_json:
        click.echo(json.dumps({"run": digest, "path": str(out), **_object(jsonvalue.to_json(run))}))
        return
    click.echo(f"{out}: run {digest}")
    click.echo(
        f"{run.architecture}, {len(run.classes)} classes: {run.val_accuracy:.1f} % on validation, "
        f"epoch {run.best_epoch + 1} of {run.epochs}, temperature {run.temperature:g}"
    )


def _object(value: object) -> dict[str, object]:
    return value if isinstance(value, dict) else {}

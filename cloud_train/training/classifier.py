"""Trains a classifier on a snapshot and reads finished runs back.

A run is a folder with `model.safetensors` and `run.json`; the run file is written last, so a folder that has it is
whole. The same snapshot, recipe and starting weights give the same bytes on the same machine.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

import torch

from cloud_train.store.blobs import BlobStore
from cloud_train.training import weights
from cloud_train.training.callbacks import KeepBest, TerminalBar, TerminalLines
from cloud_train.training.data import PictureSet, SnapshotData, class_weights, load_split, require_trainable
from cloud_train.training.fitting import fit, memory_layout, reproducible
from cloud_train.training.lightning_module import ClassifierModule
from cloud_train.training.lightning_ready import Callback
from cloud_train.training.temperature import fit_temperature
from cloud_train.types import DatasetSnapshot, Split, TrainRun
from edge import durable, jsonvalue
from edge.errors import FormatError, UsageError
from model_zoo.common.heads import SoftmaxClassifier, build_classifier
from model_zoo.types import ModelDef, TrainRecipe

RUN_FILE, WEIGHTS_FILE = "run.json", "model.safetensors"
_BATCH = 256


def train_classifier(
    snapshot: DatasetSnapshot,
    blobs: BlobStore,
    recipe: TrainRecipe,
    out: Path,
    *,
    initial_weights: Path | None = None,
    pretrained: bool = False,
    progress: bool = True,
) -> TrainRun:
    """Trains, keeps the best epoch, fits the temperature, and writes the run.

    Args:
        snapshot: Its train and val splits are used; its test split is never looked at.
        blobs: Holds its pictures.
        recipe: How.
        out: Folder of the run; one that holds a finished run of the same inputs is returned as it is.
        initial_weights: A safetensors file to start from.
        pretrained: Start from weights of timm's hub.
        progress: Show a bar on a terminal, a few lines elsewhere; on stderr.

    Raises:
        UsageError: Nothing to learn from in the snapshot, weights that do not fit, or another run in `out`.
        EdgeloopError: The training diverged, or a picture cannot be used.
        StorageError: The run cannot be written.
    """
    require_trainable(snapshot)
    if initial_weights is not None and pretrained:
        raise UsageError("weights file and pretrained weights exclude each other", hint="name one of them")
    start = weights.read_weights(initial_weights) if initial_weights is not None else None
    wanted = _inputs(snapshot, recipe, weights.digest(start) if start is not None else "")
    finished = _finished(out, wanted, any_start=pretrained)
    if finished is not None:
        return finished
    with reproducible(seed=recipe.seed, num_threads=recipe.num_threads):
        network = build_classifier(recipe.model, len(snapshot.classes), pretrained=pretrained)
        if start is not None:
            weights.start_from(
                network, weights.parse_weights(start, where=str(initial_weights)), where=str(initial_weights)
            )
        elif pretrained:
            wanted = dataclasses.replace(wanted, initial_weights=weights.digest(weights.to_bytes(network.state_dict())))
        run = _train(network, snapshot, blobs, recipe, wanted, progress=progress)
    return _write(run, network, out)


def load_trained(out: Path) -> tuple[TrainRun, torch.nn.Module]:
    """Reads a finished run.

    Args:
        out: Folder of the run.

    Returns:
        The run, and the network in evaluation mode: float32 (N, 3, H, W) in 0 to 255 to logits.

    Raises:
        UsageError: No finished run there.
        FormatError: The weights are not those of the run.
    """
    run = _read_run(out)
    data = weights.read_weights(out / WEIGHTS_FILE)
    if weights.digest(data) != run.weights:
        raise FormatError(f"{out / WEIGHTS_FILE} is damaged: not the weights that {RUN_FILE} names", hint="train again")
    model = ModelDef(architecture=run.architecture, preprocess=run.preprocess, mean=run.mean, std=run.std)
    with torch.random.fork_rng(devices=[]):
        network = build_classifier(model, len(run.classes))
    tensors = weights.parse_weights(data, where=str(out / WEIGHTS_FILE))
    network.network.load_state_dict(tensors)
    return run, network.eval()


def _inputs(snapshot: DatasetSnapshot, recipe: TrainRecipe, initial_weights: str) -> TrainRun:
    """A run before it is run: everything that goes in, nothing that comes out."""
    return TrainRun(
        snapshot=jsonvalue.digest_of(snapshot),
        recipe=recipe.name,
        recipe_digest=jsonvalue.digest_of(recipe),
        architecture=recipe.model.architecture,
        preprocess=recipe.model.preprocess,
        mean=recipe.model.mean,
        std=recipe.model.std,
        classes=snapshot.classes,
        seed=recipe.seed,
        weights="",
        initial_weights=initial_weights,
        epochs=0,
        best_epoch=0,
        val_accuracy=0.0,
        temperature=1.0,
    )


def _finished(out: Path, wanted: TrainRun, *, any_start: bool) -> TrainRun | None:
    if not (out / RUN_FILE).exists():
        return None
    run = _read_run(out)
    same = (run.snapshot, run.recipe_digest) == (wanted.snapshot, wanted.recipe_digest)
    same_start = bool(run.initial_weights) if any_start else run.initial_weights == wanted.initial_weights
    if not (same and same_start):
        raise UsageError(f"{out} holds a run of another snapshot, recipe or weights", hint="name another folder")
    path = out / WEIGHTS_FILE
    whole = path.is_file() and weights.digest(weights.read_weights(path)) == run.weights
    return run if whole else None


def _read_run(out: Path) -> TrainRun:
    path = out / RUN_FILE
    if not path.is_file():
        raise UsageError(f"{out} holds no finished run", hint="train first: edgeloop train")
    return jsonvalue.load(TrainRun, path.read_bytes(), where=str(path))


def _train(
    network: SoftmaxClassifier,
    snapshot: DatasetSnapshot,
    blobs: BlobStore,
    recipe: TrainRecipe,
    inputs: TrainRun,
    *,
    progress: bool,
) -> TrainRun:
    """Trains `network` in place up to its best epoch."""
    train, val = (load_split(snapshot, split, blobs, recipe.model.preprocess) for split in (Split.TRAIN, Split.VAL))
    loss_weights = class_weights(train.labels, len(snapshot.classes)) if recipe.class_weights else None
    layout = memory_layout(network)
    network.to(memory_format=layout)
    best = KeepBest()
    callbacks: list[Callback] = [best]
    if progress:
        what = f"training {recipe.model.architecture} on {len(train.labels)} pictures"
        callbacks.append(TerminalBar(what) if sys.stderr.isatty() else TerminalLines(what))
    frozen = recipe.freeze_norms and bool(inputs.initial_weights)
    module = ClassifierModule(network, recipe, loss_weights, freeze_norms=frozen)
    epochs = fit(module, SnapshotData(train, val, recipe, layout), recipe, callbacks)
    network.load_state_dict(best.state)
    network.to(memory_format=torch.contiguous_format).eval()
    return dataclasses.replace(
        inputs,
        weights=weights.digest(weights.to_bytes(network.network.state_dict())),
        epochs=epochs,
        best_epoch=best.epoch,
        val_accuracy=round(best.accuracy, 4),
        temperature=_temperature(network, val),
    )


def _temperature(network: SoftmaxClassifier, val: PictureSet) -> float:
    with torch.inference_mode():
        logits = [network(pixels.float()) for pixels in val.pixels.split(_BATCH)]
    return fit_temperature(torch.cat(logits).numpy(), val.labels.numpy())


def _write(run: TrainRun, network: SoftmaxClassifier, out: Path) -> TrainRun:
    durable.make_folder(out)
    durable.sweep(out)
    durable.write_bytes(out / WEIGHTS_FILE, weights.to_bytes(network.network.state_dict()), point="run.weights")
    durable.write_bytes(out / RUN_FILE, jsonvalue.pretty_bytes(run), point="run.file")
    return run

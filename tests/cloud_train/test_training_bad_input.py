"""Every bad input of `edgeloop train`: one line that names it, the right exit code, no run left behind."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import tiny_training
import torch
from safetensors.torch import load_file, save_file
from serving import EDGELOOP, Finished

from cloud_train.datasets.snapshot import save_snapshot
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.training.classifier import train_classifier
from cloud_train.types import DatasetSnapshot, Split
from edge.errors import EdgeloopError, ImageError, UsageError
from model_zoo.common.heads import build_classifier

RunHere = Callable[..., Finished]


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetSnapshot, FolderBlobStore]:
    root = tmp_path_factory.mktemp("bad")
    return tiny_training.freeze(tiny_training.write_coloured(root / "data", 10), root / "store")


def _without(snapshot: DatasetSnapshot, *, split: Split | None = None, label: str = "") -> DatasetSnapshot:
    items = tuple(
        one
        for one in snapshot.items
        if not ((split is None or one.split is split) and (not label or one.label == label))
    )
    return dataclasses.replace(snapshot, items=items)


SNAPSHOTS = {
    "one class": (
        lambda full: dataclasses.replace(_without(_without(full, label="red"), label="green"), classes=("blue",)),
        "has 1 class, training needs at least 2",
    ),
    "no train": (lambda full: _without(full, split=Split.TRAIN), "has no train pictures"),
    "no val": (lambda full: _without(full, split=Split.VAL), "has no val pictures"),
    "no items": (lambda full: dataclasses.replace(full, items=()), "has no train pictures"),
    "a class without train": (
        lambda full: _without(full, split=Split.TRAIN, label="red"),
        "has no train pictures of red",
    ),
}


@pytest.mark.parametrize("name", SNAPSHOTS)
def test_a_snapshot_that_teaches_nothing(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path, name: str
) -> None:
    change, message = SNAPSHOTS[name]
    with pytest.raises(UsageError, match=message) as refused:
        train_classifier(change(frozen[0]), frozen[1], tiny_training.RECIPE, tmp_path / "run", progress=False)
    assert refused.value.hint
    assert refused.value.exit_code == 2
    assert not (tmp_path / "run").exists()


def _garbage(path: Path) -> None:
    path.write_bytes(b"not weights at all")


def _truncated(path: Path) -> None:
    save_file(_network().state_dict(), path)
    path.write_bytes(path.read_bytes()[:-1000])


def _wider(path: Path) -> None:
    state = _network().state_dict()
    state["layer2.0.conv1.weight"] = torch.zeros(7, 3, 3, 3)
    save_file(state, path)


def _other(path: Path) -> None:
    save_file({"features.0.weight": torch.zeros(3)}, path)


def _network() -> torch.nn.Module:
    return build_classifier(tiny_training.RECIPE.model, 3).network


WEIGHTS = {
    "missing": (lambda path: None, "cannot be read: no such file or directory"),
    "a folder": (lambda path: path.mkdir(), "cannot be read: is a directory"),
    "empty": (lambda path: path.touch(), "is not a safetensors file"),
    "garbage": (_garbage, "is not a safetensors file"),
    "truncated": (_truncated, "is not a safetensors file"),
    "another architecture": (_other, r"has no layer 'conv1.0.weight'"),
    "another width": (_wider, r"layer 'layer2.0.conv1.weight' has shape \[7, 3, 3, 3\], the network needs \["),
}


@pytest.mark.parametrize("name", WEIGHTS)
def test_weights_that_do_not_fit(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path, name: str) -> None:
    make, message = WEIGHTS[name]
    path = tmp_path / "start.safetensors"
    make(path)
    with pytest.raises(UsageError, match=message) as refused:
        train_classifier(*frozen, tiny_training.RECIPE, tmp_path / "run", initial_weights=path, progress=False)
    assert str(path) in refused.value.message
    assert refused.value.hint
    assert not (tmp_path / "run").exists()


def test_weights_and_pretrained_exclude_each_other(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path
) -> None:
    path = tmp_path / "start.safetensors"
    save_file(_network().state_dict(), path)
    with pytest.raises(UsageError, match="exclude each other"):
        train_classifier(*frozen, tiny_training.RECIPE, tmp_path / "run", initial_weights=path, pretrained=True)


def test_a_rate_that_diverges_says_so(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path) -> None:
    recipe = tiny_training.recipe(learning_rate=1e30, batch_size=4)
    with pytest.raises(EdgeloopError, match="the training diverged") as failed:
        train_classifier(*frozen, recipe, tmp_path / "run", progress=False)
    assert "lower the learning rate of recipe 'tiny' (now 1e+30)" in failed.value.hint
    assert failed.value.exit_code == 1
    assert not (tmp_path / "run").exists()


def test_a_missing_picture_is_named(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path) -> None:
    empty = FolderBlobStore(tmp_path / "empty")
    first = frozen[0].of(Split.TRAIN)[0]
    with pytest.raises(EdgeloopError, match=f"picture {first.digest[:12]}.*is not in the blob store"):
        train_classifier(frozen[0], empty, tiny_training.RECIPE, tmp_path / "run", progress=False)


def test_a_damaged_picture_is_named(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path) -> None:
    blobs = FolderBlobStore(tmp_path / "blobs")
    for item in frozen[0].items:
        blobs.put(frozen[1].read(item.digest))
    first = frozen[0].of(Split.TRAIN)[0]
    blobs.path(first.digest).write_bytes(b"\x89PNG\r\n\x1a\n and no more")
    with pytest.raises(ImageError, match=first.digest[:12]):
        train_classifier(frozen[0], blobs, tiny_training.RECIPE, tmp_path / "run", progress=False)


def _stored(frozen: tuple[DatasetSnapshot, FolderBlobStore], folder: Path) -> tuple[Path, Path]:
    folder.mkdir(exist_ok=True)
    digest = save_snapshot(frozen[0], folder)
    first = frozen[1].path(frozen[0].items[0].digest)
    return folder / f"{digest}.json", first.parents[1]


def _train(run_here: RunHere, snapshot: Path, blobs: Path, out: Path, *more: object) -> Finished:
    return run_here("train", "--snapshot", snapshot, "--blobs", blobs, "--out", out, *more)


def test_the_command_line(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path, run_here: RunHere) -> None:
    snapshot, blobs = _stored(frozen, tmp_path / "snapshots")
    done = _train(run_here, snapshot, blobs, tmp_path / "run", "--epochs", 1, "--json")
    assert (done.returncode, done.stderr) == (0, "")
    answer = json.loads(done.stdout)
    assert answer["recipe"] == "shelf-e1"
    assert answer["classes"] == ["blue", "green", "red"]
    assert json.loads((tmp_path / "run" / "run.json").read_text())["weights"] == answer["weights"]
    again = _train(run_here, snapshot, blobs, tmp_path / "run", "--epochs", 1)
    assert again.returncode == 0
    assert answer["run"] in again.stdout
    assert "test_resnet, 3 classes" in again.stdout


MISSING = {
    "snapshot": (("--snapshot", "nowhere.json"), "nowhere.json"),
    "blobs": (("--blobs", "nowhere"), "nowhere: no such blob folder"),
    "recipe": (
        ("--recipe", "nonsense"),
        "'nonsense' is not an application of the model zoo (there are shelf, transfer)",
    ),
    "weights": (("--weights", "nowhere.safetensors"), "nowhere.safetensors cannot be read"),
}


@pytest.mark.parametrize("name", MISSING)
def test_one_line_for_what_is_not_there(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path, run_here: RunHere, name: str
) -> None:
    snapshot, blobs = _stored(frozen, tmp_path / "snapshots")
    option, message = MISSING[name]
    done = _train(run_here, snapshot, blobs, tmp_path / "run", *option)
    assert done.returncode == 2
    assert done.stderr.startswith("edgeloop: error: ")
    assert done.stderr.count("\n") == 1
    assert message in done.stderr
    assert not (tmp_path / "run").exists()


def test_the_hub_out_of_reach_points_to_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(UsageError, match="cannot be fetched from timm's hub") as refused:
        build_classifier(tiny_training.RECIPE.model, 3, pretrained=True)
    assert "--weights" in refused.value.hint
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("number", "code"),
    [pytest.param(signal.SIGINT, 130, marks=pytest.mark.slow), (signal.SIGTERM, -signal.SIGTERM)],
)
def test_a_signal_ends_it_without_a_run_or_a_traceback(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path, number: signal.Signals, code: int
) -> None:
    snapshot, blobs = _stored(frozen, tmp_path / "snapshots")
    line = [*EDGELOOP, "train", "--snapshot", snapshot, "--blobs", blobs, "--out", tmp_path / "run", "--epochs", "90"]
    with subprocess.Popen(list(map(str, line)), stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert "epoch 15/90" in process.stderr.readline()
        process.send_signal(number)
        rest = process.stderr.read()
        assert process.wait(timeout=60) == code
    assert "Traceback" not in rest
    assert not (tmp_path / "run" / "run.json").exists()


def test_weights_of_the_hub_under_timm_names_load(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path
) -> None:
    path = tmp_path / "start.safetensors"
    torch.manual_seed(3)
    save_file(_network().state_dict(), path)
    recipe = tiny_training.recipe(epochs=1, learning_rate=1e-12)
    train_classifier(*frozen, recipe, tmp_path / "run", initial_weights=path, progress=False)
    made, start = load_file(tmp_path / "run" / "model.safetensors"), load_file(path)
    name = "layer1.0.conv1.weight"
    assert torch.allclose(made[name], start[name], atol=1e-6)


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX permissions")
@pytest.mark.skipif(hasattr(os, "geteuid") and os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(EdgeloopError, match="cannot write"):
        train_classifier(*frozen, tiny_training.recipe(epochs=1), locked / "run", progress=False)

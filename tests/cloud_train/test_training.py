"""Training end to end on a tiny network: learns, repeats itself to the bit, resumes, leaves the process as it was."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import tiny_training
import torch
from safetensors.torch import load_file

from cloud_train.store.blobs import FolderBlobStore
from cloud_train.training import classifier
from cloud_train.training.classifier import load_trained, train_classifier
from cloud_train.training.data import load_split
from cloud_train.types import DatasetSnapshot, Split
from edge import jsonvalue
from edge.errors import FormatError, UsageError

SCRIPT = Path(tiny_training.__file__)


@pytest.fixture(scope="module")
def frozen(tmp_path_factory: pytest.TempPathFactory) -> tuple[DatasetSnapshot, FolderBlobStore]:
    root = tmp_path_factory.mktemp("training")
    return tiny_training.freeze(tiny_training.write_coloured(root / "data"), root / "store")


@pytest.fixture(scope="module")
def trained(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("run") / "run"
    train_classifier(*frozen, tiny_training.RECIPE, out, progress=False)
    return out


def _script(*arguments: object) -> subprocess.CompletedProcess[str]:
    line = [sys.executable, str(SCRIPT), *map(str, arguments)]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=120)


def test_it_learns_and_the_run_says_what_went_in(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path
) -> None:
    run, network = load_trained(trained)
    assert run.val_accuracy == 100
    assert run.classes == ("blue", "green", "red")
    assert run.snapshot == jsonvalue.digest_of(frozen[0])
    assert run.recipe_digest == jsonvalue.digest_of(tiny_training.RECIPE)
    assert (run.initial_weights, run.epochs) == ("", 4)
    assert 0 <= run.best_epoch < 4
    assert not network.training
    assert sorted(path.name for path in trained.iterdir()) == ["model.safetensors", "run.json"]


def test_the_reloaded_network_takes_bytes_and_repeats_its_accuracy(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path
) -> None:
    run, network = load_trained(trained)
    test = load_split(frozen[0], Split.TEST, frozen[1], run.preprocess)
    with torch.inference_mode():
        logits = network(test.pixels.float())
    assert logits.shape == (len(test.labels), 3)
    assert (logits.argmax(dim=1) == test.labels).all()


@pytest.mark.slow
def test_another_process_and_another_file_order_give_the_same_weights(trained: Path, tmp_path: Path) -> None:
    backwards = tmp_path / "data"
    for label in reversed(tiny_training.COLOURS):
        (backwards / label).mkdir(parents=True)
        for number in reversed(range(20)):
            (backwards / label / f"{number:03d}.png").write_bytes(tiny_training.coloured(label, number))
    assert _script(backwards, tmp_path / "store", tmp_path / "run").returncode == 0
    for file in ("run.json", "model.safetensors"):
        assert (tmp_path / "run" / file).read_bytes() == (trained / file).read_bytes()


def test_a_worker_thread_gives_the_same_weights(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path
) -> None:
    with concurrent.futures.ThreadPoolExecutor(1) as pool:
        work = pool.submit(train_classifier, *frozen, tiny_training.RECIPE, tmp_path / "run", progress=False)
        run = work.result(timeout=120)
    assert run == load_trained(trained)[0]


def test_another_seed_gives_other_weights(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path
) -> None:
    run = train_classifier(*frozen, tiny_training.recipe(seed=8, epochs=1), tmp_path / "run", progress=False)
    assert run.weights != load_trained(trained)[0].weights


def test_torch_is_left_as_it_was(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path) -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    threads = torch.get_num_threads()
    train_classifier(*frozen, tiny_training.recipe(epochs=1, num_threads=threads + 1), tmp_path / "run", progress=False)
    assert torch.equal(torch.rand(3), expected)
    assert torch.get_num_threads() == threads
    assert not torch.are_deterministic_algorithms_enabled()


def test_a_finished_run_is_not_made_again(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path
) -> None:
    before = (trained / "model.safetensors").stat().st_mtime_ns
    empty = FolderBlobStore(tmp_path / "empty")
    run = train_classifier(frozen[0], empty, tiny_training.RECIPE, trained, progress=False)
    assert run == load_trained(trained)[0]
    assert (trained / "model.safetensors").stat().st_mtime_ns == before


@pytest.mark.parametrize("change", [{"seed": 9}, {"epochs": 5}, {"learning_rate": 1e-4}])
def test_a_folder_with_another_run_is_refused(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, change: dict[str, object]
) -> None:
    before = (trained / "run.json").read_bytes()
    with pytest.raises(UsageError, match="holds a run of another snapshot, recipe or weights"):
        train_classifier(*frozen, tiny_training.recipe(**change), trained, progress=False)
    assert (trained / "run.json").read_bytes() == before


def test_damaged_weights_are_refused_and_made_again(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path
) -> None:
    out = tmp_path / "run"
    shutil.copytree(trained, out)
    whole = (out / "model.safetensors").read_bytes()
    (out / "model.safetensors").write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(FormatError, match=r"model\.safetensors is damaged"):
        load_trained(out)
    train_classifier(*frozen, tiny_training.RECIPE, out, progress=False)
    assert (out / "model.safetensors").read_bytes() == whole


def test_no_run_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no finished run"):
        load_trained(tmp_path)


@pytest.mark.parametrize("point", [pytest.param("run.weights:written", marks=pytest.mark.slow), "run.file:written"])
def test_a_killed_training_resumes_to_the_same_bytes(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path, point: str
) -> None:
    data = tiny_training.write_coloured(tmp_path / "data")
    killed = _script(data, tmp_path / "store", tmp_path / "run", point)
    assert killed.returncode == 77
    assert not (tmp_path / "run" / "run.json").exists()
    train_classifier(*frozen, tiny_training.RECIPE, tmp_path / "run", progress=False)
    assert sorted(path.name for path in (tmp_path / "run").iterdir()) == ["model.safetensors", "run.json"]
    assert (tmp_path / "run" / "run.json").read_bytes() == (trained / "run.json").read_bytes()


def test_patience_ends_a_training_that_gets_no_better(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path
) -> None:
    # So high a rate that it gets worse after the first passes, so low a patience that it is not waited for.
    recipe = tiny_training.recipe(learning_rate=0.5, epochs=30, patience=1, weight_decay=0.0)
    run = train_classifier(*frozen, recipe, tmp_path / "run", progress=False)
    assert run.epochs < 30
    assert run.best_epoch == run.epochs - 2


def test_the_best_epoch_is_kept(frozen: tuple[DatasetSnapshot, FolderBlobStore], tmp_path: Path) -> None:
    recipe = tiny_training.recipe(learning_rate=0.5, epochs=6, patience=6, weight_decay=0.0)
    run = train_classifier(*frozen, recipe, tmp_path / "run", progress=False)
    _, network = load_trained(tmp_path / "run")
    val = load_split(frozen[0], Split.VAL, frozen[1], run.preprocess)
    with torch.inference_mode():
        accuracy = (network(val.pixels.float()).argmax(dim=1) == val.labels).float().mean() * 100
    assert float(accuracy) == pytest.approx(run.val_accuracy, abs=0.01)


def test_own_weights_are_a_start(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path
) -> None:
    # A rate too small to change anything: what comes out is what went in.
    recipe = tiny_training.recipe(epochs=1, learning_rate=1e-12)
    start = trained / "model.safetensors"
    run = train_classifier(*frozen, recipe, tmp_path / "run", initial_weights=start, progress=False)
    assert run.val_accuracy == 100
    assert run.initial_weights == load_trained(trained)[0].weights


def test_a_head_for_other_classes_is_left_out_with_a_line(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    two = dataclasses.replace(
        frozen[0], classes=("blue", "red"), items=tuple(one for one in frozen[0].items if one.label != "green")
    )
    start = trained / "model.safetensors"
    run = train_classifier(
        two, frozen[1], tiny_training.recipe(epochs=1), tmp_path / "run", initial_weights=start, progress=False
    )
    assert run.classes == ("blue", "red")
    assert f"{start}: its head is for other classes and is left out" in caplog.text


def test_weights_are_equal_bytes_for_equal_values() -> None:
    state = {"b": torch.ones(2, 3), "a": torch.zeros(4, dtype=torch.int64), "c": torch.ones(1, 3, 4, 4)}
    turned = {name: state[name] for name in ("c", "a", "b")}
    turned["c"] = turned["c"].contiguous(memory_format=torch.channels_last)
    assert classifier.weights.to_bytes(state) == classifier.weights.to_bytes(turned)


def test_nothing_is_written_beside_the_run_and_nothing_is_said(tmp_path: Path) -> None:
    data = tiny_training.write_coloured(tmp_path / "data")
    (tmp_path / "here").mkdir()
    line = [sys.executable, str(SCRIPT), str(data), str(tmp_path / "store"), str(tmp_path / "run")]
    done = subprocess.run(
        line, capture_output=True, text=True, check=False, timeout=120, cwd=tmp_path / "here", env=_environment()
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert list((tmp_path / "here").iterdir()) == []


def _environment() -> dict[str, str]:
    return {**os.environ, "PYTHONPATH": str(SCRIPT.parents[1])}


def test_norms_keep_the_statistics_of_the_starting_weights(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path
) -> None:
    start = trained / "model.safetensors"
    for freeze in (True, False):
        recipe = tiny_training.recipe(epochs=2, freeze_norms=freeze)
        out = tmp_path / f"run-{freeze}"
        train_classifier(*frozen, recipe, out, initial_weights=start, progress=False)
        before, after = (load_file(path) for path in (start, out / "model.safetensors"))
        means = [name for name in before if name.endswith("running_mean")]
        assert all(torch.equal(before[name], after[name]) is freeze for name in means)
        assert not torch.equal(before["fc.weight"], after["fc.weight"])


def test_norms_are_not_frozen_from_scratch(
    frozen: tuple[DatasetSnapshot, FolderBlobStore], trained: Path, tmp_path: Path
) -> None:
    recipe = tiny_training.recipe(freeze_norms=True)
    run = train_classifier(*frozen, recipe, tmp_path / "run", progress=False)
    assert run.weights == load_trained(trained)[0].weights

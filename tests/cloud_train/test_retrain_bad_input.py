"""`edgeloop retrain` and `edgeloop convert` given what they cannot use: one line, the right code, nothing left."""

from __future__ import annotations

from pathlib import Path

import pytest
from picture_folders import write_folder
from serving import Finished, edgeloop

from cloud_train.datasets.snapshot import build_snapshot, save_snapshot
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.layout import StoreLayout
from cloud_train.store.lock import exclusive


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    return StoreLayout(root=tmp_path / "store")


@pytest.fixture
def parent(layout: StoreLayout, tmp_path: Path) -> str:
    pictures = write_folder(tmp_path / "pictures", {"bread": 8, "jam": 8})
    return save_snapshot(build_snapshot(pictures, FolderBlobStore(layout.blobs), name="few"), layout.snapshots)


def retrain(layout: StoreLayout, parent: str, *arguments: object) -> Finished:
    return edgeloop("retrain", "--store", layout.root, "--parent", parent, "--version", 2, *arguments)


def assert_refused(finished: Finished, code: int, says: str) -> None:
    assert (finished.returncode, finished.stdout) == (code, ""), finished
    assert finished.stderr.startswith("edgeloop: error: ")
    assert finished.stderr.count("\n") == 1
    assert says in finished.stderr


def assert_nothing_made(layout: StoreLayout, *, snapshots: int) -> None:
    assert len(list(layout.snapshots.iterdir())) == snapshots
    for folder in (layout.runs, layout.bundles, layout.reports, layout.root / "repository"):
        assert not folder.exists(), folder


def test_a_second_retraining_in_the_same_store(layout: StoreLayout, parent: str) -> None:
    with exclusive(layout.root / "retrain.lock"):
        finished = retrain(layout, parent)
    assert_refused(finished, 2, f"{layout.root}: another retraining is running in this store (wait for it)")
    assert not layout.workflows.exists()


@pytest.mark.parametrize(
    ("option", "value", "says"),
    [
        ("--parent", "ab" * 32, "no snapshot " + "ab" * 32),
        ("--app", "bogus", "'bogus' is not an application of the model zoo (there are shelf, transfer)"),
        ("--champion", "gone.json", "File 'gone.json' does not exist"),
        ("--weights", "gone.safetensors", "File 'gone.safetensors' does not exist"),
        ("--version", "0", "Invalid value for '--version'"),
        ("--store", "gone", "Directory 'gone' does not exist"),
    ],
    ids=["parent", "application", "champion", "weights", "version", "store"],
)
def test_what_is_not_there_is_named(layout: StoreLayout, parent: str, option: str, value: str, says: str) -> None:
    assert_refused(retrain(layout, parent, option, value), 2, says)
    assert_nothing_made(layout, snapshots=1)


@pytest.mark.parametrize("missing", ["run", "snapshot", "blobs"])
def test_convert_names_what_is_not_there(layout: StoreLayout, parent: str, tmp_path: Path, missing: str) -> None:
    (tmp_path / "run").mkdir()
    given = {"run": tmp_path / "run", "snapshot": layout.snapshot(parent), "blobs": layout.blobs}
    given[missing] = tmp_path / "gone"
    finished = edgeloop(
        "convert", given["run"], "--snapshot", given["snapshot"], "--blobs", given["blobs"], "--out", tmp_path / "out"
    )
    assert_refused(finished, 2, f"'{tmp_path / 'gone'}' does not exist")
    assert not (tmp_path / "out").exists()

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner

from cloud_train.datasets.snapshot_file import save_snapshot, snapshot_digest
from cloud_train.evaluation.cli import evaluate
from cloud_train.evaluation.evaluate import evaluate_bundle
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.layout import StoreLayout
from cloud_train.types import DatasetSnapshot, EvalReport, SnapshotItem, Split
from edge import jsonvalue
from edge.bundle.reader import open_bundle
from edge.errors import BundleError, EdgeloopError, StorageError, UsageError

COLOURS = {"red": (200, 20, 30), "green": (30, 190, 20), "blue": (20, 40, 210), "grey": (128, 128, 128)}


@pytest.fixture
def store(tmp_path: Path) -> StoreLayout:
    return StoreLayout(root=tmp_path / "store")


@pytest.fixture
def blobs(store: StoreLayout) -> FolderBlobStore:
    return FolderBlobStore(store.blobs)


@pytest.fixture
def snapshot(blobs: FolderBlobStore, picture_bytes: Callable[..., bytes]) -> DatasetSnapshot:
    """Colours; a grey class that the bundle does not know is in the test split only."""
    items = []
    for label, colour in COLOURS.items():
        for number in range(6):
            digest = blobs.put(picture_bytes(tuple(min(255, part + number) for part in colour)))
            split = Split.TEST if number < 3 or label == "grey" else Split.TRAIN
            items.append(SnapshotItem(digest=digest, label=label, split=split, group=digest, origin="file:x"))
    return DatasetSnapshot(
        format_version=1,
        name="colours",
        classes=("blue", "green", "red"),
        items=tuple(sorted(items, key=lambda item: item.digest)),
    )


def test_the_report(tiny_bundle: Path, snapshot: DatasetSnapshot, blobs: FolderBlobStore) -> None:
    seen: list[tuple[int, int]] = []
    report = evaluate_bundle(
        tiny_bundle, snapshot, blobs, Split.TEST, progress=lambda done, total: seen.append((done, total))
    )
    assert (report.bundle, report.snapshot) == (open_bundle(tiny_bundle).digest, snapshot_digest(snapshot))
    assert report.split is Split.TEST
    assert report.artifact == "tiny_fp32.tflite"
    assert [one.digest for one in report.pictures] == [item.digest for item in snapshot.of(Split.TEST)]
    assert [one.truth for one in report.pictures] == [item.label for item in snapshot.of(Split.TEST)]
    assert [row.label for row in report.classes] == ["blue", "green", "grey", "red"]
    assert {row.label: row.recall for row in report.classes} == {"blue": 100, "green": 100, "grey": 0, "red": 100}
    assert report.accuracy.value == pytest.approx(60.0)
    assert report.accuracy.lower < 60 < report.accuracy.upper
    assert {one.outcome for one in report.pictures if one.truth == "grey"} == {"unknown"}
    assert report.majority_baseline == pytest.approx(20.0)
    assert report.histogram_baseline == pytest.approx(60.0)
    assert report.latency_p50_ms > 0
    assert seen[-1] == (15, 15)


def test_the_other_artifact_says_the_same(tiny_bundle: Path, snapshot: DatasetSnapshot, blobs: FolderBlobStore) -> None:
    reports = [evaluate_bundle(tiny_bundle, snapshot, blobs, Split.TEST, artifact=name) for name in ("tflite", "onnx")]
    assert [report.artifact for report in reports] == ["tiny_fp32.tflite", "tiny_fp32.onnx"]
    said = [[(one.predicted, one.outcome) for one in report.pictures] for report in reports]
    assert said[0] == said[1]


def test_it_comes_back_from_json(tiny_bundle: Path, snapshot: DatasetSnapshot, blobs: FolderBlobStore) -> None:
    report = evaluate_bundle(tiny_bundle, snapshot, blobs, Split.TRAIN)
    assert jsonvalue.load(EvalReport, jsonvalue.pretty_bytes(report), where="report") == report


def test_an_empty_split(tiny_bundle: Path, snapshot: DatasetSnapshot, blobs: FolderBlobStore) -> None:
    with pytest.raises(UsageError, match="'colours' has no val pictures"):
        evaluate_bundle(tiny_bundle, snapshot, blobs, Split.VAL)


def test_a_picture_that_is_gone(
    tiny_bundle: Path, snapshot: DatasetSnapshot, blobs: FolderBlobStore, store: StoreLayout
) -> None:
    gone = snapshot.of(Split.TEST)[0].digest
    blobs.shelve()
    blobs.path(gone).unlink()
    with pytest.raises(StorageError, match=f"1 pictures of the snapshot are not in the store, the first: {gone}"):
        evaluate_bundle(tiny_bundle, snapshot, blobs, Split.TEST)


def test_a_bundle_with_a_flipped_byte(tiny_bundle: Path, snapshot: DatasetSnapshot, blobs: FolderBlobStore) -> None:
    model = tiny_bundle / "tiny_fp32.tflite"
    data = bytearray(model.read_bytes())
    data[100] ^= 1
    model.write_bytes(data)
    with pytest.raises(BundleError, match=r"tiny_fp32\.tflite"):
        evaluate_bundle(tiny_bundle, snapshot, blobs, Split.TEST)


def test_the_command(tiny_bundle: Path, snapshot: DatasetSnapshot, store: StoreLayout) -> None:
    path = store.snapshot(save_snapshot(snapshot, store.snapshots))
    arguments = [str(tiny_bundle), "--snapshot", str(path), "--store", str(store.root)]
    shown = CliRunner().invoke(evaluate, arguments, catch_exceptions=False)
    assert shown.exit_code == 0
    assert "accuracy 60.0 % (95 %: " in shown.stdout
    assert "grey" in shown.stdout
    as_json = CliRunner().invoke(evaluate, [*arguments, "--json", "--split", "train"], catch_exceptions=False)
    report = jsonvalue.from_json(EvalReport, json.loads(as_json.stdout), where="stdout")
    assert report.split is Split.TRAIN
    assert report.accuracy.value == 100


@pytest.mark.parametrize(
    ("missing", "message"),
    [("bundle", "bundle"), ("snapshot", "no snapshot can be read there"), ("store", "not a store folder")],
)
def test_the_command_names_what_is_missing(
    tiny_bundle: Path, snapshot: DatasetSnapshot, store: StoreLayout, missing: str, message: str
) -> None:
    path = store.snapshot(save_snapshot(snapshot, store.snapshots))
    places = {"bundle": tiny_bundle, "snapshot": path, "store": store.root}
    if missing != "store":
        shutil.rmtree(places[missing]) if places[missing].is_dir() else places[missing].unlink()
    else:
        places["store"] = store.root / "elsewhere"
    arguments = [str(places["bundle"]), "--snapshot", str(places["snapshot"]), "--store", str(places["store"])]
    result = CliRunner().invoke(evaluate, arguments)
    assert isinstance(result.exception, EdgeloopError)
    assert message in str(result.exception)
    assert not (store.root / "elsewhere").exists()

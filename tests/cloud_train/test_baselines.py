from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from cloud_train.evaluation.baselines import colour_histogram, histogram_accuracy, majority_accuracy
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.types import SnapshotItem, Split
from edge.bundle.manifest import PreprocessSpec

SPEC = PreprocessSpec(width=32, height=32)


def _item(digest: str, label: str) -> SnapshotItem:
    return SnapshotItem(digest=digest, label=label, split=Split.TRAIN, group=digest, origin="file:x")


def _noise(rng: random.Random, colour: tuple[int, int, int]) -> bytes:
    pixels = np.clip(
        np.array(colour) + np.array([rng.randrange(-40, 40) for _ in range(12 * 12 * 3)]).reshape(12, 12, 3), 0, 255
    )
    target = io.BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(target, "PNG")
    return target.getvalue()


def test_majority_names_the_commonest_training_class() -> None:
    train = [_item("0", "b"), _item("1", "b"), _item("2", "a")]
    test = [_item("3", "a"), _item("4", "b"), _item("5", "c"), _item("6", "c")]
    assert majority_accuracy(train, test) == 25.0
    assert majority_accuracy(train[1:], test) == 25.0
    assert majority_accuracy([], test) == majority_accuracy(train, []) == 0.0


def test_the_histogram_counts_colours() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[:2] = (255, 32, 0)
    found = colour_histogram(pixels)
    assert found.shape == (512,)
    assert found.dtype == np.float32
    assert {int(cell): float(found[cell]) ** 2 for cell in np.nonzero(found)[0]} == pytest.approx(
        {0: 0.5, 7 * 64 + 8: 0.5}
    )


@pytest.mark.parametrize(("told", "low", "high"), [(True, 95, 100), (False, 20, 80)])
def test_colours_are_found_where_they_tell_and_only_there(tmp_path: Path, told: bool, low: float, high: float) -> None:
    blobs, rng = FolderBlobStore(tmp_path), random.Random(1)
    items = []
    for number in range(80):
        label = "ab"[number % 2]
        colour = (200, 60, 60) if told and label == "a" else (60, 60, 200)
        items.append(_item(blobs.put(_noise(rng, colour)), label))
    assert low <= histogram_accuracy(items[:40], items[40:], blobs, SPEC) <= high


def test_one_training_class_is_the_majority(tmp_path: Path) -> None:
    blobs, rng = FolderBlobStore(tmp_path), random.Random(1)
    train = [_item(blobs.put(_noise(rng, (9, 9, 9))), "a") for _ in range(3)]
    assert histogram_accuracy(train, [train[0], _item(train[1].digest, "b")], blobs, SPEC) == 50.0

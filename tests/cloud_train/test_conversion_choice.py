"""Which pictures calibrate and which prove."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from picture_folders import patterned

from cloud_train.retrain import conversion
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.types import DatasetSnapshot, SnapshotItem, Split

COUNTS = {"bread": 5, "cheese": 1, "jam": 3}


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "blobs")


@pytest.fixture
def items(blobs: FolderBlobStore) -> list[SnapshotItem]:
    made = []
    for split in Split:
        for label, count in COUNTS.items():
            for number in range(count):
                digest = blobs.put(patterned(f"{split.value} {label} {number}", size=(16, 16)))
                made.append(SnapshotItem(digest=digest, label=label, split=split, group=digest, origin="file:x"))
    return made


def snapshot_of(items: list[SnapshotItem]) -> DatasetSnapshot:
    return DatasetSnapshot(format_version=1, name="few", classes=tuple(sorted(COUNTS)), items=tuple(items))


def in_turn(items: list[SnapshotItem], split: Split) -> list[str]:
    """The oracle: the first of every class by digest, then the second of every class, and so on."""
    queues = {
        label: sorted(item.digest for item in items if item.label == label and item.split is split)
        for label in sorted(COUNTS)
    }
    return [queue[turn] for turn in range(max(COUNTS.values())) for queue in queues.values() if turn < len(queue)]


def test_calibration_takes_training_pictures_of_the_classes_in_turn(
    items: list[SnapshotItem], blobs: FolderBlobStore
) -> None:
    chosen = conversion.calibration_pictures(snapshot_of(items), blobs)
    assert [picture.digest for picture in chosen] == in_turn(items, Split.TRAIN)
    assert [picture.path for picture in chosen] == [blobs.path(picture.digest) for picture in chosen]


def test_the_proof_takes_validation_pictures_of_the_classes_in_turn(
    items: list[SnapshotItem], blobs: FolderBlobStore
) -> None:
    chosen = conversion.validation_pictures(snapshot_of(items), blobs)
    assert [picture.digest for picture in chosen] == in_turn(items, Split.VAL)
    labels = {item.digest: item.label for item in items}
    assert [picture.label for picture in chosen] == [labels[picture.digest] for picture in chosen]


@pytest.mark.parametrize("choose", [conversion.calibration_pictures, conversion.validation_pictures])
def test_the_choice_does_not_depend_on_the_order_of_the_items(
    items: list[SnapshotItem], blobs: FolderBlobStore, choose: object
) -> None:
    shuffled = random.Random(3).sample(items, len(items))
    assert choose(snapshot_of(shuffled), blobs) == choose(snapshot_of(items), blobs)


def test_a_bounded_choice_still_has_every_class(
    items: list[SnapshotItem], blobs: FolderBlobStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conversion, "CALIBRATION_PICTURES", 4)
    chosen = {picture.digest for picture in conversion.calibration_pictures(snapshot_of(items), blobs)}
    assert len(chosen) == 4
    assert {item.label for item in items if item.digest in chosen} == set(COUNTS)

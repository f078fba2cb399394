from __future__ import annotations

from collections import Counter
from pathlib import Path

import pytest
from report_values import digest_of

from cloud_train.datasets.holdback import hold_back
from cloud_train.datasets.snapshot_file import check_snapshot, snapshot_digest
from cloud_train.datasets.split import Fractions, split_groups
from cloud_train.types import DatasetSnapshot, SnapshotItem, Split
from edge.errors import UsageError


def _snapshot(counts: dict[str, int], *, group_of: int = 1) -> DatasetSnapshot:
    """A snapshot without pictures; every `group_of` pictures in a row are near duplicates."""
    groups: dict[str, list[tuple[str, str]]] = {}
    for label, count in counts.items():
        for start in range(0, count, group_of):
            members = [digest_of(f"{label} {number}") for number in range(start, min(start + group_of, count))]
            groups[min(members)] = [(digest, label) for digest in members]
    labels = {group: frozenset(label for _, label in members) for group, members in groups.items()}
    splits = split_groups(labels, Fractions(train=0.6, val=0.15, test=0.25))
    items = [
        SnapshotItem(digest=digest, label=label, split=splits[group], group=group, origin=f"file:{label}/x.png")
        for group, members in groups.items()
        for digest, label in members
    ]
    return DatasetSnapshot(
        format_version=1,
        name="all",
        classes=tuple(sorted(counts)),
        items=tuple(sorted(items, key=lambda one: one.digest)),
    )


COUNTS = {"a": 60, "b": 60, "c": 60, "d": 60, "tiny": 4, "small": 9}


def test_nothing_is_lost_and_nothing_is_twice() -> None:
    full = _snapshot(COUNTS)
    held = hold_back(full, unknown_classes=("b", "d"), num_unknown=0, field_fraction=0.5, seed=1)
    assert sorted((*held.told.items, *held.field), key=lambda item: item.digest) == list(full.items)
    assert held.unknown == ("b", "d")
    assert held.told.classes == ("a", "c", "small", "tiny")
    assert held.told.of(Split.TEST) == full.of(Split.TEST)
    assert held.told.parent == snapshot_digest(full)
    check_snapshot(held.told, where="told")


def test_known_classes_keep_validation_and_part_of_training() -> None:
    full = _snapshot(COUNTS)
    held = hold_back(full, unknown_classes=("b",), num_unknown=0, field_fraction=0.5, seed=1)
    known_val = [item for item in full.of(Split.VAL) if item.label != "b"]
    assert list(held.told.of(Split.VAL)) == known_val
    shares = Counter(item.label for item in held.told.of(Split.TRAIN))
    whole = Counter(item.label for item in full.of(Split.TRAIN))
    for label in ("a", "c", "d"):
        assert 0.2 * whole[label] < shares[label] < 0.8 * whole[label]
    assert {item.split for item in held.field if item.label == "b"} == {Split.TRAIN, Split.VAL}
    assert {item.split for item in held.field if item.label != "b"} == {Split.TRAIN}
    assert list(held.field) == sorted(held.field, key=lambda item: item.digest)


@pytest.mark.parametrize("fraction", [0.0, 0.3, 1.0])
def test_every_known_class_keeps_something_to_train_on(fraction: float) -> None:
    held = hold_back(_snapshot(COUNTS), unknown_classes=(), num_unknown=0, field_fraction=fraction, seed=4)
    assert {item.label for item in held.told.of(Split.TRAIN)} == set(COUNTS)
    if fraction == 0:
        assert held.field == ()


def test_near_duplicates_stay_together() -> None:
    held = hold_back(_snapshot(COUNTS, group_of=3), unknown_classes=("a",), num_unknown=0, field_fraction=0.5, seed=2)
    assert not {item.group for item in held.told.items} & {item.group for item in held.field}
    assert held.field


def test_the_seed_chooses_among_large_classes_only() -> None:
    full = _snapshot(COUNTS)
    chosen = {
        hold_back(full, unknown_classes=None, num_unknown=2, field_fraction=0.5, seed=seed).unknown
        for seed in range(30)
    }
    assert len(chosen) > 2
    assert {label for pair in chosen for label in pair} <= {"a", "b", "c", "d"}
    again = hold_back(full, unknown_classes=None, num_unknown=2, field_fraction=0.5, seed=3)
    assert again == hold_back(full, unknown_classes=None, num_unknown=2, field_fraction=0.5, seed=3)


def test_another_seed_hides_other_pictures() -> None:
    full = _snapshot(COUNTS)
    fields = [
        hold_back(full, unknown_classes=("a",), num_unknown=0, field_fraction=0.5, seed=seed).field for seed in (1, 2)
    ]
    assert fields[0] != fields[1]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"unknown_classes": ("nobody",)}, "class 'nobody' is not in the data"),
        ({"unknown_classes": ("a", "b", "c", "d", "tiny")}, "5 of 6 classes held back leaves 1"),
        ({"unknown_classes": None, "num_unknown": 6}, "cannot hold back 6 classes"),
        ({"unknown_classes": None, "num_unknown": -1}, "cannot hold back -1 classes"),
        ({"unknown_classes": (), "field_fraction": 1.5}, "must be 0 to 1"),
    ],
)
def test_what_makes_no_sense_is_refused(options: dict[str, object], message: str) -> None:
    arguments = {"unknown_classes": (), "num_unknown": 0, "field_fraction": 0.5, "seed": 1} | options
    with pytest.raises(UsageError, match=message) as caught:
        hold_back(_snapshot(COUNTS), **arguments)
    assert "\n" not in str(caught.value)


@pytest.mark.data
def test_on_real_coins(data_root: Path, tmp_path: Path) -> None:
    from cloud_train.datasets.snapshot import build_snapshot, extend_snapshot
    from cloud_train.store.blobs import FolderBlobStore

    blobs = FolderBlobStore(tmp_path / "blobs")
    full = build_snapshot(data_root / "coins" / "train", blobs, name="coins")
    assert {split: len(full.of(split)) for split in Split} == {Split.TRAIN: 779, Split.VAL: 183, Split.TEST: 329}
    held = hold_back(full, unknown_classes=None, num_unknown=2, field_fraction=0.5, seed=3)
    child = extend_snapshot(
        held.told, tuple((item.digest, item.label, "sample:x") for item in held.field), blobs, name="coins"
    )
    assert child.classes == full.classes
    assert child.of(Split.TEST) == full.of(Split.TEST)
    assert len(child.items) == len(full.items)

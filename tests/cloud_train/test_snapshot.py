from __future__ import annotations

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from picture_folders import patterned, sha256, write_folder

from cloud_train.datasets.snapshot import (
    build_snapshot,
    extend_snapshot,
    load_snapshot,
    save_snapshot,
    snapshot_digest,
)
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.types import DatasetSnapshot, SnapshotItem, Split
from edge import jsonvalue
from edge.errors import FormatError, StorageError, UsageError


@pytest.fixture
def blobs(tmp_path: Path) -> FolderBlobStore:
    return FolderBlobStore(tmp_path / "blobs")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_folder(tmp_path / "pictures", {"a": 20, "b": 12, "c": 3})


@pytest.fixture
def parent(folder: Path, blobs: FolderBlobStore) -> DatasetSnapshot:
    return build_snapshot(folder, blobs, name="pictures")


def _splits(snapshot: DatasetSnapshot) -> dict[str, Split]:
    return {item.digest: item.split for item in snapshot.items}


def _put(blobs: FolderBlobStore, *names: str, kind: str = "PNG", tint: int = 0) -> list[str]:
    return [blobs.put(patterned(name, kind=kind, tint=tint)) for name in names]


def test_every_picture_is_in_it_and_in_the_store(folder: Path, blobs: FolderBlobStore, parent: DatasetSnapshot) -> None:
    files = {sha256(path.read_bytes()): path for path in folder.rglob("*.png")}
    assert [item.digest for item in parent.items] == sorted(files)
    for item in parent.items:
        assert blobs.read(item.digest) == files[item.digest].read_bytes()
        assert item.origin == f"file:{files[item.digest].relative_to(folder).as_posix()}"
        assert item.label == files[item.digest].parent.name
        assert item.group == item.digest
    assert parent.classes == ("a", "b", "c")
    assert (parent.format_version, parent.parent, parent.skipped, parent.num_duplicates) == (1, "", (), 0)
    for label in parent.classes:
        assert {item.split for item in parent.items if item.label == label} == set(Split)


def test_names_and_places_do_not_decide(
    tmp_path: Path, folder: Path, blobs: FolderBlobStore, parent: DatasetSnapshot
) -> None:
    renamed = tmp_path / "renamed"
    for number, path in enumerate(sorted(folder.rglob("*.png"), reverse=True)):
        target = renamed / path.parent.name / "deep" / f"z{number}.PNG"
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target)
    again = build_snapshot(renamed, blobs, name="pictures")
    assert _splits(again) == _splits(parent)


def test_near_duplicates_never_straddle_a_split(tmp_path: Path, blobs: FolderBlobStore) -> None:
    root = write_folder(tmp_path / "pictures", {"a": 30, "b": 30})
    for number in range(30):
        (root / "a" / f"copy{number}.jpg").write_bytes(patterned(f"a {number}", kind="JPEG", quality=70))
    snapshot = build_snapshot(root, blobs, name="x")
    groups: dict[str, list[SnapshotItem]] = {}
    for item in snapshot.items:
        groups.setdefault(item.group, []).append(item)
    assert sum(len(items) == 2 for items in groups.values()) == 30
    for group, items in groups.items():
        assert len({item.split for item in items}) == 1
        assert group == min(item.digest for item in items)


def test_what_is_left_out_is_counted_and_named(folder: Path, blobs: FolderBlobStore) -> None:
    shutil.copy(folder / "a/000.png", folder / "a/again.png")
    (folder / "b/words.jpg").write_bytes(b"words")
    for label in "ab":
        (folder / label / "both.png").write_bytes(patterned("both"))
    snapshot = build_snapshot(folder, blobs, name="x")
    assert snapshot.num_duplicates == 1
    assert snapshot.skipped == (
        "a/both.png: the same picture is in the classes a, b",
        "b/both.png: the same picture is in the classes a, b",
        "b/words.jpg: not a JPEG, PNG or WebP picture",
    )
    assert not blobs.has(sha256(patterned("both")))
    assert not blobs.has(sha256(b"words"))


def test_a_second_run_writes_nothing(
    folder: Path, blobs: FolderBlobStore, parent: DatasetSnapshot, durable_points: list[str]
) -> None:
    assert build_snapshot(folder, blobs, name="pictures") == parent
    assert durable_points == []


def test_a_file_that_changes_meanwhile_is_refused(folder: Path, blobs: FolderBlobStore) -> None:
    def meddle(done: int, total: int) -> None:
        if done == total:
            (folder / "b/003.png").write_bytes(patterned("other"))

    with pytest.raises(UsageError, match=r"b/003\.png: changed while the snapshot was made"):
        build_snapshot(folder, blobs, name="x", progress=meddle)


def test_fractions_that_are_none_are_refused(folder: Path, blobs: FolderBlobStore) -> None:
    with pytest.raises(UsageError, match="fractions"):
        build_snapshot(folder, blobs, name="x", fractions=(0.5, 0.1, 0.1))


def test_saved_and_loaded_again(tmp_path: Path, parent: DatasetSnapshot) -> None:
    digest = save_snapshot(parent, tmp_path / "deep" / "snapshots")
    path = tmp_path / "deep" / "snapshots" / f"{digest}.json"
    assert digest == snapshot_digest(parent) == sha256(path.read_bytes())
    assert path.read_bytes() == jsonvalue.canonical_bytes(parent)
    assert load_snapshot(path) == parent
    assert list(path.parent.iterdir()) == [path]


def test_saving_again_writes_nothing_and_mends_a_damaged_file(
    tmp_path: Path, parent: DatasetSnapshot, durable_points: list[str]
) -> None:
    digest = save_snapshot(parent, tmp_path)
    durable_points.clear()
    assert save_snapshot(parent, tmp_path) == digest
    assert durable_points == []
    (tmp_path / f"{digest}.json").write_bytes(b"{}")
    save_snapshot(parent, tmp_path)
    assert load_snapshot(tmp_path / f"{digest}.json") == parent


def test_a_flipped_byte_is_found(tmp_path: Path, parent: DatasetSnapshot) -> None:
    path = tmp_path / f"{save_snapshot(parent, tmp_path)}.json"
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(FormatError, match="damaged: its content does not match its name"):
        load_snapshot(path)


BROKEN: dict[str, tuple[Callable[[DatasetSnapshot], DatasetSnapshot], str]] = {
    "version": (lambda one: dataclasses.replace(one, format_version=2), "format_version 2, only 1 is read"),
    "classes": (lambda one: dataclasses.replace(one, classes=("b", "a", "c")), "classes must be sorted"),
    "order": (lambda one: dataclasses.replace(one, items=one.items[::-1]), "items must be sorted by digest"),
    "twice": (lambda one: dataclasses.replace(one, items=(one.items[0], *one.items)), "items must be sorted"),
    "digest": (lambda one: _with_first(one, digest="0"), "must be SHA-256 in hex"),
    "group": (lambda one: _with_first(one, group="../x"), "must be SHA-256 in hex"),
    "straddles": (
        lambda one: dataclasses.replace(
            one, items=tuple(dataclasses.replace(item, group=one.items[0].digest) for item in one.items)
        ),
        "lies in two splits",
    ),
    "label": (
        lambda one: dataclasses.replace(one, classes=("a", "b")),
        "'c' is not one of the classes",
    ),
}


def _with_first(one: DatasetSnapshot, **changes: str) -> DatasetSnapshot:
    return dataclasses.replace(one, items=(dataclasses.replace(one.items[0], **changes), *one.items[1:]))


@pytest.mark.parametrize("rule", BROKEN)
def test_what_breaks_the_format_is_refused(tmp_path: Path, parent: DatasetSnapshot, rule: str) -> None:
    change, message = BROKEN[rule]
    path = tmp_path / "snapshot.json"
    path.write_bytes(jsonvalue.canonical_bytes(change(parent)))
    with pytest.raises(FormatError, match=message) as caught:
        load_snapshot(path)
    assert str(caught.value).startswith("snapshot.json: ")


def test_a_test_picture_may_be_of_a_class_that_is_not_known(tmp_path: Path, parent: DatasetSnapshot) -> None:
    told = dataclasses.replace(
        parent,
        classes=("a", "b"),
        items=tuple(item for item in parent.items if item.label != "c" or item.split is Split.TEST),
    )
    path = tmp_path / f"{save_snapshot(told, tmp_path)}.json"
    assert load_snapshot(path) == told


def test_no_snapshot_there(tmp_path: Path) -> None:
    for path in (tmp_path / "none.json", tmp_path):
        with pytest.raises(UsageError, match="no snapshot can be read there"):
            load_snapshot(path)


def test_extended_by_new_pictures(blobs: FolderBlobStore, parent: DatasetSnapshot) -> None:
    digests = _put(blobs, *(f"new {number}" for number in range(40)))
    additions = tuple((digest, "d" if number < 20 else "a", "sample:kiosk-1") for number, digest in enumerate(digests))
    child = extend_snapshot(parent, additions, blobs, name="more")
    assert child.parent == snapshot_digest(parent)
    assert child.classes == ("a", "b", "c", "d")
    assert {item.digest: item for item in child.items} | {item.digest: item for item in parent.items} == {
        item.digest: item for item in child.items
    }
    added = [item for item in child.items if item.digest in digests]
    assert len(added) == 40
    assert {item.origin for item in added} == {"sample:kiosk-1"}
    assert child.of(Split.TEST) == parent.of(Split.TEST)
    num_val = sum(item.split is Split.VAL for item in added)
    assert 1 <= num_val <= 14
    assert {item.split for item in added if item.label == "d"} == {Split.TRAIN, Split.VAL}


def test_a_class_new_to_the_parent_gets_both_splits_however_small(
    blobs: FolderBlobStore, parent: DatasetSnapshot
) -> None:
    for start in range(0, 30, 3):
        digests = _put(blobs, *(f"tiny {number}" for number in range(start, start + 3)))
        child = extend_snapshot(parent, tuple((digest, "d", "sample:x") for digest in digests), blobs, name="x")
        assert {item.split for item in child.items if item.label == "d"} == {Split.TRAIN, Split.VAL}


def test_held_back_training_pictures_may_join_validation(blobs: FolderBlobStore, parent: DatasetSnapshot) -> None:
    """What the first split put into training must not be kept out of validation by the same number."""
    back = [item for item in parent.of(Split.TRAIN) if item.label == "a"]
    told = dataclasses.replace(parent, items=tuple(item for item in parent.items if item not in back))
    child = extend_snapshot(told, tuple((item.digest, "a", "sample:x") for item in back), blobs, name="x")
    splits = {child_item.split for child_item in child.items if child_item.digest in {item.digest for item in back}}
    assert splits == {Split.TRAIN, Split.VAL}


def test_order_plays_no_part_and_nothing_new_gives_the_parent(blobs: FolderBlobStore, parent: DatasetSnapshot) -> None:
    additions = tuple((digest, "a", "sample:x") for digest in _put(blobs, "n1", "n2", "n3"))
    child = extend_snapshot(parent, additions, blobs, name="more")
    assert extend_snapshot(parent, additions[::-1] + additions[:1], blobs, name="more").items == child.items
    assert extend_snapshot(child, additions, blobs, name="more") is child
    assert extend_snapshot(parent, (), blobs, name="more") is parent


def test_near_duplicates_of_the_parent_follow_it_but_never_into_test(
    blobs: FolderBlobStore, parent: DatasetSnapshot, folder: Path
) -> None:
    twins: dict[Split, SnapshotItem] = {split: parent.of(split)[0] for split in Split}
    digests = {}
    for split, item in twins.items():
        stem = Path(item.origin).stem
        digests[split] = blobs.put(patterned(f"{item.label} {int(stem)}", kind="JPEG", quality=80))
    additions = tuple((digest, twins[split].label, "sample:x") for split, digest in digests.items())
    child = extend_snapshot(parent, additions, blobs, name="more")
    found = {item.digest: item for item in child.items}
    assert digests[Split.TEST] not in found
    for split in (Split.TRAIN, Split.VAL):
        assert (found[digests[split]].split, found[digests[split]].group) == (split, twins[split].group)
    assert child.skipped == (
        f"sample {digests[Split.TEST]}: near duplicate of the test picture {twins[Split.TEST].digest}",
    )


def test_a_chain_of_near_duplicates_to_a_test_picture_is_dropped(
    blobs: FolderBlobStore, parent: DatasetSnapshot
) -> None:
    item = parent.of(Split.TEST)[0]
    name = f"{item.label} {int(Path(item.origin).stem)}"
    chain = [blobs.put(patterned(name, kind="JPEG", quality=90)), blobs.put(patterned(name, tint=20))]
    child = extend_snapshot(parent, tuple((digest, "a", "sample:x") for digest in chain), blobs, name="more")
    assert child is parent


def test_a_known_picture_keeps_its_label_and_split(blobs: FolderBlobStore, parent: DatasetSnapshot) -> None:
    known = parent.of(Split.TEST)[0]
    new = _put(blobs, "really new")[0]
    child = extend_snapshot(parent, ((known.digest, "c", "sample:x"), (new, "a", "sample:x")), blobs, name="more")
    assert known in child.items
    assert child.num_duplicates == 1


def test_unclear_additions_are_left_out_by_name(blobs: FolderBlobStore, parent: DatasetSnapshot) -> None:
    two, none, fine = _put(blobs, "two labels", "no label", "fine")
    words = blobs.put(b"words")
    additions = ((two, "a", "s:x"), (two, "b", "s:y"), (none, "", "s:x"), (words, "a", "s:x"), (fine, "a", "s:x"))
    child = extend_snapshot(parent, additions, blobs, name="more")
    assert set(_splits(child)) - set(_splits(parent)) == {fine}
    assert set(child.skipped) == {
        f"sample {two}: labelled a and b",
        f"sample {none}: no class was named",
        f"sample {words}: picture: not a JPEG, PNG or WebP picture",
    }


def test_a_picture_that_is_not_in_the_store_is_an_error(blobs: FolderBlobStore, parent: DatasetSnapshot) -> None:
    missing = sha256(b"missing")
    with pytest.raises(StorageError, match=f"picture {missing} is not in the store"):
        extend_snapshot(parent, ((missing, "a", "sample:x"),), blobs, name="more")

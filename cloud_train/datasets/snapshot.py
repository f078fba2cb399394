"""Freezes a folder of pictures as a snapshot. Format page: docs/formats/snapshot.md."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from cloud_train.datasets.duplicates import group_digests, group_near_duplicates
from cloud_train.datasets.extend import extend_snapshot
from cloud_train.datasets.inspect import FoundPicture, Inspection, Progress, inspect_folder
from cloud_train.datasets.snapshot_file import FORMAT_VERSION, load_snapshot, save_snapshot, snapshot_digest
from cloud_train.datasets.split import Fractions, split_groups
from cloud_train.store.blobs import BlobStore
from cloud_train.types import DatasetSnapshot, SnapshotItem
from edge.errors import UsageError

__all__ = [
    "DEFAULT_FRACTIONS",
    "build_snapshot",
    "extend_snapshot",
    "load_snapshot",
    "save_snapshot",
    "snapshot_digest",
]

DEFAULT_FRACTIONS = (0.6, 0.15, 0.25)
STORING_THREADS = 8


def build_snapshot(
    folder: Path,
    blobs: BlobStore,
    *,
    name: str,
    fractions: tuple[float, float, float] = DEFAULT_FRACTIONS,
    progress: Progress | None = None,
) -> DatasetSnapshot:
    """Freezes an ImageFolder: its pictures go into the store, each into one split for ever.

    Killed and called again it goes on where it was: pictures that are in the store are not written again.

    Args:
        folder: One folder a class.
        blobs: Takes the pictures.
        name: For people.
        fractions: Train, validation and test.
        progress: Called with files done and files in all.

    Raises:
        UsageError: Nothing to learn from in the folder, or fractions that are none.
        StorageError: The store cannot be written.
    """
    aim = _fractions(fractions)
    inspection = inspect_folder(folder, progress=progress)
    groups = _groups_of(inspection.pictures)
    splits = split_groups(_labels_of(inspection.pictures, groups), aim)
    _store_all(folder, inspection.pictures, blobs)
    items = (
        SnapshotItem(
            digest=picture.digest,
            label=picture.label,
            split=splits[groups[picture.digest]],
            group=groups[picture.digest],
            origin=f"file:{picture.path}",
        )
        for picture in inspection.pictures
    )
    return DatasetSnapshot(
        format_version=FORMAT_VERSION,
        name=name,
        classes=tuple(inspection.classes),
        items=tuple(sorted(items, key=lambda item: item.digest)),
        skipped=_skipped(inspection),
        num_duplicates=inspection.num_duplicates,
    )


def _fractions(fractions: tuple[float, float, float]) -> Fractions:
    try:
        train, val, test = fractions
        return Fractions(train=train, val=val, test=test)
    except ValueError as cause:
        raise UsageError(str(cause), hint="for instance 0.6 0.15 0.25") from cause


def _groups_of(pictures: tuple[FoundPicture, ...]) -> dict[str, str]:
    """Picture digest to the smallest digest among its near duplicates."""
    return group_digests(
        [picture.digest for picture in pictures], group_near_duplicates([one.fingerprint for one in pictures])
    )


def _labels_of(pictures: tuple[FoundPicture, ...], groups: Mapping[str, str]) -> dict[str, frozenset[str]]:
    labels: dict[str, set[str]] = {}
    for picture in pictures:
        labels.setdefault(groups[picture.digest], set()).add(picture.label)
    return {group: frozenset(held) for group, held in labels.items()}


def _store_all(folder: Path, pictures: tuple[FoundPicture, ...], blobs: BlobStore) -> None:
    """Puts the pictures into the store, several at a time: most of the time is spent waiting for the disk."""
    pool = ThreadPoolExecutor(max_workers=STORING_THREADS)
    try:
        for _ in pool.map(lambda picture: _store(folder, picture, blobs), pictures):
            pass
    finally:
        pool.shutdown(cancel_futures=True)


def _store(folder: Path, picture: FoundPicture, blobs: BlobStore) -> None:
    """Puts one picture into the store, sure that it is the one that was inspected."""
    if blobs.has(picture.digest):
        return
    try:
        data = (folder / picture.path).read_bytes()
    except OSError:
        data = b""
    if hashlib.sha256(data).hexdigest() != picture.digest:
        raise UsageError(
            f"{folder / picture.path}: changed while the snapshot was made", hint="run the same command again"
        )
    blobs.put(data)


def _skipped(inspection: Inspection) -> tuple[str, ...]:
    """Unusable files and pictures of several classes, as the snapshot names them."""
    lines = list(inspection.skipped)
    for conflict in inspection.conflicts:
        lines += [f"{path}: the same picture is in the classes {', '.join(conflict.labels)}" for path in conflict.paths]
    return tuple(sorted(lines))

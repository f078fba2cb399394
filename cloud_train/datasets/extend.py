"""Extends a snapshot by labelled samples without ever moving a picture that is in it.

What the test split must never see in training decides first: a sample that is a near duplicate of a test picture is
dropped, one of a validation picture joins validation, one of a training picture joins training. Every other sample goes
to validation or training by content. Nothing ever joins the test split.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from cloud_train.datasets.duplicates import Fingerprint, fingerprint, group_near_duplicates
from cloud_train.datasets.snapshot_file import FORMAT_VERSION, snapshot_digest
from cloud_train.datasets.split import Fractions, split_groups, split_of
from cloud_train.store.blobs import BlobStore
from cloud_train.types import DatasetSnapshot, SnapshotItem, Split
from edge.errors import FormatError, ImageError, StorageError

Addition: TypeAlias = tuple[str, str, str]
NEW_FRACTIONS = Fractions(train=0.85, val=0.15, test=0.0)
# A salt of its own: what once fell to training by the first share must not do so again for that reason.
_SALT = "extend"


@dataclass(slots=True)
class _Intake:
    """The additions, sorted out.

    Attributes:
        fresh: Digest to label and origin, of those that may join.
        skipped: `sample <digest>: reason`.
        num_duplicates: Additions that are in the parent already or came twice.
    """

    fresh: dict[str, tuple[str, str]] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)
    num_duplicates: int = 0

    def drop(self, digest: str, reason: str) -> None:
        """Takes one addition out and says why."""
        self.fresh.pop(digest, None)
        self.skipped.append(f"sample {digest}: {reason}")


def extend_snapshot(
    parent: DatasetSnapshot, additions: tuple[Addition, ...], blobs: BlobStore, *, name: str
) -> DatasetSnapshot:
    """Adds labelled samples to a snapshot.

    Idempotent: where every addition is in the parent already, the parent itself comes back. The result depends on the
    parent and the additions, not on their order.

    Args:
        parent: Stays as it is; its items keep label, split and group.
        additions: Digest, label and origin of each sample; its picture lies in `blobs`.
        blobs: Holds the pictures of the parent and of the additions.
        name: Of the new snapshot, for people.

    Raises:
        StorageError: A picture is not in the store, or damaged there.
    """
    intake = _sort_out(parent, additions)
    if not intake.fresh:
        return parent
    new_prints = _fingerprint_fresh(intake, blobs)
    old_prints = {item.digest: _known_fingerprint(item.digest, blobs) for item in parent.items}
    items = _place(parent, intake, _components(old_prints | new_prints))
    if not items:
        return parent
    return DatasetSnapshot(
        format_version=FORMAT_VERSION,
        name=name,
        classes=tuple(sorted({*parent.classes, *(item.label for item in items)})),
        items=tuple(sorted((*parent.items, *items), key=lambda item: item.digest)),
        parent=snapshot_digest(parent),
        skipped=tuple(sorted(intake.skipped)),
        num_duplicates=intake.num_duplicates,
    )


def _sort_out(parent: DatasetSnapshot, additions: tuple[Addition, ...]) -> _Intake:
    """Leaves out what is known, what came twice, and what has two labels."""
    known = {item.digest for item in parent.items}
    intake = _Intake()
    labels: dict[str, set[str]] = {}
    for digest, label, origin in sorted(additions):
        labels.setdefault(digest, set()).add(label)
        if digest in known or digest in intake.fresh:
            intake.num_duplicates += 1
        else:
            intake.fresh[digest] = (label, origin)
    for digest, said in sorted(labels.items()):
        if digest in intake.fresh and len(said) > 1:
            intake.drop(digest, f"labelled {' and '.join(sorted(said))}")
        elif digest in intake.fresh and "" in said:
            intake.drop(digest, "no class was named")
    return intake


def _read(digest: str, blobs: BlobStore) -> bytes:
    try:
        return blobs.read(digest)
    except (KeyError, FormatError) as cause:
        raise StorageError(f"picture {digest} is not in the store", hint="restore the store from a backup") from cause


def _known_fingerprint(digest: str, blobs: BlobStore) -> Fingerprint:
    try:
        return fingerprint(_read(digest, blobs))
    except ImageError as cause:
        raise StorageError(f"picture {digest} of the snapshot can no longer be decoded: {cause.message}") from cause


def _fingerprint_fresh(intake: _Intake, blobs: BlobStore) -> dict[str, Fingerprint]:
    """Fingerprints of the additions; one that is no usable picture is dropped."""
    prints = {}
    for digest in sorted(intake.fresh):
        try:
            prints[digest] = fingerprint(_read(digest, blobs))
        except ImageError as cause:
            intake.drop(digest, cause.message)
    return prints


def _components(prints: Mapping[str, Fingerprint]) -> list[list[str]]:
    """Digests that look alike, together."""
    digests = sorted(prints)
    members: dict[int, list[str]] = {}
    for digest, group in zip(digests, group_near_duplicates([prints[digest] for digest in digests]), strict=True):
        members.setdefault(group, []).append(digest)
    return list(members.values())


def _place(parent: DatasetSnapshot, intake: _Intake, components: Iterable[list[str]]) -> list[SnapshotItem]:
    """Items for the additions that find a place."""
    old = {item.digest: item for item in parent.items}
    items, strangers = [], []
    for members in components:
        fresh = [digest for digest in members if digest in intake.fresh]
        relatives = [old[digest] for digest in members if digest in old]
        if not relatives:
            strangers.append(fresh)
            continue
        relative = min(relatives, key=_claim)
        for digest in fresh:
            if relative.split is Split.TEST:
                intake.drop(digest, f"near duplicate of the test picture {relative.digest}")
            else:
                items.append(_item(digest, intake, relative.split, relative.group))
    return items + _place_strangers(parent, intake, strangers)


def _claim(item: SnapshotItem) -> tuple[int, str]:
    """Test before validation before training; then the smallest group."""
    return (Split.TEST, Split.VAL, Split.TRAIN).index(item.split), item.group


def _place_strangers(parent: DatasetSnapshot, intake: _Intake, components: list[list[str]]) -> list[SnapshotItem]:
    """Groups that look like nothing in the parent: by content; a class new to the parent gets both splits."""
    groups = {min(members): members for members in components if members}
    labels = {group: frozenset(intake.fresh[digest][0] for digest in members) for group, members in groups.items()}
    splits = {group: split_of(group, NEW_FRACTIONS, salt=_SALT) for group in groups}
    new_classes = {group: held for group, held in labels.items() if not held & set(parent.classes)}
    splits |= split_groups(new_classes, NEW_FRACTIONS, salt=_SALT)
    return [_item(digest, intake, splits[group], group) for group, members in groups.items() for digest in members]


def _item(digest: str, intake: _Intake, split: Split, group: str) -> SnapshotItem:
    label, origin = intake.fresh[digest]
    return SnapshotItem(digest=digest, label=label, split=split, group=group, origin=origin)

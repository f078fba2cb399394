"""Plays "what the field has not told us yet": hides classes and part of the training pictures of a full snapshot."""

from __future__ import annotations

import dataclasses
import statistics
from collections import Counter
from dataclasses import dataclass

from cloud_train.datasets.snapshot_file import snapshot_digest
from cloud_train.datasets.split import share
from cloud_train.types import DatasetSnapshot, SnapshotItem, Split
from edge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class HeldBack:
    """A snapshot in two: what version 1 is told, and what only devices will see.

    Attributes:
        told: Training and validation pictures of the known classes, and the *whole* test split: its `classes` are the
            known ones, while test pictures of unknown classes keep their own label.
        field: The other training and validation pictures, sorted by digest.
        unknown: Classes that `told` does not know, sorted.
    """

    told: DatasetSnapshot
    field: tuple[SnapshotItem, ...]
    unknown: tuple[str, ...]


def hold_back(
    snapshot: DatasetSnapshot,
    *,
    unknown_classes: tuple[str, ...] | None,
    num_unknown: int,
    field_fraction: float,
    seed: int,
) -> HeldBack:
    """Splits a full snapshot into what is told and what the field will bring.

    Groups of near duplicates stay together; every known class keeps at least one group to train on. The choice depends
    on the content and the seed only.

    Args:
        snapshot: Everything.
        unknown_classes: Classes to hide; None to choose `num_unknown` by the seed, among the classes that have at least
            the median number of pictures.
        num_unknown: How many classes to hide when none are named.
        field_fraction: Share of the known classes' training groups to hide, in [0, 1].
        seed: Of the choice.

    Raises:
        UsageError: An unknown class that does not exist, fewer than two classes left, or a fraction outside 0 to 1.
    """
    if not 0 <= field_fraction <= 1:
        raise UsageError(f"the field's share must be 0 to 1, found {field_fraction}")
    unknown = _choose(snapshot, unknown_classes, num_unknown, seed)
    known = tuple(label for label in snapshot.classes if label not in unknown)
    if len(known) < 2:
        raise UsageError(
            f"{len(unknown)} of {len(snapshot.classes)} classes held back leaves {len(known)}",
            hint="at least two must stay known",
        )
    hidden = _hidden_groups(snapshot, known, field_fraction, seed)
    field = tuple(
        item
        for item in snapshot.items
        if item.split is not Split.TEST and (item.label in unknown or item.group in hidden)
    )
    away = {item.digest for item in field}
    told = dataclasses.replace(
        snapshot,
        name=f"{snapshot.name}-told",
        classes=known,
        items=tuple(item for item in snapshot.items if item.digest not in away),
        parent=snapshot_digest(snapshot),
        skipped=(),
        num_duplicates=0,
    )
    return HeldBack(told=told, field=field, unknown=unknown)


def _choose(snapshot: DatasetSnapshot, wanted: tuple[str, ...] | None, num_unknown: int, seed: int) -> tuple[str, ...]:
    """The classes to hide, sorted."""
    if wanted is not None:
        for label in wanted:
            if label not in snapshot.classes:
                raise UsageError(f"class {label!r} is not in the data", hint=f"it has {', '.join(snapshot.classes)}")
        return tuple(sorted(set(wanted)))
    counts = Counter(item.label for item in snapshot.items)
    middle = statistics.median(counts[label] for label in snapshot.classes)
    large = [label for label in snapshot.classes if counts[label] >= middle]
    if not 0 <= num_unknown <= len(large):
        raise UsageError(
            f"cannot hold back {num_unknown} classes",
            hint=f"0 to {len(large)} of these {len(snapshot.classes)} are large enough",
        )
    return tuple(sorted(sorted(large, key=lambda label: share(label, salt=f"unknown {seed}"))[:num_unknown]))


def _hidden_groups(snapshot: DatasetSnapshot, known: tuple[str, ...], fraction: float, seed: int) -> frozenset[str]:
    """Training groups of the known classes that only the field will bring."""
    salt = f"field {seed}"
    by_label: dict[str, set[str]] = {}
    for item in snapshot.of(Split.TRAIN):
        if item.label in known:
            by_label.setdefault(item.label, set()).add(item.group)
    # The last group of each class stays, also for a group that another class could spare.
    stay = {max(groups, key=lambda group: (share(group, salt=salt), group)) for groups in by_label.values()}
    everything = set().union(*by_label.values())
    return frozenset(group for group in everything - stay if share(group, salt=salt) < fraction)

"""Which split a group of pictures belongs to: decided by content alone.

A group's digest is hashed to a share in [0, 1). Shares below the test fraction are test, the next ones validation, the
rest training. Names, order, file system and the other pictures play no part, so pictures that join a data set later
move none that were there. Small classes are then mended, once, when a snapshot is first made (`split_groups`).
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass

from cloud_train.types import Split

MIN_GROUPS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Fractions:
    """How much of a data set each split gets; they add up to 1.

    Attributes:
        train: To learn from.
        val: To choose and calibrate by.
        test: To judge by, never looked at otherwise.
    """

    train: float
    val: float
    test: float

    def __post_init__(self) -> None:
        """Refuses fractions that are none."""
        parts = (self.train, self.val, self.test)
        if min(parts) < 0 or self.train == 0 or abs(sum(parts) - 1) > 1e-6:
            raise ValueError(f"fractions must be 0 to 1, with some training, and add up to 1, found {parts}")


def share(digest: str, *, salt: str = "split") -> float:
    """A number in [0, 1) that depends on the digest and the salt only, evenly spread.

    Args:
        digest: Of a picture or a group, hex; any text will do.
        salt: Another salt gives an independent number.
    """
    return int.from_bytes(hashlib.sha256(f"{salt}:{digest}".encode()).digest()[:7]) / 2**56


def split_of(group: str, fractions: Fractions, *, salt: str = "split") -> Split:
    """The split of one group, by its share alone."""
    at = share(group, salt=salt)
    if at < fractions.test:
        return Split.TEST
    return Split.VAL if at < fractions.test + fractions.val else Split.TRAIN


def split_groups(
    labels: Mapping[str, frozenset[str]], fractions: Fractions, *, salt: str = "split"
) -> dict[str, Split]:
    """Splits the groups of a first snapshot.

    Every class with three groups or more gets at least one of each split whose fraction is not 0; a class with fewer
    goes to training whole. Groups that hold several classes stay where their share puts them.

    Args:
        labels: Group digest to the classes in it.
        fractions: The aim.
        salt: As in `share`.

    Returns:
        Group digest to split.
    """
    splits = {group: split_of(group, fractions, salt=salt) for group in labels}
    wanted = [split for split in (Split.TEST, Split.VAL, Split.TRAIN) if _fraction(split, fractions) > 0]
    for label in sorted(frozenset().union(*labels.values())) if labels else ():
        own = sorted(
            (group for group, held in labels.items() if held == {label}),
            key=lambda group: (share(group, salt=salt), group),
        )
        if sum(label in held for held in labels.values()) < MIN_GROUPS:
            splits.update(dict.fromkeys(own, Split.TRAIN))
        elif len(own) >= MIN_GROUPS:
            _mend(own, splits, wanted)
    return splits


def _fraction(split: Split, fractions: Fractions) -> float:
    return {Split.TRAIN: fractions.train, Split.VAL: fractions.val, Split.TEST: fractions.test}[split]


def _mend(own: list[str], splits: dict[str, Split], wanted: list[Split]) -> None:
    """Gives each wanted split a group of the class, from the split that has most of them.

    Args:
        own: The class's groups, by share.
        splits: Changed in place.
        wanted: Splits that must not be empty.
    """
    for split in wanted:
        counts = Counter(splits[group] for group in own)
        if counts[split]:
            continue
        donor = max((Split.TRAIN, Split.VAL, Split.TEST), key=lambda one: counts[one])
        candidates = [group for group in own if splits[group] is donor]
        splits[candidates[-1] if split is Split.TRAIN else candidates[0]] = split

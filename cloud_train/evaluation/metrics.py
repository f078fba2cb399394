"""Figures of a classifier, pure: accuracy with its interval, scores by class, confusion, paired gain. All in points."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING, TypeAlias

from cloud_train.types import ClassScoreRow, EvalReport, Interval, PictureResult
from edge.errors import UsageError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Counts: TypeAlias = npt.NDArray[np.int64]

_Z_95 = 1.959963984540054


def wilson_interval(num_right: int, num: int) -> Interval:
    """Accuracy with its 95 % interval after Wilson (1927), in points.

    Args:
        num_right: Pictures that were recognised, at most `num`.
        num: Pictures; 0 gives 0 with the widest interval.
    """
    if num == 0:
        return Interval(value=0.0, lower=0.0, upper=100.0)
    rate, spread = num_right / num, _Z_95 * _Z_95 / num
    middle = (rate + spread / 2) / (1 + spread)
    half = _Z_95 * math.sqrt(rate * (1 - rate) / num + spread / (4 * num)) / (1 + spread)
    lower = 0.0 if num_right == 0 else 100 * max(0.0, middle - half)
    upper = 100.0 if num_right == num else 100 * min(1.0, middle + half)
    return Interval(value=100 * rate, lower=lower, upper=upper)


def accuracy(results: Sequence[PictureResult]) -> Interval:
    """Share of pictures whose best class is the truth."""
    return wilson_interval(sum(one.predicted == one.truth for one in results), len(results))


def class_rows(results: Sequence[PictureResult], classes: Sequence[str]) -> tuple[ClassScoreRow, ...]:
    """Scores of each class.

    Args:
        results: What a model said.
        classes: The classes to report, in this order.
    """
    truths = Counter(one.truth for one in results)
    said = Counter(one.predicted for one in results)
    right = Counter(one.truth for one in results if one.predicted == one.truth)
    return tuple(_row(label, truths[label], said[label], right[label]) for label in classes)


def _row(label: str, num: int, said: int, right: int) -> ClassScoreRow:
    return ClassScoreRow(
        label=label,
        num=num,
        recall=100 * right / num if num else 0.0,
        precision=100 * right / said if said else 0.0,
        f1=100 * 2 * right / (num + said) if num + said else 0.0,
    )


def macro_f1(rows: Sequence[ClassScoreRow]) -> float:
    """Mean F1 over the classes, each counting the same."""
    return sum(row.f1 for row in rows) / len(rows) if rows else 0.0


def confusion(results: Sequence[PictureResult], labels: Sequence[str]) -> Counts:
    """How often each truth was called what.

    Args:
        results: What a model said; truths and predictions outside `labels` are left out.
        labels: Rows and columns.

    Returns:
        int64 (truth, predicted).
    """
    import numpy as np

    position = {label: index for index, label in enumerate(labels)}
    counts = np.zeros((len(labels), len(labels)), dtype=np.int64)
    for one in results:
        if one.truth in position and one.predicted in position:
            counts[position[one.truth], position[one.predicted]] += 1
    return counts


def paired_gain(champion: EvalReport, challenger: EvalReport, *, seed: int = 0) -> Interval:
    """Accuracy of the challenger minus that of the champion on the same pictures, with a paired bootstrap interval.

    Args:
        champion: The one to beat.
        challenger: The other one.
        seed: Of the resampling.

    Raises:
        UsageError: They were not evaluated on the same pictures with the same labels.
    """
    check_same_pictures(champion, challenger)
    return paired_difference(champion.pictures, challenger.pictures, seed=seed)


def check_same_pictures(champion: EvalReport, challenger: EvalReport) -> None:
    """Refuses two reports that cannot be compared.

    Raises:
        UsageError: Other pictures, another split or another truth; or no pictures at all.
    """
    if champion.split is not challenger.split:
        raise UsageError(f"cannot compare the {champion.split.value} with the {challenger.split.value} split")
    first = [(one.digest, one.truth) for one in champion.pictures]
    second = [(one.digest, one.truth) for one in challenger.pictures]
    if first != second or not first:
        apart = len(set(first) ^ set(second))
        raise UsageError(
            f"the two reports are not about the same {champion.split.value} pictures: {apart} differ",
            hint="evaluate both bundles on the same snapshot, or on one that extends it",
        )


def paired_difference(
    champion: Sequence[PictureResult], challenger: Sequence[PictureResult], *, seed: int = 0
) -> Interval:
    """Like `paired_gain`, on results that are known to be about the same pictures, in the same order."""
    from converters.compare import paired_interval

    differences = [
        100.0 * ((new.predicted == new.truth) - (old.predicted == old.truth))
        for old, new in zip(champion, challenger, strict=True)
    ]
    mean, lower, upper = paired_interval(differences, seed=seed)
    return Interval(value=float(mean), lower=float(lower), upper=float(upper))

"""The metrics themselves, each over any number of bootstrap draws at once. See `converters.metrics.Tally`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from converters.precision import ScoredPicture

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

    Draws = npt.NDArray[np.int64]
    Points = npt.NDArray[np.float64]

# Draws of a detector's hits that are worked on at once: bounds the memory.
_DRAWS_AT_ONCE = 200


class MeanTally:
    """Mean worth of an answer: accuracy, where an answer is right (1) or wrong (0).

    Args:
        worth: Of each picture's answer, in [0, 1].
    """

    def __init__(self, worth: Sequence[float]) -> None:
        import numpy as np

        self.each: FloatArray = np.asarray(worth, dtype=np.float32)

    def points(self, draws: Draws) -> Points:
        """Points, (draws,)."""
        found: Points = 100 * (draws @ self.each.astype("float64")) / draws.sum(axis=1)
        return found


class F1Tally:
    """Mean F1 over the classes that are in the truths, each counting the same.

    Args:
        said: Label that each answer names.
        truths: The right one.
    """

    def __init__(self, said: Sequence[str], truths: Sequence[str]) -> None:
        import numpy as np

        classes = sorted(set(truths))
        self.each: FloatArray = np.array([one == other for one, other in zip(said, truths, strict=True)], np.float32)
        self._said = np.array([[one == label for label in classes] for one in said], dtype=np.float64)
        self._truth = np.array([[one == label for label in classes] for one in truths], dtype=np.float64)

    def points(self, draws: Draws) -> Points:
        """Points, (draws,); a class that was not drawn does not count in that draw."""
        import numpy as np

        right = draws @ (self._said * self._truth)
        wanted = draws @ self._truth
        f1 = 2 * right / np.maximum(draws @ self._said + wanted, 1)
        drawn = wanted > 0
        found: Points = 100 * (f1 * drawn).sum(axis=1) / np.maximum(drawn.sum(axis=1), 1)
        return found


class CountTally:
    """How right counts are: 100 times one minus the summed error of all counts over the number of things there are.

    Args:
        found: For each picture, class to how many were found.
        wanted: Class to how many there are.
    """

    def __init__(self, found: Sequence[Mapping[int, int]], wanted: Sequence[Mapping[int, int]]) -> None:
        import numpy as np

        pairs = list(zip(found, wanted, strict=True))
        self._errors = np.array([_off(one, other) for one, other in pairs], dtype=np.float64)
        self._things = np.array([sum(other.values()) for other in wanted], dtype=np.float64)
        self.each: FloatArray = (1 / (1 + self._errors)).astype(np.float32)

    def points(self, draws: Draws) -> Points:
        """Points, (draws,); not below 0."""
        import numpy as np

        found: Points = 100 * np.maximum(0, 1 - draws @ self._errors / np.maximum(draws @ self._things, 1))
        return found


class PrecisionTally:
    """Mean average precision at an overlap of one half (`converters.precision`).

    Average precision is the area under the precision-recall curve, made monotonic and summed at every change of recall,
    as the Pascal VOC challenge does since 2010.

    Args:
        pictures: How each picture's boxes fared.
    """

    def __init__(self, pictures: Sequence[ScoredPicture]) -> None:
        import numpy as np

        self.each: FloatArray = np.array([_f1(picture) for picture in pictures], dtype=np.float32)
        classes = sorted({index for picture in pictures for index in picture.wanted})
        self._classes = [_hits_of(index, pictures) for index in classes]

    def points(self, draws: Draws) -> Points:
        """Points, (draws,); over the classes that were drawn."""
        import numpy as np

        return np.concatenate(
            [self._points(draws[start : start + _DRAWS_AT_ONCE]) for start in range(0, len(draws), _DRAWS_AT_ONCE)]
        )

    def _points(self, draws: Draws) -> Points:
        import numpy as np

        total, num_classes = np.zeros(len(draws)), np.zeros(len(draws))
        for places, right, things in self._classes:
            wanted = draws @ things
            precision = _average_precision(draws[:, places], right, np.maximum(wanted, 1))
            total += np.where(wanted > 0, precision, 0)
            num_classes += wanted > 0
        found: Points = 100 * total / np.maximum(num_classes, 1)
        return found


def _average_precision(drawn: Draws, right: npt.NDArray[np.bool_], wanted: npt.NDArray[np.int64]) -> Points:
    """Area under the monotonic precision-recall curve of one class, in each draw.

    Args:
        drawn: How often each hit's picture came, the surest hit first, (draws, hits).
        right: Whether each hit is right.
        wanted: How many things there are in each draw, at least 1.
    """
    import numpy as np

    if not right.size:
        return np.zeros(len(drawn))
    rightly = np.cumsum(drawn * right, axis=1)
    precision = rightly / np.maximum(np.cumsum(drawn, axis=1), 1)
    envelope = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    area: Points = (drawn * right * envelope).sum(axis=1) / wanted
    return area


def _hits_of(
    index: int, pictures: Sequence[ScoredPicture]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_], npt.NDArray[np.int64]]:
    """Picture and rightness of each hit of one class, the surest first; and how many of it each picture has."""
    import numpy as np

    hits = [
        (score, right, place)
        for place, picture in enumerate(pictures)
        for kind, score, right in picture.hits
        if kind == index
    ]
    hits.sort(key=lambda hit: -hit[0])
    places = np.array([place for _, _, place in hits], dtype=np.int64)
    right = np.array([right for _, right, _ in hits], dtype=bool)
    return places, right, np.array([picture.wanted.count(index) for picture in pictures], dtype=np.int64)


def _off(found: Mapping[int, int], wanted: Mapping[int, int]) -> int:
    return sum(abs(found.get(index, 0) - wanted.get(index, 0)) for index in {*found, *wanted})


def _f1(picture: ScoredPicture) -> float:
    total = len(picture.hits) + len(picture.wanted)
    return 2 * sum(right for _, _, right in picture.hits) / total if total else 1.0

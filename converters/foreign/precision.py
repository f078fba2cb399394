"""Mean average precision of a detector at an overlap of one half.

Average precision is the area under the precision-recall curve, made monotonic and summed at every change of recall, as
the Pascal VOC challenge does since 2010 (Everingham et al., The Pascal Visual Object Classes Challenge: A
Retrospective, 2015). A detection is right where it overlaps by at least one half with a thing of its class that no
surer detection has taken; things marked as difficult count neither way.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from converters.foreign.truth import TrueBox
from edge.types import Box, Detection

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

MIN_OVERLAP = 0.5


@dataclass(frozen=True, slots=True, kw_only=True)
class ScoredPicture:
    """How one picture's detections fared.

    Attributes:
        hits: Class, score, and whether it was right, for every detection that counts.
        wanted: Class of everything that was to be found.
    """

    hits: tuple[tuple[int, float, bool], ...]
    wanted: tuple[int, ...]


def score_picture(found: Sequence[Detection], truths: Sequence[TrueBox]) -> ScoredPicture:
    """Matches one picture's detections with what is in it, the surest first."""
    taken: set[int] = set()
    hits = []
    for item in sorted(found, key=lambda item: -item.score):
        overlaps = [
            (overlap(item.box, truth.box), -position)
            for position, truth in enumerate(truths)
            if truth.index == item.index
        ]
        best, position = max(overlaps, default=(0.0, 0))
        if best < MIN_OVERLAP:
            hits.append((item.index, item.score, False))
        elif not truths[-position].difficult:
            hits.append((item.index, item.score, -position not in taken))
            taken.add(-position)
    wanted = tuple(truth.index for truth in truths if not truth.difficult)
    return ScoredPicture(hits=tuple(hits), wanted=wanted)


def mean_average_precision(pictures: Sequence[ScoredPicture]) -> float:
    """Over all classes that are to be found in these pictures, in [0, 1]; 0 where there is nothing to find."""
    import numpy as np

    classes = sorted({index for picture in pictures for index in picture.wanted})
    values = []
    for index in classes:
        num = sum(picture.wanted.count(index) for picture in pictures)
        hits = [(score, right) for picture in pictures for kind, score, right in picture.hits if kind == index]
        hits.sort(key=lambda hit: -hit[0])
        values.append(average_precision(np.array([right for _, right in hits], dtype=bool), num))
    return float(np.mean(values)) if values else 0.0


def average_precision(right: npt.NDArray[np.bool_], num_wanted: int) -> float:
    """Area under the precision-recall curve of one class.

    Args:
        right: Whether each detection is right, the surest first.
        num_wanted: How many there are to be found, at least 1.
    """
    import numpy as np

    if not right.size:
        return 0.0
    rightly = np.cumsum(right)
    recall = rightly / num_wanted
    precision = rightly / np.arange(1, right.size + 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    steps = np.diff(np.concatenate([[0.0], recall]))
    return float((steps * envelope).sum())


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    return shared / (areas[0] + areas[1] - shared)

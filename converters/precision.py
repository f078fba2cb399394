"""Which of a detector's boxes are right.

A detection is right where it overlaps by at least one half with a thing of its class that no surer detection has taken;
things marked as difficult count neither way (Everingham et al., The Pascal Visual Object Classes Challenge: A
Retrospective, 2015).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from converters.examples import TrueBox
from edge.types import Box, Detection

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


def overlap(one: Box, other: Box) -> float:
    """Intersection over union, in [0, 1]."""
    width = min(one.right, other.right) - max(one.left, other.left)
    height = min(one.bottom, other.bottom) - max(one.top, other.top)
    if width <= 0 or height <= 0:
        return 0.0
    shared = width * height
    areas = [(box.right - box.left) * (box.bottom - box.top) for box in (one, other)]
    return shared / (areas[0] + areas[1] - shared)

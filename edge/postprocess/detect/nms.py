"""Greedy non-maximum suppression: the best box stays, what overlaps it too much goes, and so on.

Boxes are compared in blocks, a few dozen of the best with all that are left, for one numpy call on many pairs costs
hardly more than one on few.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.postprocess.detect.boxes import Candidates, Corners, Indices

    Mask = npt.NDArray[np.bool_]

_BLOCK = 64


def best_first(candidates: Candidates) -> Candidates:
    """Sorted by score; equal scores keep their order."""
    import numpy as np

    return candidates.take(np.argsort(-candidates.scores, kind="stable"))


def suppress(candidates: Candidates, *, iou_threshold: float, limit: int, class_agnostic: bool = False) -> Candidates:
    """Of boxes that overlap by more than the threshold, keeps the best.

    Args:
        candidates: Boxes with an area above 0.
        iou_threshold: Intersection over union, in [0, 1]; exactly this much is allowed.
        limit: At most so many are kept.
        class_agnostic: Whether boxes of different classes suppress each other.

    Returns:
        What is kept, best score first; of equal scores the one that came first wins and comes first.
    """
    import numpy as np

    ordered = best_first(candidates)
    left = np.arange(len(ordered.scores))
    kept: list[Indices] = []
    num_kept = 0
    while len(left) and num_kept < limit:
        block, left = left[:_BLOCK], left[_BLOCK:]
        best = ordered.take(block)
        alone = _survivors(clashes(best, best, iou_threshold=iou_threshold, class_agnostic=class_agnostic))
        kept.append(block[alone])
        num_kept += int(alone.sum())
        behind = ordered.take(left)
        clash = clashes(best.take(alone), behind, iou_threshold=iou_threshold, class_agnostic=class_agnostic)
        left = left[~clash.any(axis=0)]
    return ordered.take(np.concatenate([*kept, left[:0]])[:limit])


def clashes(first: Candidates, second: Candidates, *, iou_threshold: float, class_agnostic: bool = False) -> Mask:
    """Which boxes overlap which by more than the threshold, and are of the same class unless that does not matter.

    Returns:
        bool (M, N): each of `first` with each of `second`.
    """
    import numpy as np

    clash: Mask = overlaps(first.boxes, second.boxes) > iou_threshold
    if not class_agnostic:
        np.logical_and(clash, first.classes[:, np.newaxis] == second.classes, out=clash)
    return clash


def overlaps(first: Corners, second: Corners) -> npt.NDArray[np.float64]:
    """Intersection over union of each box with each other.

    Args:
        first: (M, 4), left, top, right, bottom, areas above 0.
        second: (N, 4), the same.

    Returns:
        float64 (M, N), in [0, 1].
    """
    ones, others = first.T[:, :, None], second.T[:, None, :].copy()
    shared = _extent(ones[0], ones[2], others[0], others[2])
    shared *= _extent(ones[1], ones[3], others[1], others[3])
    union = _areas(ones) + _areas(others)
    union -= shared
    # A quotient, not a product with the threshold: 57 of 100 is not more than 0.57 then.
    shared /= union
    return shared


def _survivors(clash: Mask) -> Mask:
    """Which of a block stay: row by row, one that stays takes with it those behind that it clashes with."""
    import numpy as np

    alone = np.ones(len(clash), dtype=np.bool_)
    for row in np.flatnonzero(np.triu(clash, 1).any(axis=1)):
        if alone[row]:
            alone[row + 1 :] &= ~clash[row, row + 1 :]
    return alone


def _extent(
    low: npt.NDArray[np.float64],
    high: npt.NDArray[np.float64],
    other_low: npt.NDArray[np.float64],
    other_high: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Shared length along one axis, 0 where there is none."""
    import numpy as np

    extent: npt.NDArray[np.float64] = np.minimum(high, other_high)
    extent -= np.maximum(low, other_low)
    return np.maximum(extent, 0.0, out=extent)


def _areas(columns: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    areas: npt.NDArray[np.float64] = (columns[2] - columns[0]) * (columns[3] - columns[1])
    return areas

"""How good answers are, in points, and what is lost between two models: pure functions of predictions and truths.

Every metric can be taken over pictures that were drawn with replacement, which is what a paired bootstrap needs: both
models are scored on the same draws, and the interval is that of the difference (Efron and Tibshirani, An Introduction
to the Bootstrap, 1993). A draw is how often each picture came.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from converters.compare import unseen_bound
from converters.examples import LabelledPicture
from converters.precision import score_picture
from converters.tallies import CountTally, F1Tally, MeanTally, PrecisionTally
from converters.types import Estimate
from edge.bundle.manifest import QualityLimits, Task
from edge.errors import UsageError
from edge.types import Attributes, Detections, Matches, Prediction, Text

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

RESAMPLES = 2000
_OF_TASK = {
    Task.CLASSIFY: ("top1", "macro_f1"),
    Task.TABULAR: ("top1", "macro_f1"),
    Task.MATCH: ("top1", "macro_f1"),
    Task.ATTRIBUTES: ("attributes",),
    Task.TEXT: ("text",),
    Task.DETECT: ("ap50", "count"),
}


class Tally(Protocol):
    """What one model's answers are worth.

    Attributes:
        each: Worth of each picture's answer in [0, 1], (pictures,); to see whether any got worse.
    """

    each: FloatArray

    def points(self, draws: npt.NDArray[np.int64]) -> npt.NDArray[np.float64]:
        """The metric over drawn pictures.

        Args:
            draws: How often each picture came, (draws, pictures).

        Returns:
            Points, 0 to 100, (draws,).
        """
        ...


def metric_of(limits: QualityLimits, task: Task) -> str:
    """The metric that limits ask for, or the task's own.

    Raises:
        UsageError: The metric is not one of this task.
    """
    known = _OF_TASK.get(task, ())
    metric = limits.metric or (known[0] if known else "")
    if metric not in known:
        raise UsageError(
            f"metric {metric!r} does not fit a bundle with task {task.value!r}", hint=f"there are {', '.join(known)}"
        )
    return metric


def tally(metric: str, predictions: Sequence[Prediction], truths: Sequence[LabelledPicture]) -> Tally:
    """Holds answers against truths.

    Args:
        metric: One that `metric_of` gives.
        predictions: What a model said.
        truths: What is right, in the same order.
    """
    pairs = list(zip(predictions, truths, strict=True))
    match metric:
        case "ap50":
            return PrecisionTally([score_picture(_detections(said).items, truth.boxes) for said, truth in pairs])
        case "count":
            return CountTally(
                [_counts([item.index for item in _detections(said).items]) for said, _ in pairs],
                [_counts([box.index for box in truth.boxes if not box.difficult]) for _, truth in pairs],
            )
        case "macro_f1":
            return F1Tally([named(said) for said, _ in pairs], [truth.label for _, truth in pairs])
        case "attributes":
            return MeanTally([_share_of_heads(said, truth) for said, truth in pairs])
        case _:
            return MeanTally([float(named(said) == truth.label) for said, truth in pairs])


def named(prediction: Prediction) -> str:
    """The class or text that an answer names; empty for a match that is none."""
    if isinstance(prediction, Matches) and not prediction.known:
        return ""
    return prediction.text if isinstance(prediction, Text) else prediction.headline.label


def agreement(before: Sequence[Prediction], after: Sequence[Prediction]) -> float:
    """Share of one model's answers that another gives too, in [0, 1].

    Of detectors: of all boxes of both, the share that has a partner of the same class in the other answer, with an
    overlap of at least one half. Of several heads: the share of equal heads. Of others: of equal labels.
    """
    pairs = list(zip(before, after, strict=True))
    if isinstance(before[0], Detections):
        return _shared_boxes([(_detections(one), _detections(other)) for one, other in pairs])
    if isinstance(before[0], Attributes):
        heads = [
            one.classification.headline.label == other.classification.headline.label
            for first, second in pairs
            if isinstance(first, Attributes) and isinstance(second, Attributes)
            for one, other in zip(first.heads, second.heads, strict=True)
        ]
        return sum(heads) / len(heads)
    same = [named(one) == named(other) for one, other in pairs]
    return sum(same) / len(same)


def score_of(found: Tally, *, seed: int = 0) -> Estimate:
    """The metric over all pictures, with its 95 % bootstrap interval."""
    import numpy as np

    num = len(found.each)
    value = float(found.points(np.ones((1, num), dtype=np.int64))[0])
    lower, upper = np.quantile(found.points(draws(num, seed=seed)), [0.025, 0.975])
    return Estimate(value=_rounded(value), lower=_rounded(float(lower)), upper=_rounded(float(upper)))


def paired_drop(before: Tally, after: Tally, *, exact: bool = False, seed: int = 0) -> Estimate:
    """What is lost from one model to the other on the same pictures, with its paired 95 % bootstrap interval.

    A bootstrap knows nothing but what it has seen. Where not one picture got worse, the upper bound is at least the
    drop plus that of an event that never came (Clopper and Pearson, 1934).

    Args:
        before: The float model's answers.
        after: The other's.
        exact: The other is a float model too, for which what was never seen is not to be feared.
        seed: Of the draws.
    """
    import numpy as np

    num = len(before.each)
    whole = np.ones((1, num), dtype=np.int64)
    drop = float((before.points(whole) - after.points(whole))[0])
    drawn = draws(num, seed=seed)
    lower, upper = (float(bound) for bound in np.quantile(before.points(drawn) - after.points(drawn), [0.025, 0.975]))
    if not exact and not (after.each < before.each).any():
        upper = max(upper, drop + 100 * unseen_bound(num))
    return Estimate(value=_rounded(drop), lower=_rounded(lower), upper=_rounded(upper))


def draws(num: int, *, seed: int = 0, resamples: int = RESAMPLES) -> npt.NDArray[np.int64]:
    """How often each of `num` pictures comes when so many are drawn with replacement, (resamples, num)."""
    import numpy as np

    return np.random.default_rng(seed).multinomial(num, np.full(num, 1 / num), size=resamples)


def _detections(prediction: Prediction) -> Detections:
    if not isinstance(prediction, Detections):
        raise UsageError(f"a metric of boxes was asked for, but the answers are {type(prediction).__name__}")
    return prediction


def _counts(indices: Sequence[int]) -> dict[int, int]:
    return {index: indices.count(index) for index in sorted(set(indices))}


def _share_of_heads(prediction: Prediction, truth: LabelledPicture) -> float:
    if not isinstance(prediction, Attributes):
        raise UsageError(f"a metric of heads was asked for, but the answers are {type(prediction).__name__}")
    said = {head.name: head.classification.headline.label for head in prediction.heads}
    right = [said.get(name) == label for name, label in truth.attributes]
    return sum(right) / len(right) if right else 0.0


def _shared_boxes(pairs: Sequence[tuple[Detections, Detections]]) -> float:
    from converters.examples import TrueBox

    shared = total = 0
    for one, other in pairs:
        wanted = [TrueBox(index=item.index, box=item.box) for item in one.items]
        shared += 2 * sum(right for _, _, right in score_picture(other.items, wanted).hits)
        total += len(one.items) + len(other.items)
    return shared / total if total else 1.0


def _rounded(points: float) -> float:
    """Six digits after the point, and never a negative zero."""
    return round(points, 6) + 0.0

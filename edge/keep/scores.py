"""What the keep rules look at: pure measures of one inference, the same for every kind of prediction."""

from __future__ import annotations

from collections.abc import Iterator

from edge.keep.context import KeepContext
from edge.types import (
    Attributes,
    Classification,
    CountedItem,
    Counts,
    CropAnswer,
    Detections,
    Inference,
    Matches,
    Outcome,
    Prediction,
    Text,
)

_DRAW_DIGITS = 13
_DRAW_RANGE = 1 << 4 * _DRAW_DIGITS


def draw(digest: str) -> float:
    """A number in [0, 1) that only the picture's digest decides; exact in float64.

    Args:
        digest: SHA-256 of the picture, hex.
    """
    return int(digest[:_DRAW_DIGITS], 16) / _DRAW_RANGE


def is_drawn(digest: str, random_fraction: float) -> bool:
    """Whether the random floor takes this picture, whatever is in it; anyone who knows the digest can tell afterwards.

    Args:
        digest: SHA-256 of the picture as it was captured, hex.
        random_fraction: Of the policy; every picture drawn with a smaller one is drawn with a larger one too.
    """
    return draw(digest) < random_fraction


def answers(prediction: Prediction) -> tuple[CropAnswer, ...]:
    """What the deciding stage says: of the picture, or of each crop; empty for a detector alone."""
    if isinstance(prediction, Detections):
        return ()
    if isinstance(prediction, Counts):
        return tuple(item.answers[0] for item in prediction.items)
    return (prediction,)


def least_margin(prediction: Prediction) -> float:
    """The smallest margin of all answers, in [0, 1]; 1 where there is none."""
    return min((answer.headline.margin for answer in answers(prediction)), default=1.0)


def greatest_entropy(prediction: Prediction) -> float:
    """The greatest entropy of all answers, in [0, 1]; 0 where there is none."""
    return max((answer.headline.entropy for answer in answers(prediction)), default=0.0)


def novelty(prediction: Prediction) -> float | None:
    """The greatest distance to all reference embeddings, of any answer, in [0, 2]; None where none was measured."""
    if isinstance(prediction, Counts):
        every = [answer for item in prediction.items for answer in item.answers]
    else:
        every = list(answers(prediction))
    return max((value for answer in every for value in _novelties(answer)), default=None)


def _novelties(answer: CropAnswer) -> Iterator[float]:
    match answer:
        case Matches():
            yield answer.novelty
        case Classification(novelty=float(value)):
            yield value
        case Attributes():
            for head in answer.heads:
                yield from _novelties(head.classification)


def threshold_distance(prediction: Prediction, threshold: float) -> float:
    """How far the score nearest to the detector's threshold is from it, found or just missed; 1 where there is none.

    Args:
        prediction: Any; only `Detections` and `Counts` have scores of a detector.
        threshold: Of the detector, in [0, 1].
    """
    near = [abs(score - threshold) for score in _scores(prediction)]
    if isinstance(prediction, (Detections, Counts)) and prediction.nearest_miss > 0:
        near.append(abs(threshold - prediction.nearest_miss))
    return min(near, default=1.0)


def labels(inference: Inference) -> frozenset[str]:
    """The classes that an inference names; an answer that is UNKNOWN or not in the gallery names none."""
    prediction = inference.prediction
    match prediction:
        case Detections():
            named = {item.label for item in prediction.items}
        case Counts():
            named = {name for item in prediction.items for name in _item_names(item)}
        case _ if inference.decision.outcome is Outcome.UNKNOWN:
            named = set()
        case _:
            named = set(named_by(prediction))
    return frozenset(named - {""})


def named_by(answer: CropAnswer) -> tuple[str, ...]:
    """The classes one answer names: one, one for each head, or none."""
    match answer:
        case Matches():
            return (answer.top[0].label,) if answer.known else ()
        case Attributes():
            return tuple(head.classification.top[0].label for head in answer.heads)
        case _:
            return (answer.headline.label,) if answer.headline.label else ()


def disagrees(prediction: Prediction, context: KeepContext) -> bool:
    """Whether two stages name different classes for the same crop although both know both classes.

    Args:
        prediction: Any; only `Counts` has several stages that look at the same thing.
        context: Which stage knows which classes.
    """
    if not isinstance(prediction, Counts) or not context.known_labels:
        return False
    return any(_item_disagrees(item, context.known_labels) for item in prediction.items)


def _item_disagrees(item: CountedItem, known: tuple[frozenset[str], ...]) -> bool:
    named = [frozenset({item.detection.label})]
    named += [frozenset(_item_answer_names(item, place)) for place in range(len(item.answers))]
    pairs = list(zip(named, known, strict=False))
    return any(_differ(*one, *other) for place, one in enumerate(pairs) for other in pairs[place + 1 :])


def _differ(named: frozenset[str], known: frozenset[str], others: frozenset[str], others_known: frozenset[str]) -> bool:
    """Each names something that the other knows and does not name."""
    return bool((named & others_known) - others) and bool((others & known) - named)


def _item_names(item: CountedItem) -> tuple[str, ...]:
    """What is in a crop: the names of its first answer, or the detector's where that names nothing."""
    return _item_answer_names(item, 0) or (item.detection.label,)


def _item_answer_names(item: CountedItem, place: int) -> tuple[str, ...]:
    if place == 0 and item.decision.outcome is Outcome.UNKNOWN:
        return ()
    return named_by(item.answers[place])


def value(inference: Inference, context: KeepContext) -> float:
    """How much a label would teach, in [0, 1]: 0 for a certain answer, 1 for no idea.

    The greatest doubt of everything in the picture. Of a classifier the larger of margin and entropy; of a match or a
    reading also its confidence; of a detector how near a score is to the threshold, from either side; half of the
    novelty; and all of it where two stages disagree.

    Args:
        inference: What the engine said.
        context: What is known of the bundle.
    """
    prediction = inference.prediction
    if disagrees(prediction, context):
        return 1.0
    doubts = [_answer_doubt(answer) for answer in answers(prediction)]
    doubts += _detector_doubts(prediction, context.score_threshold)
    doubts.append((novelty(prediction) or 0.0) / 2)
    return min(1.0, max(0.0, *doubts))


def _answer_doubt(answer: CropAnswer) -> float:
    line = answer.headline
    match answer:
        case Classification():
            return max(1.0 - line.margin, line.entropy)
        case Matches(known=True):
            return 1.0 - line.confidence  # the margin of two cosines is small even where both are sure
        case Matches() | Attributes() | Text():
            return max(1.0 - line.margin, line.entropy, 1.0 - line.confidence)


def _detector_doubts(prediction: Prediction, threshold: float | None) -> list[float]:
    """1 at the threshold, falling to 0 at a score of 1 above it and of 0 below it."""
    if not isinstance(prediction, (Detections, Counts)):
        return []
    low = threshold or 0.0
    found = [(1.0 - score) / max(1.0 - low, 1e-9) for score in _scores(prediction)]
    return [*found, prediction.nearest_miss / (threshold or 1.0)]


def _scores(prediction: Prediction) -> tuple[float, ...]:
    match prediction:
        case Detections():
            return tuple(item.score for item in prediction.items)
        case Counts():
            return tuple(item.detection.score for item in prediction.items)
        case _:
            return ()

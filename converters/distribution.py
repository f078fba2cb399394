"""What a model says about the validation pictures, counted as devices count in the field, to see drift later."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from converters.types import Distribution
from edge.sync.types import CONFIDENCE_BINS
from edge.types import Prediction, Text


def distribution_of(predictions: Sequence[Prediction]) -> Distribution:
    """Counts the headlines of predictions by label and by confidence.

    What was read from pictures is counted under the empty name, as devices do.
    """
    confidence = [0] * CONFIDENCE_BINS
    classes: Counter[str] = Counter()
    for prediction in predictions:
        line = prediction.headline
        confidence[min(CONFIDENCE_BINS - 1, max(0, int(line.confidence * CONFIDENCE_BINS)))] += 1
        classes["" if isinstance(prediction, Text) else line.label] += 1
    return Distribution(confidence=tuple(confidence), classes=dict(sorted(classes.items())))

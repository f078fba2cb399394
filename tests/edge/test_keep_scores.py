from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prediction_values import (
    attributes,
    classification,
    counted,
    counts,
    detection,
    detections,
    inference,
    matches,
    text,
)

from edge.keep.context import KeepContext
from edge.keep.scores import (
    answers,
    greatest_entropy,
    labels,
    least_margin,
    novelty,
    threshold_distance,
    value,
)
from edge.types import Prediction

NO_CONTEXT = KeepContext()
AT_QUARTER = KeepContext(score_threshold=0.25)
BOTH_KNOW_BOTH = KeepContext(known_labels=(frozenset("ab"), frozenset("ab")))
CAN = detection("can", 0.9)


@pytest.mark.parametrize(
    ("prediction", "margin", "entropy", "distance"),
    [
        (classification("a", 0.9, 0.7, entropy=0.2, novelty=0.3), 0.7, 0.2, 0.3),
        (classification("a", 0.9, 0.7), 0.7, 0.0, None),
        (attributes(classification("a", 0.9, 0.7), classification("b", 0.9, 0.4, entropy=0.5)), 0.4, 0.5, None),
        (attributes(classification("a", 0.9, novelty=0.1), classification("b", 0.9, novelty=0.6)), 1.0, 0.0, 0.6),
        (matches("a", 0.9, 0.1, novelty=0.2), 0.1, 0.0, 0.2),
        (text("a", 0.9, 0.3), 0.3, 0.0, None),
        (detections(CAN), 1.0, 0.0, None),
        (counts(), 1.0, 0.0, None),
        (counts(counted(CAN, matches("a", 0.9, 0.5)), counted(CAN, matches("b", 0.9, 0.2, novelty=0.7))), 0.2, 0, 0.7),
        (counts(counted(CAN, text("a", 0.9, 0.5), matches("b", 0.9, 0.2, novelty=0.7))), 0.5, 0.0, 0.7),
    ],
)
def test_measures_of_every_kind(prediction: Prediction, margin: float, entropy: float, distance: float | None) -> None:
    assert (least_margin(prediction), greatest_entropy(prediction), novelty(prediction)) == (margin, entropy, distance)


@pytest.mark.parametrize(
    ("prediction", "distance"),
    [
        (detections(), 1.0),
        (detections(CAN), 0.65),
        (detections(CAN, detection("a", 0.3)), 0.05),
        (detections(CAN, nearest_miss=0.2), 0.05),
        (counts(counted(CAN, matches("a", 0.26))), 0.65),
        (counts(nearest_miss=0.24), 0.01),
        (classification("a", 0.26), 1.0),
    ],
)
def test_distance_to_the_detectors_threshold(prediction: Prediction, distance: float) -> None:
    assert threshold_distance(prediction, 0.25) == pytest.approx(distance)


@pytest.mark.parametrize(
    ("prediction", "named"),
    [
        (classification("a", 0.9), {"a"}),
        (classification("a", 0.1), set()),
        (attributes(classification("a", 0.9), classification("b", 0.9)), {"a", "b"}),
        (detections(CAN, detection("box", 0.1)), {"can", "box"}),
        (matches("a", 0.9), {"a"}),
        (matches("a", 0.9, known=False), set()),
        (text("", 0.9), set()),
        (counts(counted(CAN, matches("a", 0.9)), counted(CAN, matches("b", 0.1))), {"a", "can"}),
        (counts(), set()),
    ],
)
def test_labels_are_what_is_named(prediction: Prediction, named: set[str]) -> None:
    assert labels(inference(prediction)) == named


@pytest.mark.parametrize(
    ("prediction", "context", "expected"),
    [
        (classification("a", 0.6, 0.3, entropy=0.5), NO_CONTEXT, 0.7),
        (classification("a", 0.6, 0.9, entropy=0.5), NO_CONTEXT, 0.5),
        (classification("a", 0.6, 0.9, novelty=1.2), NO_CONTEXT, 0.6),
        (attributes(classification("a", 0.9), classification("b", 0.8)), NO_CONTEXT, 0.28),
        (matches("a", 0.9, 0.05), NO_CONTEXT, 0.1),
        (matches("a", 0.9, 0.05, known=False), NO_CONTEXT, 0.95),
        (matches("a", 0.05, known=False), NO_CONTEXT, 0.95),
        (text("a", 0.7), NO_CONTEXT, 0.3),
        (detections(), AT_QUARTER, 0.0),
        (detections(detection("a", 0.25)), AT_QUARTER, 1.0),
        (detections(detection("a", 1.0)), AT_QUARTER, 0.0),
        (detections(nearest_miss=0.2), AT_QUARTER, 0.8),
        (detections(detection("a", 0.7), nearest_miss=0.2), NO_CONTEXT, 0.3),
        (counts(counted(detection("a", 1.0), matches("a", 0.9))), AT_QUARTER, 0.1),
        (counts(counted(detection("a", 0.4), matches("a", 0.9))), AT_QUARTER, 0.8),
        (counts(counted(detection("a", 1.0), matches("b", 0.9))), NO_CONTEXT, 0.1),
        (counts(counted(detection("a", 1.0), matches("b", 0.9))), BOTH_KNOW_BOTH, 1.0),
    ],
)
def test_value_of_every_kind(prediction: Prediction, context: KeepContext, expected: float) -> None:
    assert value(inference(prediction), context) == pytest.approx(expected)


UNIT = st.floats(0, 1)
CLASSIFICATIONS = st.builds(
    lambda p, m, e, n: classification("a", p, m, entropy=e, novelty=n), UNIT, UNIT, UNIT, st.none() | st.floats(0, 2)
)
CROP_ANSWERS = st.one_of(
    CLASSIFICATIONS,
    st.builds(lambda p, m, k, n: matches("b", p, m, known=k, novelty=n), UNIT, UNIT, st.booleans(), st.floats(0, 2)),
    st.builds(lambda p, m, k: text("c", p, m, in_lexicon=k), UNIT, UNIT, st.booleans()),
    st.lists(CLASSIFICATIONS, min_size=1, max_size=3).map(lambda heads: attributes(*heads)),
)
FOUND = st.builds(detection, st.sampled_from("ab"), UNIT)
PREDICTIONS = st.one_of(
    CROP_ANSWERS,
    st.builds(lambda found, miss: detections(*found, nearest_miss=miss), st.lists(FOUND, max_size=4), UNIT),
    st.builds(
        lambda items, miss: counts(*items, nearest_miss=miss),
        st.lists(st.builds(counted, FOUND, CROP_ANSWERS), max_size=4),
        UNIT,
    ),
)
CONTEXTS = st.builds(
    KeepContext,
    score_threshold=st.none() | UNIT,
    known_labels=st.just(()) | st.just((frozenset("ab"), frozenset("ab"))),
)


@given(prediction=PREDICTIONS, context=CONTEXTS)
def test_every_measure_stays_in_its_range(prediction: Prediction, context: KeepContext) -> None:
    assert 0.0 <= value(inference(prediction), context) <= 1.0
    assert 0.0 <= least_margin(prediction) <= 1.0
    assert 0.0 <= greatest_entropy(prediction) <= 1.0
    assert 0.0 <= (novelty(prediction) or 0.0) <= 2.0
    assert 0.0 <= threshold_distance(prediction, context.score_threshold or 0.0) <= 1.0
    assert "" not in labels(inference(prediction))
    assert all(answer.headline for answer in answers(prediction))

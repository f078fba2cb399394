from __future__ import annotations

import math

import numpy as np
import pytest
import reference_answers as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import jsonvalue
from edge.bundle.gallery import Gallery, gallery_bytes, make_gallery
from edge.bundle.manifest import ClassThreshold, MatchSpec, OutputKind, OutputSpec
from edge.errors import BackendError
from edge.postprocess.embed import match, match_all, novelty
from edge.types import Matches, RawOutputs

OUTPUT = OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, 2))
GALLERY = make_gallery(["east", "north"], [0, 0, 1], [[1.0, 0.0], [0.8, -0.6], [0.0, 1.0]])


def raw(*values: float) -> RawOutputs:
    return RawOutputs(by_name={"embedding": np.array([values], dtype=np.float32)})


def rules(**changes: object) -> MatchSpec:
    return MatchSpec(gallery=("g.bin",), **changes)


def matched(*values: float, gallery: Gallery = GALLERY, **changes: object) -> Matches:
    return match(raw(*values), OUTPUT, rules(**changes), gallery)


def test_known_values() -> None:
    answer = matched(0.6, 0.8, threshold=0.7, slope=10.0)
    assert [item.label for item in answer.top] == ["north", "east"]
    assert [item.similarity for item in answer.top] == pytest.approx([0.8, 0.6])
    assert answer.known
    assert answer.margin == pytest.approx(0.2)
    assert answer.novelty == pytest.approx(0.2)
    assert answer.confidence == pytest.approx(1 / (1 + math.exp(-1)))
    assert answer.headline.label == "north"


def test_length_does_not_matter() -> None:
    for length in (1e-30, 1.0, 3e37):
        assert matched(0.6 * length, 0.8 * length).top[0].similarity == pytest.approx(0.8)


def test_the_nearest_row_of_a_class_counts() -> None:
    assert matched(0.8, -0.6).top[0].similarity == pytest.approx(1.0)
    assert matched(0.8, -0.6).top[0].similarity <= 1.0


@pytest.mark.parametrize(
    ("changes", "known", "confidence"),
    [
        ({"threshold": 0.79}, True, None),
        ({"threshold": 0.81}, False, None),
        ({"threshold": 0.1, "class_thresholds": (ClassThreshold(label="north", value=0.9),)}, False, None),
        ({"threshold": 0.9, "class_thresholds": (ClassThreshold(label="north", value=0.1),)}, True, None),
        ({"threshold": 0.9, "class_thresholds": (ClassThreshold(label="east", value=0.1),)}, False, None),
        ({"threshold": 0.1, "class_thresholds": (ClassThreshold(label="gone", value=0.9),)}, True, None),
        ({"threshold": 0.1, "min_margin": 0.19}, True, None),
        ({"threshold": 0.1, "min_margin": 0.21}, False, None),
        ({"threshold": -1.0, "slope": 1e6}, True, 1.0),
        ({"threshold": 1.0, "slope": 1e6}, False, 0.0),
    ],
)
def test_thresholds_and_margin(changes: dict[str, object], known: bool, confidence: float | None) -> None:
    answer = matched(0.6, 0.8, **changes)
    assert answer.known is known
    if confidence is not None:
        assert answer.confidence == confidence


def test_confidence_is_a_half_at_the_threshold_and_equal_reaches_it() -> None:
    answer = matched(0.0, 5.0, threshold=1.0)
    assert answer.known
    assert answer.confidence == 0.5


def test_equal_similarities_keep_the_labels_order() -> None:
    gallery = make_gallery(["b", "a", "c"], [2, 1, 0], [[1.0, 0.0]] * 3)
    assert [item.label for item in matched(1.0, 1.0, gallery=gallery).top] == ["b", "a", "c"]
    assert [item.label for item in matched(1.0, 1.0, gallery=gallery, top_k=1).top] == ["b"]
    assert matched(1.0, 1.0, gallery=gallery, top_k=1).margin == 0.0


def test_one_class_has_no_second() -> None:
    gallery = make_gallery(["only"], [0], [[1.0, 0.0]])
    answer = matched(1.0, 1.0, gallery=gallery, min_margin=2.0)
    assert answer.known
    assert answer.margin == 1.0
    assert len(answer.top) == 1


def test_opposites_have_margin_one_and_novelty_up_to_two() -> None:
    gallery = make_gallery(["east", "west"], [0, 1], [[1.0, 0.0], [-1.0, 0.0]])
    answer = matched(1.0, 0.0, gallery=gallery, min_margin=2.0)
    assert (answer.margin, answer.known, answer.novelty) == (1.0, True, 0.0)
    alone = make_gallery(["west"], [0], [[-1.0, 0.0]])
    assert novelty(raw(7.0, 0.0), OUTPUT, alone) == 2.0


def test_novelty_is_that_of_the_match() -> None:
    assert novelty(raw(0.6, 0.8), OUTPUT, GALLERY) == matched(0.6, 0.8).novelty


@pytest.mark.parametrize(
    ("outputs", "message"),
    [
        (RawOutputs(by_name={"other": np.ones((1, 2), np.float32)}), "output 'embedding' is missing, the model gives"),
        (raw(0.0, 0.0), "output 'embedding' is zero, it has no direction"),
        (raw(math.nan, 0.0), "output 'embedding' holds NaN or infinity"),
        (raw(math.inf, 0.0), "output 'embedding' holds NaN or infinity"),
        (raw(1.0, 0.0, 0.0), "output 'embedding' has 3 values, the gallery has 2 dimensions"),
    ],
)
def test_a_bad_embedding_is_refused(outputs: RawOutputs, message: str) -> None:
    with pytest.raises(BackendError, match=message):
        match(outputs, OUTPUT, rules(), GALLERY)
    with pytest.raises(BackendError, match=message):
        match_all([raw(1.0, 0.0), outputs], OUTPUT, rules(), GALLERY)
    with pytest.raises(BackendError, match=message):
        novelty(outputs, OUTPUT, GALLERY)


def test_rounding_makes_no_cosine_above_one() -> None:
    for row in np.random.default_rng(5).normal(size=(50, 33)):
        alone = make_gallery(["same", "opposite"], [0, 1], [row, -row])
        output = OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, 33))
        answer = match(raw(*row), output, rules(), alone)
        assert answer.top[0].similarity <= 1.0
        assert answer.top[1].similarity >= -1.0
        assert answer.novelty >= 0.0


def test_many_crops_at_once() -> None:
    rng = np.random.default_rng(3)
    gallery = make_gallery(
        [f"sku {at}" for at in range(50)], [at % 50 for at in range(150)], rng.normal(size=(150, 64))
    )
    output = OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, 64))
    crops = [raw(*rng.normal(size=64)) for _ in range(9)]
    together = match_all(crops, output, rules(), gallery)
    for one, crop in zip(together, crops, strict=True):
        alone = match(crop, output, rules(), gallery)
        assert [item.label for item in one.top] == [item.label for item in alone.top]
        assert [item.similarity for item in one.top] == pytest.approx([item.similarity for item in alone.top], abs=1e-6)
    assert match_all([], output, rules(), gallery) == ()


NUMBER = st.floats(-4, 4, width=32)
VECTOR = st.lists(NUMBER, min_size=5, max_size=5).filter(lambda row: sum(value * value for value in row) > 1e-3)


@given(rows=st.lists(st.tuples(st.integers(0, 3), VECTOR), min_size=1, max_size=9), query=VECTOR)
@settings(max_examples=150, deadline=None)
def test_equals_the_definition(rows: list[tuple[int, list[float]]], query: list[float]) -> None:
    labels = sorted({f"class {owner}" for owner, _ in rows})
    owners = [labels.index(f"class {owner}") for owner, _ in rows]
    data = gallery_bytes(labels, owners, [row for _, row in rows])
    gallery = make_gallery(labels, owners, [row for _, row in rows])
    output = OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, 5))
    spec = rules(threshold=0.3, slope=5.0, top_k=4)
    found = match(raw(*query), output, spec, gallery)
    expected = reference.matches(query, [data], jsonvalue.to_json(spec))
    for name in ("confidence", "margin", "novelty"):
        assert getattr(found, name) == pytest.approx(expected[name], abs=1e-5)
    assert [item.similarity for item in found.top] == pytest.approx(
        [item["similarity"] for item in expected["top"]], abs=1e-5
    )

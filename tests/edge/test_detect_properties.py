"""Detectors against their slow definition, on drawn outputs; and what always holds."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import reference_detect as reference
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from edge.bundle.manifest import (
    Activation,
    BoxFormat,
    CropPolicy,
    Decoder,
    DetectSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageSpec,
    Task,
)
from edge.errors import EdgeloopError
from edge.postprocess.detect.decode import detect
from edge.preprocess import preprocess_pixels
from edge.types import Detections, Geometry, RawOutputs

SIDE = 64
EIGHTHS = st.integers(-8, 72 * 8).map(lambda value: value / 8)
# Few different scores, so that there are many ties, and both thresholds are met exactly.
SCORES = st.integers(0, 16).map(lambda value: value / 16)
BOXES = st.tuples(EIGHTHS, EIGHTHS, EIGHTHS, EIGHTHS)
GEOMETRIES = st.builds(
    Geometry,
    picture_width=st.integers(1, 200),
    picture_height=st.integers(1, 200),
    scale_x=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    scale_y=st.sampled_from([0.5, 1.0, 2.0, 3.0]),
    offset_x=st.integers(-50, 50),
    offset_y=st.integers(-50, 50),
)


@st.composite
def specs(draw: st.DrawFn, decoder: Decoder) -> DetectSpec:
    return DetectSpec(
        decoder=decoder,
        box_format=draw(st.sampled_from(list(BoxFormat))),
        normalised=draw(st.booleans()),
        score_threshold=draw(SCORES),
        iou_threshold=draw(st.sampled_from([0.0, 0.25, 0.5, 0.57, 1.0])),
        max_detections=draw(st.sampled_from([1, 2, 5, 300])),
        class_agnostic=draw(st.booleans()),
        first_class=draw(st.integers(0, 2)),
    )


def stage(spec: DetectSpec, *kinds: OutputKind, activation: Activation = Activation.NONE) -> StageSpec:
    outputs = [OutputSpec(name=kind.value, kind=kind, shape=(1,), activation=activation) for kind in kinds]
    return StageSpec(
        name="detect",
        preprocess=PreprocessSpec(width=SIDE, height=SIDE),
        outputs=tuple(outputs),
        artifacts=(),
        task=Task.DETECT,
        detect=spec,
    )


def plain(result: Detections) -> tuple[list[reference.Candidate], float]:
    """As the definition says it."""
    items = [
        ((item.box.left, item.box.top, item.box.right, item.box.bottom), item.score, item.index)
        for item in result.items
    ]
    return items, result.nearest_miss


def names(count: int) -> list[str]:
    return [f"class {at}" for at in range(count)]


@given(data=st.data(), spec=specs(Decoder.YOLO), geometry=GEOMETRIES, num_labels=st.integers(1, 3))
@settings(max_examples=300, deadline=None)
def test_yolo_is_its_definition(data: st.DataObject, spec: DetectSpec, geometry: Geometry, num_labels: int) -> None:
    scale = SIDE if spec.normalised else 1
    count = data.draw(st.integers(1, 24))
    boxes = [[edge / scale for edge in data.draw(BOXES)] for _ in range(count)]
    scores = [[data.draw(SCORES) for _ in range(spec.first_class + num_labels)] for _ in range(count)]
    made = stage(spec, OutputKind.BOXES, OutputKind.SCORES)
    outputs = RawOutputs(by_name={"boxes": np.float32([boxes]), "scores": np.float32([scores])})
    expected = reference.answer(
        reference.yolo(boxes, scores, made), made, geometry, suppressing=True, num_labels=num_labels
    )
    assert plain(detect(outputs, made, names(num_labels), geometry)) == expected


@given(data=st.data(), spec=specs(Decoder.END_TO_END), geometry=GEOMETRIES)
@settings(max_examples=150, deadline=None)
def test_chosen_boxes_are_their_definition(data: st.DataObject, spec: DetectSpec, geometry: Geometry) -> None:
    count = data.draw(st.integers(1, 12))
    boxes = [list(data.draw(BOXES)) for _ in range(count)]
    scores = [data.draw(SCORES) for _ in range(count)]
    # Below the threshold a class may be anything.
    numbers = [
        float(data.draw(st.integers(0, 2)) + spec.first_class) if score >= spec.score_threshold else 99.0
        for score in scores
    ]
    whole = stage(spec, OutputKind.DETECTIONS)
    apart = stage(
        dataclasses.replace(spec, decoder=Decoder.SSD), OutputKind.BOXES, OutputKind.CLASSES, OutputKind.SCORES
    )
    rows = [[*box, score, number] for box, score, number in zip(boxes, scores, numbers, strict=True)]
    candidates = reference.chosen(boxes, scores, numbers, whole)
    expected = reference.answer(candidates, whole, geometry, suppressing=False, num_labels=3)
    together = RawOutputs(by_name={"detections": np.float32([rows])})
    parts = {"boxes": np.float32([boxes]), "classes": np.float32([numbers]), "scores": np.float32([scores])}
    assert plain(detect(together, whole, names(3), geometry)) == expected
    assert plain(detect(RawOutputs(by_name=parts), apart, names(3), geometry)) == expected


@given(
    cells=npst.arrays(np.float32, st.tuples(st.just(7), st.integers(1, 4), st.integers(1, 4)), elements=SCORES),
    activation=st.sampled_from(list(Activation)),
)
@settings(max_examples=100, deadline=None)
def test_grid_is_its_definition(cells: np.ndarray, activation: Activation) -> None:
    spec = DetectSpec(decoder=Decoder.GRID, score_threshold=0.5)
    made = stage(spec, OutputKind.GRID, activation=activation)
    geometry = Geometry(picture_width=80, picture_height=60, scale_x=1.25, scale_y=0.9375, offset_x=0, offset_y=0)
    candidates = reference.grid(cells.transpose(1, 2, 0).tolist(), made, activation)
    everything = dataclasses.replace(made, detect=dataclasses.replace(spec, score_threshold=0.0, iou_threshold=1.0))
    outputs = RawOutputs(by_name={"grid": cells[np.newaxis]})
    # All candidates, for near-equal scores may change places by one rounding.
    items, _ = plain(detect(outputs, everything, names(2), geometry))
    expected = reference.seen(candidates, geometry)
    assert len(items) == len(expected)
    for box, score, index in items:
        assert any(
            index == other[2] and math.isclose(score, other[1], abs_tol=1e-6)
            and np.allclose(box, other[0], rtol=0, atol=1e-9)
            for other in expected
        )  # fmt: skip


@given(
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    crop=st.sampled_from(list(CropPolicy)),
    model=st.tuples(st.integers(8, 96), st.integers(8, 96)),
    shares=st.tuples(*[st.floats(0, 1, width=32)] * 4),
    box_format=st.sampled_from(list(BoxFormat)),
    normalised=st.booleans(),
)
@settings(max_examples=200, deadline=None)
def test_a_box_of_the_picture_comes_back(
    size: tuple[int, int],
    crop: CropPolicy,
    model: tuple[int, int],
    shares: tuple[float, float, float, float],
    box_format: BoxFormat,
    normalised: bool,
) -> None:
    """Forward through the geometry that preprocessing gives, then back through the decoder, within float32's error."""
    (width, height), (across, down) = size, model
    preprocess = PreprocessSpec(width=across, height=down, crop=crop)
    _, geometry = preprocess_pixels(np.zeros((height, width), dtype=np.uint8), preprocess)
    left, right = sorted((shares[0] * width, shares[2] * width))
    top, bottom = sorted((shares[1] * height, shares[3] * height))
    xs = [(edge - geometry.offset_x) / geometry.scale_x for edge in (left, right)]
    ys = [(edge - geometry.offset_y) / geometry.scale_y for edge in (top, bottom)]
    if normalised:
        xs, ys = [x / across for x in xs], [y / down for y in ys]
    box = {
        BoxFormat.XYXY: [xs[0], ys[0], xs[1], ys[1]],
        BoxFormat.YXYX: [ys[0], xs[0], ys[1], xs[1]],
        BoxFormat.CXCYWH: [sum(xs) / 2, sum(ys) / 2, xs[1] - xs[0], ys[1] - ys[0]],
    }[box_format]
    spec = DetectSpec(decoder=Decoder.YOLO, box_format=box_format, normalised=normalised)
    made = dataclasses.replace(stage(spec, OutputKind.BOXES, OutputKind.SCORES), preprocess=preprocess)
    outputs = RawOutputs(by_name={"boxes": np.float32([[box]]), "scores": np.float32([[[1]]])})
    items, _ = plain(detect(outputs, made, ["thing"], geometry))
    reach = max(*(abs(edge) for edge in xs + ys), across, down) * max(geometry.scale_x, geometry.scale_y)
    error = 4 * reach * max(across, down, 1) * 2.0**-24 if normalised else 4 * reach * 2.0**-24
    if items:
        assert np.allclose(items[0][0], (left, top, right, bottom), rtol=0, atol=error)
    else:
        assert min(right - left, bottom - top) <= 2 * error


@given(seed=st.integers(0, 10_000), threshold=st.sampled_from([0.2, 0.5, 0.8]))
@settings(max_examples=30, deadline=None)
def test_what_is_reported_hangs_together(seed: int, threshold: float) -> None:
    rng = np.random.default_rng(seed)
    corner, reach = rng.uniform(-10, SIDE, (400, 2)), rng.uniform(-2, 30, (400, 2))
    boxes, scores = np.concatenate([corner, corner + reach], axis=1), rng.random((400, 3)) ** 3
    spec = DetectSpec(decoder=Decoder.YOLO, iou_threshold=threshold, max_detections=50)
    made = stage(spec, OutputKind.BOXES, OutputKind.SCORES)
    geometry = Geometry(picture_width=120, picture_height=90, scale_x=2, scale_y=1.5, offset_x=-4, offset_y=3)

    def answer(order: np.ndarray) -> Detections:
        arrays = {"boxes": np.float32(boxes[order][np.newaxis]), "scores": np.float32(scores[order][np.newaxis])}
        return detect(RawOutputs(by_name=arrays), made, names(3), geometry)

    result = answer(np.arange(400))
    items, miss = plain(result)
    assert 0 <= miss < spec.score_threshold
    assert [score for _, score, _ in items] == sorted((score for _, score, _ in items), reverse=True)
    assert len(items) <= 50
    for at, (box, score, index) in enumerate(items):
        assert 0 <= box[0] < box[2] <= 120
        assert 0 <= box[1] < box[3] <= 90
        assert spec.score_threshold <= score <= 1
        assert all(index != other[2] or reference.overlap(box, other[0]) <= threshold for other in items[:at])
    assert answer(rng.permutation(400)) == result  # no two scores are equal


@given(data=st.data(), decoder=st.sampled_from(list(Decoder)), joint=st.booleans())
@settings(max_examples=300, deadline=None)
def test_whatever_a_model_says_is_answered_or_refused(data: st.DataObject, decoder: Decoder, joint: bool) -> None:
    kinds = {
        Decoder.YOLO: (OutputKind.BOXES_SCORES,) if joint else (OutputKind.BOXES, OutputKind.SCORES),
        Decoder.END_TO_END: (OutputKind.DETECTIONS,),
        Decoder.SSD: (OutputKind.BOXES, OutputKind.CLASSES, OutputKind.SCORES, OutputKind.COUNT),
        Decoder.GRID: (OutputKind.GRID,),
    }[decoder]
    made = stage(data.draw(specs(decoder)), *kinds, activation=data.draw(st.sampled_from(list(Activation))))
    sides = st.sampled_from([0, 1, 2, 3, 4, 6, 7])
    shapes = st.one_of(
        npst.array_shapes(min_dims=1, max_dims=4, max_side=7),
        st.tuples(st.just(1), sides, sides),
        st.tuples(st.just(1), sides, sides, sides),
        st.tuples(st.just(1), sides),
    )
    anything = st.one_of(st.floats(width=32), SCORES)
    arrays = {kind.value: data.draw(npst.arrays(np.float32, shapes, elements=anything)) for kind in kinds}
    geometry = data.draw(GEOMETRIES)
    try:
        result = detect(RawOutputs(by_name=arrays), made, names(2), geometry)
    except EdgeloopError as error:
        message = str(error)
    else:
        message, items = "answered", plain(result)[0]
    assert message
    assert "\n" not in message
    if message != "answered":
        return
    for box, score, index in items:
        assert 0 <= box[0] < box[2] <= geometry.picture_width
        assert 0 <= box[1] < box[3] <= geometry.picture_height
        assert 0 <= score <= 1
        assert index in (0, 1)
    assert 0 <= result.nearest_miss <= 1

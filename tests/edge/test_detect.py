"""Detector outputs to boxes: what each head says, which boxes stay, where they lie in the picture."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence

import numpy as np
import pytest

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
from edge.postprocess.detect.decode import detect
from edge.preprocess import preprocess
from edge.types import Box, Detections, Geometry, RawOutputs

LABELS = ("cup", "plate", "fork")
SAME = Geometry(picture_width=100, picture_height=100, scale_x=1, scale_y=1, offset_x=0, offset_y=0)
PAIR = (OutputKind.BOXES, OutputKind.SCORES)


def stage(kinds: Sequence[OutputKind], decoder: Decoder = Decoder.YOLO, **changes: object) -> StageSpec:
    activation = changes.pop("activation", Activation.NONE)
    temperature = changes.pop("temperature", 1.0)
    outputs = tuple(
        OutputSpec(name=kind.value, kind=kind, shape=(1,), activation=activation, temperature=temperature)
        for kind in kinds
    )
    return StageSpec(
        name="detect",
        preprocess=PreprocessSpec(width=100, height=100),
        outputs=outputs,
        artifacts=(),
        task=Task.DETECT,
        detect=DetectSpec(decoder=decoder, **changes),
    )


def found(
    arrays: dict[str, object], made: StageSpec, geometry: Geometry = SAME, labels: Sequence[str] = LABELS
) -> Detections:
    outputs = RawOutputs(by_name={name: np.array(value, dtype=np.float32) for name, value in arrays.items()})
    return detect(outputs, made, labels, geometry)


def edges(box: Box) -> tuple[float, float, float, float]:
    return (box.left, box.top, box.right, box.bottom)


def test_yolo_names_the_best_class_of_each_place() -> None:
    boxes = [[10, 10, 30, 40], [50, 50, 90, 90], [0, 0, 5, 5]]
    scores = [[0.1, 0.7, 0.2], [0.9, 0.3, 0.9], [0.2, 0.1, 0.0]]
    result = found({"boxes": [boxes], "scores": [scores]}, stage(PAIR))
    assert [(item.label, item.index) for item in result.items] == [("cup", 0), ("plate", 1)]
    assert [item.score for item in result.items] == pytest.approx([0.9, 0.7])
    assert edges(result.items[1].box) == (10, 10, 30, 40)
    assert result.nearest_miss == pytest.approx(0.2)
    assert all(type(value) is float for item in result.items for value in (*edges(item.box), item.score))
    assert type(result.items[0].index) is int
    assert type(result.nearest_miss) is float


@pytest.mark.parametrize(
    ("box_format", "normalised", "box"),
    [
        (BoxFormat.XYXY, False, [10, 20, 50, 80]),
        (BoxFormat.YXYX, False, [20, 10, 80, 50]),
        (BoxFormat.CXCYWH, False, [30, 50, 40, 60]),
        (BoxFormat.XYXY, True, [0.125, 0.25, 0.5, 0.75]),
        (BoxFormat.CXCYWH, True, [0.3125, 0.5, 0.375, 0.5]),
    ],
)
def test_box_formats(box_format: BoxFormat, normalised: bool, box: list[float]) -> None:
    made = stage(PAIR, box_format=box_format, normalised=normalised)
    result = found({"boxes": [[box]], "scores": [[[0, 0, 1]]]}, made)
    expected = (12.5, 25, 50, 75) if normalised else (10, 20, 50, 80)
    assert edges(result.items[0].box) == expected


def test_normalised_boxes_follow_each_side_of_the_input() -> None:
    made = dataclasses.replace(stage(PAIR, normalised=True), preprocess=PreprocessSpec(width=64, height=32))
    result = found({"boxes": [[[0.25, 0.25, 0.5, 0.5]]], "scores": [[[0, 0, 1]]]}, made)
    assert edges(result.items[0].box) == (16, 8, 32, 16)


def test_shapes_that_fit_twice() -> None:
    """Four boxes: places come first. Scores with as many places as classes are turned as their boxes are."""
    boxes = np.array([[0, 0, 9, 9], [10, 10, 29, 29], [30, 30, 59, 59], [60, 60, 99, 99]])
    scores = np.zeros((4, 3))
    scores[:, 1] = [0.5, 0.6, 0.7, 0.8]
    result = found({"boxes": [boxes], "scores": [scores.T]}, stage(PAIR))
    assert [edges(item.box)[0] for item in result.items] == [60, 30, 10, 0]
    square = np.zeros((3, 3))
    square[0] = [0.0, 0.0, 0.9]
    straight = found({"boxes": [boxes[:3]], "scores": [square]}, stage(PAIR))
    turned = found({"boxes": [boxes[:3].T], "scores": [square.T]}, stage(PAIR))
    assert straight == turned
    assert [(item.label, edges(item.box)[2]) for item in straight.items] == [("fork", 9)]


def test_a_joint_output_that_fits_twice() -> None:
    """Seven places of three classes: places come first."""
    whole = np.zeros((7, 7))
    whole[:, :4] = [[10 * at, 0, 10 * at + 5, 9] for at in range(7)]
    whole[2, 5] = 0.75
    (only,) = found({"boxes_scores": [whole]}, stage([OutputKind.BOXES_SCORES])).items
    assert (only.label, edges(only.box)) == ("plate", (20, 0, 25, 9))


@pytest.mark.parametrize("kinds", [PAIR, (OutputKind.BOXES_SCORES,), (OutputKind.GRID,)])
def test_columns_before_the_first_class_are_no_class(kinds: Sequence[OutputKind]) -> None:
    """The background is the surest, the second label the surest after it."""
    row = [0.99, 0.25, 0.75, 0.5]
    arrays = {
        "boxes": [[[0, 0, 9, 9]]],
        "scores": [[row]],
        "boxes_scores": [[[0, 0, 9, 9, *row]]],
        "grid": np.array([1, 0, 0, 0, 0, *row]).reshape(1, 9, 1, 1),
    }
    decoder = Decoder.GRID if OutputKind.GRID in kinds else Decoder.YOLO
    (only,) = found(arrays, stage(kinds, decoder, first_class=1)).items
    assert (only.label, only.index) == ("plate", 1)
    assert only.score == pytest.approx(0.75**0.4 if decoder is Decoder.GRID else 0.75)


def test_activations() -> None:
    arrays = {"boxes": [[[0, 0, 9, 9]]], "scores": [[[-2.0, 1.0, 0.5]]]}
    plain = found(arrays, stage(PAIR, activation=Activation.SIGMOID))
    assert (plain.items[0].label, plain.items[0].score) == ("plate", pytest.approx(1 / (1 + math.exp(-1))))
    cooler = found(arrays, stage(PAIR, activation=Activation.SIGMOID, temperature=4.0))
    assert cooler.items[0].score == pytest.approx(1 / (1 + math.exp(-0.25)))
    shared = found(arrays, stage(PAIR, activation=Activation.SOFTMAX))
    total = math.exp(-2) + math.exp(1) + math.exp(0.5)
    assert shared.items[0].score == pytest.approx(math.exp(1) / total)
    huge = {"boxes": [[[0, 0, 9, 9], [20, 0, 29, 9]]], "scores": [[[3e38, -3e38, 0], [-3e38, -3e38, -3e38]]]}
    for activation in (Activation.SIGMOID, Activation.SOFTMAX):
        assert found(huge, stage(PAIR, activation=activation)).items[0].score == 1.0


def test_scores_a_quantization_step_outside_are_limited() -> None:
    result = found(
        {"boxes": [[[0, 0, 9, 9], [20, 20, 29, 29]]], "scores": [[[1.02, 0, 0], [-0.01, -0.01, -0.01]]]}, stage(PAIR)
    )
    assert [item.score for item in result.items] == [1.0]
    assert result.nearest_miss == 0.0


def test_threshold_is_met_exactly() -> None:
    """0.7 is a little less in float32 than in float64; a score of 0.7 still meets a threshold of 0.7."""
    arrays = {"boxes": [[[0, 0, 9, 9]]], "scores": [[[0.7, 0, 0]]]}
    assert len(found(arrays, stage(PAIR, score_threshold=0.7)).items) == 1
    result = found(arrays, stage(PAIR, score_threshold=0.701))
    assert (result.items, result.nearest_miss) == ((), pytest.approx(0.7))
    assert result.headline.confidence == pytest.approx(0.3)


def test_suppression_is_by_class_unless_told_otherwise() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [1, 0, 10, 10], [50, 50, 60, 60]]
    scores = [[0.9, 0, 0], [0, 0.8, 0], [0.7, 0, 0], [0.6, 0, 0]]
    arrays = {"boxes": [boxes], "scores": [scores]}
    assert [item.score for item in found(arrays, stage(PAIR)).items] == pytest.approx([0.9, 0.8, 0.6])
    agnostic = found(arrays, stage(PAIR, class_agnostic=True))
    assert [item.score for item in agnostic.items] == pytest.approx([0.9, 0.6])


def test_a_suppressed_box_suppresses_nothing() -> None:
    boxes = [[0, 0, 10, 10], [4, 0, 14, 10], [8, 0, 18, 10]]  # each overlaps the next by 6 of 14
    result = found(
        {"boxes": [boxes], "scores": [[[0.9, 0, 0], [0.8, 0, 0], [0.7, 0, 0]]]}, stage(PAIR, iou_threshold=0.4)
    )
    assert [edges(item.box)[0] for item in result.items] == [0, 8]


def test_an_overlap_of_exactly_the_threshold_is_allowed() -> None:
    arrays = {"boxes": [[[0, 0, 100, 100], [0, 0, 100, 57]]], "scores": [[[0.9, 0, 0], [0.8, 0, 0]]]}
    assert len(found(arrays, stage(PAIR, iou_threshold=0.57)).items) == 2
    assert len(found(arrays, stage(PAIR, iou_threshold=0.569)).items) == 1


def test_equal_scores_keep_their_order() -> None:
    boxes = [[0, 0, 10, 10], [0, 0, 10, 11], [30, 30, 40, 40], [60, 60, 70, 70]]
    result = found({"boxes": [boxes], "scores": [[[0.5, 0, 0]] * 4]}, stage(PAIR))
    assert [edges(item.box) for item in result.items] == [(0, 0, 10, 10), (30, 30, 40, 40), (60, 60, 70, 70)]


def test_at_most_so_many() -> None:
    boxes = [[10 * at, 0, 10 * at + 9, 9] for at in range(8)]
    scores = [[0.5 + at / 100, 0, 0] for at in range(8)]
    result = found({"boxes": [boxes], "scores": [scores]}, stage(PAIR, max_detections=3))
    assert [item.score for item in result.items] == pytest.approx([0.57, 0.56, 0.55])


def test_boxes_without_area_in_the_picture_are_dropped() -> None:
    boxes = [[10, 10, 10, 20], [30, 30, 20, 40], [100, 0, 120, 20], [-9, 0, 0, 9], [-5, 90, 20, 130]]
    scores = [[0.9, 0, 0]] * 5
    result = found({"boxes": [boxes], "scores": [scores]}, stage(PAIR))
    assert [edges(item.box) for item in result.items] == [(0, 90, 20, 100)]


def test_a_box_in_the_padding_suppresses_nothing() -> None:
    """The stronger box lies outside; it must not take the one that reaches into the picture with it."""
    geometry = dataclasses.replace(SAME, picture_height=40, offset_y=-50)
    boxes = [[0, 10, 50, 50], [0, 10, 50, 60]]
    result = found({"boxes": [boxes], "scores": [[[0.9, 0, 0], [0.6, 0, 0]]]}, stage(PAIR), geometry)
    assert [edges(item.box) for item in result.items] == [(0, 0, 50, 10)]


def test_nearest_miss_is_a_thing_of_its_own() -> None:
    made = stage(PAIR, score_threshold=0.5)
    boxes = [[0, 0, 10, 10], [0, 0, 10, 9], [0, 0, 10, 9], [200, 0, 210, 9], [50, 50, 60, 60]]
    scores = [[0.9, 0, 0], [0.45, 0, 0], [0, 0.4, 0], [0.49, 0, 0], [0.3, 0, 0]]
    arrays = {"boxes": [boxes], "scores": [scores]}
    assert found(arrays, made).nearest_miss == pytest.approx(0.4)
    agnostic = dataclasses.replace(made, detect=dataclasses.replace(made.detect, class_agnostic=True))
    assert found(arrays, agnostic).nearest_miss == pytest.approx(0.3)


def test_nearest_miss_behind_hundreds_of_echoes() -> None:
    echoes = [[0, 0, 10, 10 - at / 1000] for at in range(400)]
    scores = [[0.4 - at / 10_000, 0, 0] for at in range(400)]
    arrays = {
        "boxes": [[[0, 0, 10, 10], *echoes, [50, 50, 60, 60], [70, 70, 80, 80]]],
        "scores": [[[0.9, 0, 0], *scores, [0.05, 0, 0], [0.2, 0, 0]]],
    }
    result = found(arrays, stage(PAIR, score_threshold=0.5))
    assert (len(result.items), result.nearest_miss) == (1, pytest.approx(0.2))


@pytest.mark.parametrize("num_echoes", [0, 70, 150])
def test_nearest_miss_among_hundreds(num_echoes: int) -> None:
    """The best of many things of their own, wherever it stands in the output and however many echoes are better."""
    echoes = [[0, 0, 10, 10 - at / 1000] for at in range(num_echoes)]
    weak = [[12 + at / 10, 50, 13 + at / 10, 60] for at in range(300)]
    low = np.random.default_rng(5).permutation(300) / 1000
    arrays = {
        "boxes": [[[0, 0, 10, 10], *echoes, *weak]],
        "scores": [[[0.9, 0, 0], *[[0.4, 0, 0]] * num_echoes, *[[score, 0, 0] for score in low]]],
    }
    assert found(arrays, stage(PAIR, score_threshold=0.5)).nearest_miss == pytest.approx(0.299)


def test_end_to_end_suppresses_nothing() -> None:
    made = stage([OutputKind.DETECTIONS], Decoder.END_TO_END)
    rows = [
        [0, 0, 10, 10, 0.6, 2],
        [0, 0, 10, 10, 0.9, 2],
        [0, 0, 9, 9, 0.2, 1],
        [0, 0, 0, 0, 0, 0],
        [0, 0, 9, 9, -1, -1],
    ]
    result = found({"detections": [rows]}, made)
    assert [(item.label, item.score) for item in result.items] == [
        ("fork", pytest.approx(0.9)),
        ("fork", pytest.approx(0.6)),
    ]
    assert result.nearest_miss == pytest.approx(0.2)
    assert found({"detections": np.zeros((1, 0, 6))}, made) == Detections(items=())


SSD_KINDS = (OutputKind.BOXES, OutputKind.CLASSES, OutputKind.SCORES, OutputKind.COUNT)


def ssd_arrays(count: float) -> dict[str, object]:
    boxes = [[0.25, 0.125, 0.75, 0.5], [0, 0, 0.5, 1], [math.nan] * 4]
    return {"boxes": [boxes], "classes": [[1, 2, math.nan]], "scores": [[0.5, 0.75, math.inf]], "count": [count]}


def test_ssd_reads_what_is_counted() -> None:
    made = stage(SSD_KINDS, Decoder.SSD, box_format=BoxFormat.YXYX, normalised=True)
    both, one = found(ssd_arrays(2), made), found(ssd_arrays(1), made)
    assert [(item.label, edges(item.box)) for item in both.items] == [
        ("fork", (0, 0, 100, 50)),
        ("plate", (12.5, 25, 50, 75)),
    ]
    assert [item.label for item in one.items] == ["plate"]
    assert found(ssd_arrays(0), made) == Detections(items=())
    shifted = stage(SSD_KINDS, Decoder.SSD, box_format=BoxFormat.YXYX, normalised=True, first_class=1)
    assert [item.label for item in found(ssd_arrays(2), shifted).items] == ["plate", "cup"]


def test_ssd_without_a_count_and_with_logits() -> None:
    made = stage(SSD_KINDS[:3], Decoder.SSD, activation=Activation.SIGMOID)
    arrays = {"boxes": [[[0, 0, 9, 9], [20, 20, 40, 40]]], "classes": [[0, 1.98]], "scores": [[-3.0, 2.0]]}
    result = found(arrays, made)
    assert [(item.label, item.score) for item in result.items] == [("fork", pytest.approx(1 / (1 + math.exp(-2))))]
    assert result.nearest_miss == pytest.approx(1 / (1 + math.exp(3)))


def test_grid_cell() -> None:
    """One sure cell, at column 1 and row 2 of a grid 4 wide and 5 high."""
    grid = np.zeros((1, 8, 5, 4))
    grid[0, :, 2, 1] = [0.81, 0.5, -0.25, 0.0, -1.0, 0.1, 0.25, 0.0]
    result = found({"grid": grid}, stage([OutputKind.GRID], Decoder.GRID))
    (only,) = result.items
    assert (only.label, only.score) == ("plate", pytest.approx(0.81**0.6 * 0.25**0.4))
    centre_x, centre_y = 25 * (1 + math.tanh(0.5)), 20 * (2 + math.tanh(-0.25))
    half_width, half_height = 25, 50 / (1 + math.e)
    expected = (centre_x - half_width, centre_y - half_height, centre_x + half_width, centre_y + half_height)
    assert edges(only.box) == pytest.approx(expected)
    assert found({"grid": grid.transpose(0, 2, 3, 1)}, stage([OutputKind.GRID], Decoder.GRID)) == result


@pytest.mark.parametrize("crop", list(CropPolicy))
@pytest.mark.parametrize("size", [(320, 180), (97, 211), (100, 100)])
def test_a_drawn_square_is_found_where_it_was_drawn(crop: CropPolicy, size: tuple[int, int]) -> None:
    """From pixels to pixels: preprocessing places the square, a head that sees it exactly reports it back."""
    width, height = size
    picture = np.zeros((height, width, 3), dtype=np.uint8)
    left, top, right, bottom = width // 2 - 20, height // 2 - 24, width // 2 + 28, height // 2 + 20
    picture[top:bottom, left:right] = 255
    made = dataclasses.replace(stage(PAIR), preprocess=PreprocessSpec(width=100, height=100, crop=crop, fill=0))
    prepared = preprocess(picture, made.preprocess)
    bright = prepared.tensor[0, :, :, 0] > 127
    across, down = np.flatnonzero(bright.any(axis=0)), np.flatnonzero(bright.any(axis=1))
    box = [across[0], down[0], across[-1] + 1, down[-1] + 1]
    result = found({"boxes": [[box]], "scores": [[[1, 0, 0]]]}, made, prepared.geometry)
    model_pixel = max(prepared.geometry.scale_x, prepared.geometry.scale_y)
    assert edges(result.items[0].box) == pytest.approx((left, top, right, bottom), abs=model_pixel)

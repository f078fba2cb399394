"""What a detector's model or manifest may get wrong: one clear line that names it."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
import pytest

from edge.bundle.manifest import (
    Activation,
    Decoder,
    DetectSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageSpec,
    Task,
)
from edge.errors import BackendError, BundleError
from edge.postprocess.detect.decode import detect
from edge.types import Geometry, RawOutputs

K = OutputKind
LABELS = ("cup", "plate", "fork")
PICTURE = Geometry(picture_width=100, picture_height=100, scale_x=1, scale_y=1, offset_x=0, offset_y=0)
BOX = [10.0, 10.0, 40.0, 40.0]
GOOD: dict[Decoder, dict[OutputKind, list]] = {
    Decoder.YOLO: {K.BOXES: [[BOX, BOX]], K.SCORES: [[[0.9, 0, 0], [0, 0.8, 0]]]},
    Decoder.END_TO_END: {K.DETECTIONS: [[[*BOX, 0.9, 1]]]},
    Decoder.SSD: {K.BOXES: [[BOX, BOX]], K.CLASSES: [[0, 1]], K.SCORES: [[0.9, 0.8]], K.COUNT: [2]},
    Decoder.GRID: {K.GRID: np.full((1, 8, 2, 2), 0.5).tolist()},
}
JOINT = {K.BOXES_SCORES: [[[*BOX, 0.9, 0, 0]]]}


def stage(decoder: Decoder, kinds: list[OutputKind], activation: Activation = Activation.NONE) -> StageSpec:
    outputs = [OutputSpec(name=f"the {kind.value}", kind=kind, shape=(1,), activation=activation) for kind in kinds]
    return StageSpec(
        name="finder",
        preprocess=PreprocessSpec(width=100, height=100),
        outputs=tuple(outputs),
        artifacts=(),
        task=Task.DETECT,
        detect=DetectSpec(decoder=decoder),
    )


def answered(decoder: Decoder, arrays: dict[OutputKind, list], activation: Activation = Activation.NONE) -> int:
    by_name = {f"the {kind.value}": np.array(value, dtype=np.float32) for kind, value in arrays.items()}
    made = stage(decoder, list(arrays), activation)
    return len(detect(RawOutputs(by_name=by_name), made, LABELS, PICTURE).items)


@pytest.mark.parametrize("decoder", list(Decoder))
def test_the_good_outputs_are_answered(decoder: Decoder) -> None:
    assert answered(decoder, GOOD[decoder]) > 0
    assert answered(Decoder.YOLO, JOINT) == 1


BAD_OUTPUTS = [
    (Decoder.YOLO, K.BOXES, [[BOX[:3]]], "'the boxes' must be (1, N, 4) or (1, 4, N), found (1, 1, 3)"),
    (Decoder.YOLO, K.BOXES, [BOX], "'the boxes' must be (1, N, 4) or (1, 4, N), found (1, 4)"),
    (Decoder.YOLO, K.BOXES, [[BOX]], "'the scores' must be (1, 1, 3) or (1, 3, 1) for 1 boxes and 3 classes"),
    (Decoder.YOLO, K.BOXES, [[BOX], [BOX]], "'the boxes' must have a batch of 1 as its first axis, found (2, 1, 4)"),
    (Decoder.YOLO, K.BOXES, 3.0, "'the boxes' must have a batch of 1 as its first axis, found ()"),
    (Decoder.YOLO, K.BOXES, [[BOX, [1, 2, math.nan, 4]]], "'the boxes' holds NaN or infinity"),
    (Decoder.YOLO, K.BOXES, [[BOX, [1, 2, math.inf, 4]]], "'the boxes' holds NaN or infinity"),
    (Decoder.YOLO, K.SCORES, [[0.9, 0.8]], "'the scores' must be (1, 2, 3) or (1, 3, 2)"),
    (Decoder.YOLO, K.SCORES, [[[0.9, 0, 0, 0]] * 2], "'the scores' must be (1, 2, 3) or (1, 3, 2)"),
    (Decoder.YOLO, K.SCORES, [[[0.9, 0, 0], [0, math.nan, 0]]], "'the scores' holds NaN or infinity"),
    (Decoder.YOLO, K.SCORES, [[[0.9, 0, 0], [0, -math.inf, 0]]], "'the scores' holds NaN or infinity"),
    (Decoder.YOLO, K.SCORES, [[[0.9, 0, 0], [0, 4.25, 0]]], "'the scores' holds a score of 4.25, outside of 0 to 1"),
    (Decoder.YOLO, K.SCORES, [[[-9, -7, -8]] * 2], "a score of -7, outside of 0 to 1 (are they logits?"),
    (Decoder.END_TO_END, K.DETECTIONS, [[[*BOX, 0.9]]], "'the detections' must be (1, N, 6), found (1, 1, 5)"),
    (Decoder.END_TO_END, K.DETECTIONS, [[[*BOX, math.nan, 1]]], "'the detections' holds NaN or infinity"),
    (Decoder.END_TO_END, K.DETECTIONS, [[[*BOX, 7.5, 1]]], "'the detections' holds a score of 7.5, outside of 0 to 1"),
    (Decoder.END_TO_END, K.DETECTIONS, [[[*BOX, 0.9, 0.5]]], "'the detections' has 0.5 for a class"),
    (Decoder.END_TO_END, K.DETECTIONS, [[[*BOX, 0.9, 3]]], "found class 3, the labels are classes 0 to 2"),
    (Decoder.END_TO_END, K.DETECTIONS, [[[*BOX, 0.9, -1]]], "found class -1, the labels are classes 0 to 2"),
    (Decoder.END_TO_END, K.DETECTIONS, [[[*BOX, 0.9, 1e30]]], "(check the labels and first_class)"),
    (Decoder.SSD, K.BOXES, [[[1, 2, 3]] * 2], "'the boxes' must be (1, N, 4), found (1, 2, 3)"),
    (Decoder.SSD, K.BOXES, [[BOX, [1, 2, 3, math.nan]]], "'the boxes' holds NaN or infinity"),
    (Decoder.SSD, K.CLASSES, [[0]], "'the classes' must be (1, 2) for 2 boxes, found (1, 1)"),
    (Decoder.SSD, K.CLASSES, [[0, math.inf]], "'the classes' holds NaN or infinity"),
    (Decoder.SSD, K.CLASSES, [[0, 90]], "found class 90, the labels are classes 0 to 2"),
    (Decoder.SSD, K.SCORES, [[[0.9], [0.8]]], "'the scores' must be (1, 2) for 2 boxes, found (1, 2, 1)"),
    (Decoder.SSD, K.SCORES, [[0.9, math.nan]], "'the scores' holds NaN or infinity"),
    (Decoder.SSD, K.SCORES, [[0.9, 12.0]], "'the scores' holds a score of 12, outside of 0 to 1"),
    (Decoder.SSD, K.COUNT, [3], "'the count' counts 3 boxes of 2"),
    (Decoder.SSD, K.COUNT, [-1], "'the count' counts -1 boxes of 2"),
    (Decoder.SSD, K.COUNT, [math.nan], "'the count' holds NaN or infinity"),
    (Decoder.SSD, K.COUNT, [[1, 1]], "'the count' must be (1), found (1, 2)"),
    (Decoder.GRID, K.GRID, np.zeros((1, 7, 2, 2)), "'the grid' must be (1, 8, H, W) or (1, H, W, 8) for 3 classes"),
    (Decoder.GRID, K.GRID, np.zeros((1, 8, 4)), "'the grid' must be (1, 8, H, W) or (1, H, W, 8) for 3 classes"),
    (Decoder.GRID, K.GRID, np.full((1, 8, 2, 2), math.nan), "'the grid' holds NaN or infinity"),
    (Decoder.GRID, K.GRID, np.full((1, 8, 2, 2), -6.0), "'the grid' holds a score of -6, outside of 0 to 1"),
]


@pytest.mark.parametrize(("decoder", "kind", "value", "message"), BAD_OUTPUTS)
def test_bad_outputs(decoder: Decoder, kind: OutputKind, value: list, message: str) -> None:
    with pytest.raises(BackendError) as caught:
        answered(decoder, {**GOOD[decoder], kind: value})
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ([[[*BOX, 0.9, 0]]], "'the boxes_scores' must be (1, N, 7) or (1, 7, N) for 3 classes, found (1, 1, 6)"),
        ([[*BOX, 0.9, 0, 0]], "'the boxes_scores' must be (1, N, 7) or (1, 7, N) for 3 classes, found (1, 7)"),
        ([[[*BOX, 0.9, 0, math.nan]]], "'the boxes_scores' holds NaN or infinity"),
        ([[[math.inf, *BOX[1:], 0.9, 0, 0]]], "'the boxes_scores' holds NaN or infinity"),
        ([[[*BOX, 30.0, 20.0, 10.0]]], "'the boxes_scores' holds a score of 30, outside of 0 to 1"),
    ],
)
def test_bad_joint_outputs(value: list, message: str) -> None:
    with pytest.raises(BackendError) as caught:
        answered(Decoder.YOLO, {K.BOXES_SCORES: value})
    assert message in str(caught.value)


@pytest.mark.parametrize(("decoder", "kind"), [(decoder, kind) for decoder in Decoder for kind in GOOD[decoder]])
def test_an_output_that_the_model_does_not_give(decoder: Decoder, kind: OutputKind) -> None:
    made = stage(decoder, list(GOOD[decoder]))
    given = {f"the {other.value}": np.float32(value) for other, value in GOOD[decoder].items() if other is not kind}
    known = ", ".join(given) or "none"
    with pytest.raises(BackendError, match=f"^output 'the {kind.value}' is missing, the model gives {known}$"):
        detect(RawOutputs(by_name=given), made, LABELS, PICTURE)


@pytest.mark.parametrize(
    ("decoder", "kinds", "message"),
    [
        (Decoder.YOLO, [K.BOXES], "stage 'finder' has no output of kind 'scores' (decoder 'yolo' needs one)"),
        (Decoder.YOLO, [K.SCORES], "stage 'finder' has no output of kind 'boxes' (decoder 'yolo' needs one)"),
        (Decoder.END_TO_END, [K.BOXES], "has no output of kind 'detections' (decoder 'end_to_end' needs one)"),
        (Decoder.SSD, [K.BOXES, K.SCORES], "has no output of kind 'classes' (decoder 'ssd' needs one)"),
        (Decoder.GRID, [K.BOXES_SCORES], "has no output of kind 'grid' (decoder 'grid' needs one)"),
        (Decoder.GRID, [K.GRID, K.GRID], "has several outputs of kind 'grid': the grid, the grid"),
    ],
)
def test_a_manifest_without_what_its_decoder_reads(decoder: Decoder, kinds: list[OutputKind], message: str) -> None:
    arrays = {f"the {kind.value}": np.zeros((1, 1, 4), np.float32) for kind in kinds}
    with pytest.raises(BundleError) as caught:
        detect(RawOutputs(by_name=arrays), stage(decoder, kinds), LABELS, PICTURE)
    assert message in str(caught.value)


def test_a_manifest_that_does_not_say_how() -> None:
    made = stage(Decoder.GRID, [K.GRID])
    silent = dataclasses.replace(made, task=Task.CLASSIFY, detect=None)
    with pytest.raises(BundleError, match="stage 'finder' has no field 'detect'"):
        detect(RawOutputs(by_name={}), silent, LABELS, PICTURE)


@pytest.mark.parametrize("decoder", list(Decoder))
def test_no_labels(decoder: Decoder) -> None:
    arrays = {f"the {kind.value}": np.float32(value) for kind, value in GOOD[decoder].items()}
    with pytest.raises(BundleError, match="stage 'finder' has no labels"):
        detect(RawOutputs(by_name=arrays), stage(decoder, list(GOOD[decoder])), (), PICTURE)


def test_a_softmax_over_one_number() -> None:
    with pytest.raises(BundleError, match="output 'the scores': one score for each box has no softmax"):
        answered(Decoder.SSD, GOOD[Decoder.SSD], Activation.SOFTMAX)
    arrays = {"the boxes": np.float32([[BOX]]), "the scores": np.float32([[3.0]])}
    made = stage(Decoder.YOLO, [K.BOXES, K.SCORES], Activation.SOFTMAX)
    with pytest.raises(BundleError, match="output 'the scores': softmax over one class always is 1"):
        detect(RawOutputs(by_name=arrays), made, ["cup"], PICTURE)

"""Two detectors that edgeloop did not make, on real photos: the things a person sees are found where they are."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest

from edge.backends.base import InferenceBackend, RuntimeOptions
from edge.backends.select import open_backend
from edge.bundle.manifest import (
    ArtifactFormat,
    BoxFormat,
    ChannelOrder,
    CropPolicy,
    Decoder,
    DetectSpec,
    InputType,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageSpec,
    Task,
    TensorLayout,
)
from edge.postprocess.detect.decode import detect
from edge.preprocess import preprocess
from edge.types import Detections

pytestmark = pytest.mark.data
OPERATOR = "TFLite_Detection_PostProcess"
Corners = tuple[float, float, float, float]
# Boxes measured by eye in the pictures, in pixels, to about five.
PICTURES: list[tuple[str, str, Corners]] = [
    ("n02097209_standard_schnauzer.JPEG", "dog", (130, 65, 335, 330)),
    ("n01855032_red-breasted_merganser.JPEG", "bird", (127, 50, 420, 275)),
    ("n03290653_entertainment_center.JPEG", "tv", (69, 176, 181, 292)),
    ("n07742313_Granny_Smith.JPEG", "apple", (13, 43, 224, 255)),
]
Find = Callable[[str, CropPolicy], Detections]


def labels_of(models: Path) -> list[str]:
    """90 lines; ten of them are numbers that COCO never gave to a class."""
    return (models / "coco_labels.txt").read_text(encoding="utf-8").splitlines()


def finder(
    models: Path, backend: InferenceBackend, preprocess_spec: PreprocessSpec, parts: tuple, labels: list[str]
) -> Find:
    def find(picture: str, crop: CropPolicy) -> Detections:
        outputs, spec = parts
        stage = StageSpec(
            name="detect",
            preprocess=dataclasses.replace(preprocess_spec, crop=crop),
            outputs=outputs,
            artifacts=(),
            task=Task.DETECT,
            detect=spec,
        )
        prepared = preprocess(models / "imagenet_samples" / picture, stage.preprocess)
        return detect(backend.run(prepared.tensor), stage, labels, prepared.geometry)

    return find


@pytest.fixture(scope="module")
def ssd(data_root: Path) -> Find:
    models = data_root / "models"
    backend = open_backend(
        models / "coco_ssd_mobilenet_v1_quant.tflite", ArtifactFormat.TFLITE, options=RuntimeOptions()
    )
    outputs = (
        OutputSpec(name=OPERATOR, kind=OutputKind.BOXES, shape=(1, 10, 4)),
        OutputSpec(name=f"{OPERATOR}:1", kind=OutputKind.CLASSES, shape=(1, 10)),
        OutputSpec(name=f"{OPERATOR}:2", kind=OutputKind.SCORES, shape=(1, 10)),
        OutputSpec(name=f"{OPERATOR}:3", kind=OutputKind.COUNT, shape=(1,)),
    )
    spec = DetectSpec(decoder=Decoder.SSD, box_format=BoxFormat.YXYX, normalised=True, score_threshold=0.5)
    pixels = PreprocessSpec(width=300, height=300, dtype=InputType.UINT8)
    return finder(models, backend, pixels, (outputs, spec), labels_of(models))


@pytest.fixture(scope="module")
def fastestdet(data_root: Path) -> Find:
    models = data_root / "models"
    backend = open_backend(models / "fastestdet_coco_352.onnx", ArtifactFormat.ONNX, options=RuntimeOptions())
    outputs = (OutputSpec(name="758", kind=OutputKind.GRID, shape=(1, 85, 22, 22)),)
    spec = DetectSpec(decoder=Decoder.GRID, score_threshold=0.55, iou_threshold=0.35)
    pixels = PreprocessSpec(
        width=352, height=352, layout=TensorLayout.NCHW, channels=ChannelOrder.BGR, std=(255.0, 255.0, 255.0)
    )
    eighty = [label for label in labels_of(models) if label != "n/a"]
    return finder(models, backend, pixels, (outputs, spec), eighty)


def overlap(one: Corners, other: Corners) -> float:
    width = max(0.0, min(one[2], other[2]) - max(one[0], other[0]))
    height = max(0.0, min(one[3], other[3]) - max(one[1], other[1]))
    areas = [(box[2] - box[0]) * (box[3] - box[1]) for box in (one, other)]
    return width * height / (sum(areas) - width * height)


@pytest.mark.parametrize("model", ["ssd", "fastestdet"])
@pytest.mark.parametrize("crop", [CropPolicy.STRETCH, CropPolicy.LETTERBOX])
@pytest.mark.parametrize(("picture", "label", "truth"), PICTURES, ids=[label for _, label, _ in PICTURES])
def test_the_thing_is_found_where_it_is(
    request: pytest.FixtureRequest, model: str, crop: CropPolicy, picture: str, label: str, truth: Corners
) -> None:
    find: Find = request.getfixturevalue(model)
    result = find(picture, crop)
    best = max(
        (overlap((item.box.left, item.box.top, item.box.right, item.box.bottom), truth), item.label)
        for item in result.items
        if item.label == label
    )
    assert best[0] >= 0.6, result


@pytest.mark.parametrize("model", ["ssd", "fastestdet"])
def test_a_slide_rule_is_no_class_of_coco(request: pytest.FixtureRequest, model: str) -> None:
    find: Find = request.getfixturevalue(model)
    result = find("n04238763_slide_rule.JPEG", CropPolicy.STRETCH)
    assert result.items == ()
    assert 0 < result.nearest_miss < 0.55

"""Models that edgeloop did not make must run too: three well-known ones, on real photos."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from converters.foreign.job import ImportJob
from converters.foreign.told import InputRange, Told
from converters.importing import Imported, import_model
from converters.proving import ProveJob, prove_bundle
from edge.bundle.manifest import ChannelOrder, Decoder, InputType, OutputKind, Task, TensorLayout, Verdict
from edge.drawing.annotate import annotate
from edge.engine import open_engine
from edge.types import Detections
from edge.update.selftest import self_test

pytestmark = pytest.mark.data


def imported(data_root: Path, out: Path, file: str, task: Task, told: Told, labels: str) -> Imported:
    models = data_root / "models"
    return import_model(
        ImportJob(model=models / file, out=out, task=task, told=told, labels=models / labels if labels else None)
    )


@pytest.fixture(scope="module")
def classifier(data_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported") / "mobilenet"
    file = "mobilenet_v2_1.0_224_quant.tflite"
    return imported(data_root, out, file, Task.CLASSIFY, Told(), "imagenet_labels.txt")


@pytest.fixture(scope="module")
def detectors(data_root, tmp_path_factory):
    out = tmp_path_factory.mktemp("imported")
    fastest = Told(input_range=InputRange.UNIT, channels=ChannelOrder.BGR)
    return {
        "ssd": imported(
            data_root, out / "ssd", "coco_ssd_mobilenet_v1_quant.tflite", Task.DETECT, Told(), "coco_labels.txt"
        ),
        "fastestdet": imported(
            data_root, out / "fastestdet", "fastestdet_coco_352.onnx", Task.DETECT, fastest, "coco_labels.txt"
        ),
    }


def test_the_imagenet_model_is_understood_without_a_flag(classifier):
    stage = classifier.bundle.manifest.stages[0]
    assert (stage.preprocess.width, stage.preprocess.dtype) == (224, InputType.UINT8)
    assert stage.outputs[0].kind is OutputKind.PROBABILITIES
    assert len(classifier.bundle.manifest.labels) == 1001
    assert "label 'crane' stands for 2 classes: their numbers were added to it" in classifier.notes


def test_the_imagenet_model_names_its_samples(classifier, data_root):
    samples = sorted((data_root / "models" / "imagenet_samples").iterdir())
    assert len(samples) == 20
    wrong = []
    with open_engine(classifier.bundle, allow_unproven=True) as engine:
        for path in samples:
            truth = path.stem.partition("_")[2].replace("_", " ").lower()
            label = engine.infer(path).prediction.headline.label
            names = [name.strip().lower() for name in label.split(",")]
            wrong += [] if truth in names else [f"{truth}: {label}"]
    assert len(wrong) <= 2, wrong


def test_the_imagenet_model_is_proven_by_its_samples(classifier, data_root, tmp_path):
    for path in (data_root / "models" / "imagenet_samples").iterdir():
        folder = tmp_path / "data" / path.stem.partition("_")[2]
        folder.mkdir(parents=True)
        shutil.copy(path, folder / path.name)
    job = ProveJob(
        bundle=classifier.bundle.folder, data=tmp_path / "data", out=tmp_path / "proven", min_points=60, reference=None
    )
    bundle, proof = prove_bundle(job)
    assert (proof.verdict, proof.num_pictures) == (Verdict.PASS, 20)
    assert proof.score.value >= 90
    self_test(bundle)
    with open_engine(bundle) as engine:
        assert engine.infer(next((tmp_path / "data" / "abacus").iterdir())).prediction.headline.label == "abacus"


def test_labels_inside_the_file_serve_as_well(classifier, data_root, tmp_path):
    again = imported(
        data_root, tmp_path / "again", "mobilenet_v2_1.0_224_quant.tflite", Task.CLASSIFY, Told(), labels=""
    )
    assert again.bundle.digest == classifier.bundle.digest


def test_the_ssd_model_is_understood_without_a_flag(detectors):
    stage = detectors["ssd"].bundle.manifest.stages[0]
    assert stage.detect.decoder is Decoder.SSD
    assert [output.kind.value for output in stage.outputs] == ["boxes", "classes", "scores", "count"]
    labels = detectors["ssd"].bundle.manifest.labels
    assert (labels[0], labels[11], labels[89]) == ("person", "unused 11", "toothbrush")


def test_fastestdet_gets_the_labels_without_the_holes(detectors):
    manifest = detectors["fastestdet"].bundle.manifest
    assert manifest.stages[0].preprocess.layout is TensorLayout.NCHW
    assert manifest.stages[0].detect.decoder is Decoder.GRID
    assert (len(manifest.labels), manifest.labels[79]) == (80, "toothbrush")


# Where the thing is, in shares of the picture, as a person sees it.
PHOTOS = [
    ("n03290653_entertainment_center.JPEG", {"tv"}, (0.12, 0.46, 0.37, 0.79)),
    ("n07742313_Granny_Smith.JPEG", {"apple"}, (0.05, 0.05, 0.95, 0.97)),
    ("n02109961_Eskimo_dog.JPEG", {"dog", "cat"}, (0.27, 0.05, 0.97, 0.85)),
]


@pytest.mark.parametrize("model", ["ssd", "fastestdet"])
@pytest.mark.parametrize(("photo", "labels", "place"), PHOTOS)
def test_detectors_find_what_a_person_sees(detectors, data_root, model, photo, labels, place):
    from edge.image.picture import open_picture

    path = data_root / "models" / "imagenet_samples" / photo
    with open_engine(detectors[model].bundle, allow_unproven=True) as engine:
        inference = engine.infer(path)
    assert isinstance(inference.prediction, Detections)
    fitting = [item for item in inference.prediction.items if item.label in labels]
    assert fitting, [(item.label, item.score) for item in inference.prediction.items]
    width, height = open_picture(path).size
    overlaps = [_overlap(item.box, place, width, height) for item in fitting]
    assert max(overlaps) > 0.5, overlaps
    assert annotate(path, inference)[:3] == b"\xff\xd8\xff"


@pytest.mark.parametrize("model", ["ssd", "fastestdet"])
def test_detectors_see_apples_on_a_shelf(detectors, data_root, model):
    shelf = sorted((data_root / "grocery" / "train" / "Red-Delicious").glob("*.jpg"))[0]
    with open_engine(detectors[model].bundle, allow_unproven=True) as engine:
        items = engine.infer(shelf).prediction.items
    assert sum(item.label == "apple" for item in items) >= 3


def _overlap(box, place, width: int, height: int) -> float:
    left, top, right, bottom = (place[0] * width, place[1] * height, place[2] * width, place[3] * height)
    shared_width = min(box.right, right) - max(box.left, left)
    shared_height = min(box.bottom, bottom) - max(box.top, top)
    shared = max(0.0, shared_width) * max(0.0, shared_height)
    return shared / ((box.right - box.left) * (box.bottom - box.top) + (right - left) * (bottom - top) - shared)

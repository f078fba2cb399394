"""The networks of the tables' other rows: seeded weights, so that only agreement with the float model can be told.

Weights come from a seed and batch statistics from real grocery pictures, as training would leave them; what is shown
and calibrated on are grocery pictures too. Random networks are harder to quantize than trained ones are, and their
answers lie closer together: the figures compare formats, and say nothing of accuracy.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from benchmarks.conversion_subjects import (
    DETECT,
    SHOWN_SCORE,
    Effort,
    Subject,
    detector_outputs,
    num_places,
    plain_job,
    spread,
)
from converters.examples import LabelledPicture, Picture
from converters.foreign.truth import read_classes
from converters.job import ConversionJob
from edge.bundle.manifest import CropPolicy, MatchSpec, OutputKind, OutputSpec, PreprocessSpec, Task, TextSpec
from edge.preprocess import preprocess_pixels
from model_zoo.common.heads import build_classifier, build_ctc_reader, build_embedder, build_multi_task
from model_zoo.common.statistics import settle_statistics
from model_zoo.common.yolo import build_yolo
from model_zoo.types import ModelDef

SEED = 7
NUM_SETTLING = 16
NUM_SHOWN_BOXES = 40
YOLO_SIDE = 320
YOLO_CLASSES = 3
DIMENSION = 128
CHARSET = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
GALLERY = "gallery.egl"
HEADS = {"form": 4, "colour": 12, "brand": 40}


@dataclass(frozen=True, slots=True, kw_only=True)
class Groceries:
    """Real pictures.

    Attributes:
        calibration: For batch statistics and ranges.
        shown: What the networks are asked about.
    """

    calibration: tuple[LabelledPicture, ...]
    shown: tuple[LabelledPicture, ...]


def read_groceries(data: Path, effort: Effort) -> Groceries:
    """Training pictures to calibrate, validation pictures to show."""
    folders = data / "grocery" / "train", data / "grocery" / "val"
    labels = tuple(sorted(path.name for path in folders[0].iterdir() if path.is_dir()))
    train, val = (
        [
            LabelledPicture(digest=one.digest, path=one.path, label=labels[one.index])
            for one in read_classes(folder, labels)
        ]
        for folder in folders
    )
    return Groceries(calibration=spread(train, effort.calibration), shown=spread(val, effort.agreeing))


def _settled(network: torch.nn.Module, pictures: Groceries, spec: PreprocessSpec) -> torch.nn.Module:
    """Opens branches that start at zero, and takes batch statistics from pictures."""
    generator = torch.Generator().manual_seed(SEED)
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm2d) and module.weight is not None and not bool(module.weight.any()):
            torch.nn.init.uniform_(module.weight, 0.5, 1.0, generator=generator)
    settle_statistics(network, _batch(pictures, spec))
    return network.eval()


def _batch(pictures: Groceries, spec: PreprocessSpec) -> torch.Tensor:
    paths = [picture.path for picture in spread(pictures.calibration, NUM_SETTLING)]
    pixels = np.stack([preprocess_pixels(path, spec)[0] for path in paths])
    return torch.from_numpy(pixels).permute(0, 3, 1, 2).float()


def _seeded(build: Callable[[], torch.nn.Module]) -> torch.nn.Module:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        return build()


def _subject(
    name: str, network: torch.nn.Module, labels: tuple[str, ...], pictures: Groceries, job: Mapping[str, object]
) -> Subject:
    spec = job["preprocess"]
    made: ConversionJob = plain_job(
        _settled(network, pictures, spec),
        name,
        labels,
        spec,
        calibration=tuple(Picture(digest=one.digest, path=one.path) for one in pictures.calibration),
        validation=pictures.shown,
        **{key: value for key, value in job.items() if key != "preprocess"},
    )
    return Subject(name=name, job=made)


def _classes(count: int) -> tuple[str, ...]:
    return tuple(f"class {number}" for number in range(count))


def _classifier(architecture: str, side: int, pictures: Groceries) -> Subject:
    """A backbone with its own classifier of 100 classes."""
    spec = PreprocessSpec(width=side, height=side)
    model = ModelDef(architecture=architecture, preprocess=spec)
    network = _seeded(lambda: build_classifier(model, 100))
    return _subject(architecture, network, _classes(100), pictures, {"preprocess": spec})


def _mobilenet(spec: PreprocessSpec) -> ModelDef:
    return ModelDef(architecture="mobilenetv2_100", preprocess=spec)


def _multi_task(pictures: Groceries) -> Subject:
    spec = PreprocessSpec(width=224, height=224)
    outputs = tuple(
        OutputSpec(name=name, kind=OutputKind.LOGITS, shape=(1, count), labels=_classes(count))
        for name, count in HEADS.items()
    )
    network = _seeded(lambda: build_multi_task(_mobilenet(spec), HEADS))
    job = {"preprocess": spec, "task": Task.ATTRIBUTES, "outputs": outputs}
    return _subject("mobilenetv2-multi-task", network, (), pictures, job)


def _embedder(pictures: Groceries) -> Subject:
    """Its gallery is the calibration pictures, embedded by the float network."""
    spec = PreprocessSpec(width=224, height=224)
    job = {
        "preprocess": spec,
        "task": Task.MATCH,
        "outputs": (OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, DIMENSION)),),
        "match": MatchSpec(gallery=(GALLERY,), threshold=-1.0),
        "references": pictures.calibration,
    }
    network = _seeded(lambda: build_embedder(_mobilenet(spec), DIMENSION))
    return _subject("mobilenetv2-embedding", network, (), pictures, job)


def _reader(pictures: Groceries) -> Subject:
    spec = PreprocessSpec(width=256, height=32)
    shape = (1, spec.width // 8, len(CHARSET) + 1)
    job = {
        "preprocess": spec,
        "task": Task.TEXT,
        "outputs": (OutputSpec(name="steps", kind=OutputKind.STEPS, shape=shape),),
        "text": TextSpec(charset=CHARSET),
    }
    network = _seeded(lambda: build_ctc_reader(_mobilenet(spec), len(CHARSET) + 1))
    return _subject("mobilenetv2-text", network, (), pictures, job)


def _detector(name: str, pictures: Groceries) -> Subject:
    """Random scores lie far below any threshold: they are shifted until some boxes are shown."""
    spec = PreprocessSpec(width=YOLO_SIDE, height=YOLO_SIDE, crop=CropPolicy.LETTERBOX)
    job = {
        "preprocess": spec,
        "task": Task.DETECT,
        "detect": replace(DETECT, score_threshold=SHOWN_SCORE),
        "outputs": detector_outputs(num_places(YOLO_SIDE), YOLO_CLASSES),
    }
    network = build_yolo(name, YOLO_CLASSES, SEED, size=YOLO_SIDE)
    subject = _subject(name, network, _classes(YOLO_CLASSES), pictures, job)
    _show_boxes(network, _batch(pictures, spec))
    return subject


def _show_boxes(network: torch.nn.Module, batch: torch.Tensor) -> None:
    """Shifts the classes' bias so that of a picture NUM_SHOWN_BOXES places pass the threshold, on average."""
    with torch.no_grad():
        best = torch.logit(network(batch)["scores"].amax(dim=2).flatten().double().clamp(1e-12, 1 - 1e-12))
        passing = best.topk(NUM_SHOWN_BOXES * len(batch)).values[-1]
        shift = torch.logit(torch.tensor(SHOWN_SCORE, dtype=torch.double)) - passing
        for head in network.class_heads:
            head[-1].bias += shift.float()


# Takes real pictures.
UNTRAINED: Mapping[str, Callable[[Groceries], Subject]] = {
    "efficientnet_b0": lambda pictures: _classifier("efficientnet_b0", 224, pictures),
    "efficientnet_b2": lambda pictures: _classifier("efficientnet_b2", 256, pictures),
    "resnet50": lambda pictures: _classifier("resnet50", 224, pictures),
    "mobilenetv2-multi-task": _multi_task,
    "mobilenetv2-embedding": _embedder,
    "mobilenetv2-text": _reader,
    "yolov8n": lambda pictures: _detector("yolov8n", pictures),
    "yolo11n": lambda pictures: _detector("yolo11n", pictures),
    "yolo26n": lambda pictures: _detector("yolo26n", pictures),
}

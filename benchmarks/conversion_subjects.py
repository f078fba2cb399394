"""The networks of the conversion tables' accuracy rows: trained here, each with the pictures that belong to it.

Calibration and acceptance use what training had (its training and its validation split); figures come from the data
set's own test pictures, which nothing has seen.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.train_classifiers import ROWS, run_of, store_of
from benchmarks.train_detector import CLASSES, read_split
from cloud_train.datasets.snapshot import load_snapshot
from cloud_train.retrain.conversion import calibration_pictures, validation_pictures
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.training.classifier import load_trained
from cloud_train.types import Split
from converters.examples import LabelledPicture, Picture
from converters.foreign.truth import KnownPicture, read_classes
from converters.job import ConversionJob
from edge.bundle.manifest import (
    DecisionPolicy,
    Decoder,
    DetectSpec,
    KeepPolicy,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    Provenance,
    QualityLimits,
    Task,
)
from edge.errors import UsageError
from model_zoo.common.yolo import load_yolo
from model_zoo.common.yolo_run import WEIGHTS_FILE

# Average precision looks at every recall, so nearly all boxes are kept; agreement looks at those a device would show.
SCORE_THRESHOLD = 0.001
SHOWN_SCORE = 0.25
DETECT = DetectSpec(decoder=Decoder.YOLO, score_threshold=SCORE_THRESHOLD, iou_threshold=0.7)


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        calibration: Calibration pictures; of a classifier never fewer than its classes.
        validation: Pictures that decide on acceptance, at most.
        test: Held-out pictures, at most.
        agreeing: Pictures of the rows without accuracy.
        rounds: Blocks of each model, for its time.
        frames: Runs in a block.
        unfinished: Take a detector whose training still goes on.
    """

    calibration: int
    validation: int
    test: int
    agreeing: int
    rounds: int
    frames: int
    unfinished: bool = False


FULL = Effort(calibration=200, validation=1000, test=100_000, agreeing=100, rounds=10, frames=20)
QUICK = Effort(calibration=8, validation=16, test=24, agreeing=12, rounds=2, frames=2, unfinished=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """One network with its pictures.

    Attributes:
        name: Of the row.
        job: Its conversion: the validation pictures decide on acceptance.
        train: Pictures that it learnt from, for the baselines; empty where it learnt nothing.
        test: Pictures that no step has seen.
        most_drop: Points that int8 may lose; None where nothing is known to be right.
        weights: The detector's weights for ultralytics' own exporter, as safetensors; empty for others.
        architecture: Its name there.
    """

    name: str
    job: ConversionJob
    train: tuple[LabelledPicture, ...] = ()
    test: tuple[LabelledPicture, ...] = ()
    most_drop: float | None = None
    weights: bytes = b""
    architecture: str = ""


def spread(items: Sequence[LabelledPicture], most: int) -> tuple[LabelledPicture, ...]:
    """At most so many, evenly over all."""
    if len(items) <= most:
        return tuple(items)
    return tuple(items[place * len(items) // most] for place in range(most))


def plain_job(
    network: object, name: str, labels: tuple[str, ...], spec: PreprocessSpec, **others: object
) -> ConversionJob:
    """A conversion with the default limits and recipes; nothing of it is published."""
    settings: dict[str, object] = {
        "version": 1,
        "limits": QualityLimits(),
        "decision": DecisionPolicy(),
        "keep": KeepPolicy(),
        "provenance": Provenance(run="", snapshot="", train_recipe="", seed=0, weights="", producer="benchmark"),
        "out": Path(),
        **others,
    }
    return ConversionJob(network=network, name=name, labels=labels, preprocess=spec, **settings)


def detector_outputs(places: int, num_classes: int) -> tuple[OutputSpec, ...]:
    """Boxes and scores of `model_zoo.common.yolo.YoloNetwork`."""
    return (
        OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=(1, places, 4)),
        OutputSpec(name="scores", kind=OutputKind.SCORES, shape=(1, places, num_classes)),
    )


def num_places(side: int) -> int:
    """Places of a YOLO network with three scales."""
    return sum((side // stride) ** 2 for stride in (8, 16, 32))


def _classifier(name: str, data: Path, networks: Path, effort: Effort) -> Subject:
    """One of `benchmarks.train_classifiers`."""
    run, network = load_trained(run_of(networks, name))
    layout = store_of(networks, name)
    snapshot, blobs = load_snapshot(layout.snapshot(run.snapshot)), FolderBlobStore(layout.blobs)
    learnt = tuple(
        LabelledPicture(digest=item.digest, path=blobs.path(item.digest), label=item.label)
        for item in snapshot.of(Split.TRAIN)
    )
    seen = {item.digest for item in snapshot.items}
    found = [one for one in read_classes(data / ROWS[name].test, run.classes) if one.digest not in seen]
    test = [LabelledPicture(digest=one.digest, path=one.path, label=run.classes[one.index]) for one in found]
    job = plain_job(
        network,
        f"mobilenetv2-{name}",
        run.classes,
        run.preprocess,
        temperature=run.temperature,
        calibration=calibration_pictures(snapshot, blobs)[: max(effort.calibration, len(run.classes))],
        validation=validation_pictures(snapshot, blobs)[: effort.validation],
    )
    return Subject(name=job.name, job=job, train=learnt, test=spread(test, effort.test), most_drop=0.5)


def _detector(data: Path, networks: Path, effort: Effort) -> Subject:
    """The one of `benchmarks.train_detector`.

    Raises:
        UsageError: Its training has not ended.
    """
    folder = networks / "yolo11n-blood-cells"
    run, network = load_yolo(folder)
    weights = (folder / WEIGHTS_FILE).read_bytes()
    if hashlib.sha256(weights).hexdigest() != run.weights:
        raise UsageError(f"{folder}: the training wrote better weights this very moment", hint="try once more")
    if not (run.finished or effort.unfinished):
        raise UsageError(f"{folder}: the training has come to pass {run.epochs} and goes on", hint="wait for it")
    train, val, test = (_labelled(read_split(data, split)) for split in ("train", "val", "test"))
    job = plain_job(
        network,
        "yolo11n-blood-cells",
        CLASSES,
        run.preprocess,
        task=Task.DETECT,
        detect=DETECT,
        outputs=detector_outputs(num_places(run.preprocess.width), len(CLASSES)),
        calibration=tuple(Picture(digest=one.digest, path=one.path) for one in spread(train, effort.calibration)),
        validation=spread(val, effort.validation),
    )
    return Subject(
        name=job.name,
        job=job,
        train=train,
        test=spread(test, effort.test),
        most_drop=1.0,
        weights=weights,
        architecture=run.architecture,
    )


def _labelled(pictures: Sequence[KnownPicture]) -> tuple[LabelledPicture, ...]:
    return tuple(LabelledPicture(digest=one.digest, path=one.path, boxes=one.boxes) for one in pictures)


# Takes the folders of the data sets and of the networks, and how much is measured.
TRAINED: Mapping[str, Callable[[Path, Path, Effort], Subject]] = {
    "mobilenetv2-coins": lambda data, networks, effort: _classifier("coins", data, networks, effort),
    "mobilenetv2-grocery": lambda data, networks, effort: _classifier("grocery", data, networks, effort),
    "yolo11n-blood-cells": _detector,
}

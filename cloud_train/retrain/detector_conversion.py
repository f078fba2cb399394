"""From a trained detector to a proven bundle.

Snapshots hold one label a picture; until they hold boxes, a detector's pictures come from folders of Pascal VOC or YOLO
annotations, and what the proof rests on is named by the pictures' digests.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.retrain.conversion import CALIBRATION_PICTURES, ConversionChoice
from edge import __version__, jsonvalue
from edge.bundle.manifest import (
    CapturePolicy,
    CropPolicy,
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

if TYPE_CHECKING:
    import torch

    from converters.examples import LabelledPicture, Picture

SCORE_THRESHOLD = 0.25


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectorSource:
    """A trained detector.

    Attributes:
        network: Under the model contract, with the outputs `boxes` and `scores`.
        classes: In the order of the scores.
        preprocess: How its input is made.
        provenance: Where it comes from.
    """

    network: torch.nn.Module
    classes: tuple[str, ...]
    preprocess: PreprocessSpec
    provenance: Provenance


def detector_source(model: Path, *, size: int = 640, trust: bool = False) -> DetectorSource:
    """Reads a detector: a folder of `cloud_train.training.detect`, or a checkpoint of ultralytics.

    Args:
        model: The folder, or the `.pt` file.
        size: Side of the square input in pixels, of a checkpoint.
        trust: Allow to read a checkpoint, which may run any code.

    Raises:
        UsageError: Neither of both, or a checkpoint that is not trusted.
        FormatError: The weights are not those of the run.
        MissingExtraError: ultralytics is not installed.
    """
    from model_zoo.common.yolo import load_trusted_checkpoint, load_yolo

    if model.is_dir():
        run, network = load_yolo(model)
        source = Provenance(
            run=jsonvalue.digest_of(run),
            snapshot=run.data,
            train_recipe=run.recipe,
            seed=run.seed,
            weights=run.weights,
            producer=f"edgeloop {__version__}",
        )
        return DetectorSource(network=network, classes=run.classes, preprocess=run.preprocess, provenance=source)
    if not trust:
        raise UsageError(
            f"{model}: a checkpoint is a program: reading it may run any code", hint="add --trust if you know its maker"
        )
    classes, network = load_trusted_checkpoint(model, size=size)
    weights = hashlib.sha256(model.read_bytes()).hexdigest()
    return DetectorSource(
        network=network,
        classes=classes,
        preprocess=PreprocessSpec(width=size, height=size, crop=CropPolicy.LETTERBOX),
        provenance=Provenance(
            run="", snapshot="", train_recipe=model.name, seed=0, weights=weights, producer=f"edgeloop {__version__}"
        ),
    )


def convert_detector(
    source: DetectorSource,
    *,
    calibration: Path,
    validation: Path,
    out: Path,
    name: str,
    version: int = 1,
    choice: ConversionChoice | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> Path:
    """Converts, proves and bundles a trained detector.

    Args:
        source: The network.
        calibration: Folder of training pictures, for activation ranges; at most 200, spread evenly, are taken.
        validation: Folder of pictures with boxes that training never saw, for the proof.
        out: The bundle folder to make.
        name: Name of the bundle.
        version: Version of the bundle.
        choice: Which models to try and to keep.
        cache: Folder of what earlier conversions made; None to keep nothing.
        progress: Show a progress bar.

    Raises:
        UsageError: No pictures, or none with boxes.
        EdgeloopError: The network cannot be converted, or no recipe is good enough; nothing was left behind.
    """
    from converters.cache import ConversionCache
    from converters.job import ConversionJob
    from converters.pipeline import convert

    wanted = choice or ConversionChoice()
    judged = judged_pictures(validation, source.classes)
    known = {picture.digest for picture in judged}
    job = ConversionJob(
        network=source.network,
        name=name,
        version=version,
        labels=source.classes,
        preprocess=source.preprocess,
        calibration=calibration_folder(calibration, without=known),
        validation=judged,
        limits=wanted.limits or QualityLimits(),
        decision=DecisionPolicy(),
        keep=KeepPolicy(),
        capture=wanted.capture or CapturePolicy(),
        provenance=source.provenance,
        out=out,
        task=Task.DETECT,
        outputs=detector_outputs(source),
        detect=DetectSpec(decoder=Decoder.YOLO, score_threshold=SCORE_THRESHOLD),
        recipes=wanted.recipes,
        also=wanted.also,
        search=wanted.search,
        sensitivity=wanted.sensitivity,
        fine_tune=wanted.fine_tune,
    )
    return convert(job, cache=ConversionCache(folder=cache), progress=progress)


def detector_outputs(source: DetectorSource) -> tuple[OutputSpec, OutputSpec]:
    """What a detector of the contract gives: boxes in input pixels, scores in 0 to 1, for every place."""
    from converters.export import describe_outputs

    spec = source.preprocess
    shapes = describe_outputs(source.network, height=spec.height, width=spec.width)
    return (
        OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=shapes["boxes"]),
        OutputSpec(name="scores", kind=OutputKind.SCORES, shape=shapes["scores"]),
    )


def judged_pictures(folder: Path, classes: tuple[str, ...]) -> tuple[LabelledPicture, ...]:
    """Pictures with their boxes, in the order of their paths."""
    from converters.examples import LabelledPicture
    from converters.foreign.truth import read_boxes

    return tuple(
        LabelledPicture(digest=picture.digest, path=picture.path, boxes=picture.boxes)
        for picture in read_boxes(folder, classes)
    )


def calibration_folder(folder: Path, *, without: set[str]) -> tuple[Picture, ...]:
    """At most 200 pictures of a folder tree, spread evenly; none that the proof will look at."""
    from converters.examples import Picture
    from edge.sources.folder import list_pictures

    if not folder.is_dir():
        raise UsageError(f"no folder {folder}", hint="--calibration needs a folder of training pictures")
    paths = [path for path in list_pictures(folder) if path.suffix.lower() in (".jpg", ".jpeg", ".png", ".webp")]
    found = [Picture(digest=hashlib.sha256(path.read_bytes()).hexdigest(), path=path) for path in paths]
    fresh = [picture for picture in found if picture.digest not in without]
    num = min(CALIBRATION_PICTURES, len(fresh))
    return tuple(fresh[i * len(fresh) // num] for i in range(num))

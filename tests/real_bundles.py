"""Bundles of well-known models that edgeloop did not make, and large photos of fruit, for tests marked `data`."""

from __future__ import annotations

import io
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from tiny_bundles import write_manifest

from converters.foreign.told import InputRange, Told
from converters.importing import ImportJob, import_model
from edge.bundle.manifest import (
    BundleManifest,
    ChannelOrder,
    CropPolicy,
    DecisionPolicy,
    StageInput,
    StageSpec,
    Task,
)
from edge.bundle.reader import Bundle

SSD = "coco_ssd_mobilenet_v1_quant.tflite"
MOBILENET = "mobilenet_v2_1.0_224_quant.tflite"
FASTEST = "fastestdet_coco_352.onnx"
COCO, IMAGENET = "coco_labels.txt", "imagenet_labels.txt"
FULL_HD = (1920, 1080)


def import_ssd(models: Path, out: Path) -> Bundle:
    """The COCO detector with its own post-processing: uint8 300 x 300, LiteRT."""
    return import_model(ImportJob(model=models / SSD, out=out, task=Task.DETECT, labels=models / COCO)).bundle


def import_fastest(models: Path, out: Path) -> Bundle:
    """The COCO detector of one grid: float32 352 x 352, BGR, ONNX Runtime."""
    told = Told(input_range=InputRange.UNIT, channels=ChannelOrder.BGR)
    job = ImportJob(model=models / FASTEST, out=out, task=Task.DETECT, labels=models / COCO, told=told)
    return import_model(job).bundle


def import_mobilenet(models: Path, out: Path) -> Bundle:
    """The ImageNet classifier: uint8 224 x 224, LiteRT."""
    return import_model(
        ImportJob(model=models / MOBILENET, out=out, task=Task.CLASSIFY, labels=models / IMAGENET)
    ).bundle


def join_counter(folder: Path, detector: Bundle, reader: Bundle, *, score_threshold: float = 0.5) -> Path:
    """Joins two imported bundles in one: the second names what the first finds.

    Args:
        folder: Created with its parents.
        detector: Its only stage detects.
        reader: Its only stage classifies; it gets whole boxes, a little widened, squeezed to its square.
        score_threshold: Least score of a box.
    """
    folder.mkdir(parents=True)
    for bundle in (detector, reader):
        for entry in bundle.manifest.files:
            shutil.copyfile(bundle.path(entry.name), folder / entry.name)
    stages = (_finding(detector.manifest, score_threshold), _naming(reader.manifest))
    fields = {name: getattr(detector.manifest, name) for name in BundleManifest.__slots__}
    policy = DecisionPolicy(accept_confidence=0.6, confirm_confidence=0.3, accept_margin=0.1)
    changes = {"name": "counter", "task": Task.COUNT, "labels": (), "stages": stages, "decision": policy}
    return write_manifest(folder, {**fields, **changes})


def build_counter(models: Path, folder: Path, *, score_threshold: float = 0.5) -> Path:
    """The COCO detector whose crops the ImageNet classifier names; see `join_counter`."""
    parts = folder.parent / f"{folder.name}-parts"
    detector, reader = import_ssd(models, parts / "find"), import_mobilenet(models, parts / "name")
    return join_counter(folder, detector, reader, score_threshold=score_threshold)


def tile_photos(photos: Sequence[Path], *, columns: int, size: tuple[int, int] = FULL_HD, kind: str = "JPEG") -> bytes:
    """One large picture of several photos, each cut to its cell, row by row.

    Args:
        photos: Files, as many as fill the rows.
        columns: Cells of a row.
        size: Width and height in pixels.
        kind: File format.
    """
    from PIL import Image, ImageOps

    rows = -(-len(photos) // columns)
    cell = (size[0] // columns, size[1] // rows)
    whole = Image.new("RGB", size)
    for position, path in enumerate(photos):
        with Image.open(path) as photo:
            fitted = ImageOps.fit(photo.convert("RGB"), cell)
        whole.paste(fitted, (position % columns * cell[0], position // columns * cell[1]))
    buffer = io.BytesIO()
    whole.save(buffer, format=kind, quality=90)
    return buffer.getvalue()


def grocery_photos(data_root: Path, kind: str) -> list[Path]:
    """The photos of one class of groceries, in the order of their names."""
    return sorted((data_root / "grocery" / "train" / kind).glob("*.jpg"))


def _finding(manifest: BundleManifest, score_threshold: float) -> StageSpec:
    stage = manifest.stages[0]
    assert stage.detect is not None
    spec = replace(stage.detect, score_threshold=score_threshold)
    return replace(stage, name="find", labels=manifest.labels, detect=spec)


def _naming(manifest: BundleManifest) -> StageSpec:
    stage = manifest.stages[0]
    whole = replace(stage.preprocess, crop=CropPolicy.STRETCH)
    return replace(
        stage, name="name", labels=manifest.labels, preprocess=whole, reads=StageInput.CROPS, crop_margin=0.1
    )

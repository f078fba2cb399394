"""Wraps the detector and the embedder into bundles: imported ones without a proof, for random weights prove nothing."""

from __future__ import annotations

import hashlib
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np

from edge import jsonvalue
from edge.bundle.check import check_manifest
from edge.bundle.gallery import gallery_bytes
from edge.bundle.manifest import (
    FORMAT_VERSION,
    MANIFEST_NAME,
    Activation,
    ArtifactFormat,
    ArtifactSpec,
    BundleManifest,
    CropPolicy,
    DecisionPolicy,
    Decoder,
    DetectSpec,
    FileEntry,
    KeepPolicy,
    MatchSpec,
    Origin,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    ProofSummary,
    Provenance,
    QualityLimits,
    StageInput,
    StageSpec,
    Task,
    Verdict,
)

DETECTOR_FILE = "yolo11n_640_int8.tflite"
EMBEDDER_FILE = "embedder_224_int8.tflite"
GALLERY_FILE = "gallery.egl"
NUM_SKUS = 1000
DIMENSION = 1280
_PLACES = 8400
_CLASSES = 80


def _artifact(file: str) -> tuple[ArtifactSpec, ...]:
    return (ArtifactSpec(file=file, format=ArtifactFormat.TFLITE, recipe="benchmark", tolerance=0.0),)


DETECT = StageSpec(
    name="find",
    task=Task.DETECT,
    labels=tuple(f"class {number}" for number in range(_CLASSES)),
    preprocess=PreprocessSpec(width=640, height=640, crop=CropPolicy.LETTERBOX),
    outputs=(
        OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=(1, _PLACES, 4)),
        OutputSpec(name="scores", kind=OutputKind.SCORES, shape=(1, _PLACES, _CLASSES), activation=Activation.SIGMOID),
    ),
    artifacts=_artifact(DETECTOR_FILE),
    detect=DetectSpec(decoder=Decoder.YOLO, score_threshold=0.25, iou_threshold=0.7),
)
MATCH = StageSpec(
    name="name",
    task=Task.MATCH,
    reads=StageInput.CROPS,
    preprocess=PreprocessSpec(width=224, height=224),
    outputs=(OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, DIMENSION)),),
    artifacts=_artifact(EMBEDDER_FILE),
    match=MatchSpec(gallery=(GALLERY_FILE,)),
)


def gallery_vectors() -> np.ndarray:
    """Random unit vectors, seeded: float32 (1000, 1280), one an SKU."""
    vectors = np.abs(np.random.default_rng(3).normal(size=(NUM_SKUS, DIMENSION))).astype(np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def write_detector(models: Path) -> Path:
    """The bundle `detector`: one stage."""
    return _write(models / "detector", models, Task.DETECT, (DETECT,))


def write_counter(models: Path) -> Path:
    """The bundle `counter`: the detector's boxes, embedded and matched."""
    folder = models / "counter"
    folder.mkdir(parents=True, exist_ok=True)
    labels = tuple(f"SKU {number}" for number in range(NUM_SKUS))
    (folder / GALLERY_FILE).write_bytes(gallery_bytes(labels, range(NUM_SKUS), gallery_vectors()))
    return _write(folder, models, Task.COUNT, (DETECT, replace(MATCH, crop_margin=0.0)))


def _write(folder: Path, models: Path, task: Task, stages: tuple[StageSpec, ...]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        for artifact in stage.artifacts:
            shutil.copy(models / artifact.file, folder / artifact.file)
    files = tuple(_entry(path) for path in sorted(folder.iterdir()) if path.name != MANIFEST_NAME)
    manifest = BundleManifest(
        format_version=FORMAT_VERSION,
        name=f"benchmark-{folder.name}",
        version=1,
        task=task,
        origin=Origin.IMPORTED,
        labels=(),
        stages=stages,
        decision=DecisionPolicy(),
        keep=KeepPolicy(),
        limits=QualityLimits(),
        proof=ProofSummary(verdict=Verdict.NONE),
        provenance=Provenance(run="", snapshot="", train_recipe="", seed=0, weights="", producer="benchmark"),
        golden_file="",
        files=files,
    )
    check_manifest(manifest)
    (folder / MANIFEST_NAME).write_bytes(jsonvalue.canonical_bytes(manifest))
    return folder


def _entry(path: Path) -> FileEntry:
    data = path.read_bytes()
    return FileEntry(name=path.name, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))

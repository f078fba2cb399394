"""Parity of boxes: what postprocessing must make of given detector outputs.

`vectors/postprocess/detect-<name>.json` are language-neutral: arrays are float32 little-endian in C order as base64,
everything else is JSON with the field names of the manifest.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from device_tests.plan import VECTORS, Check, Finding, MismatchError, Plan
from device_tests.vector_arrays import VectorArray, raw_outputs
from edge import jsonvalue
from edge.bundle.manifest import StageSpec
from edge.errors import EdgeloopError
from edge.postprocess.detect.decode import detect
from edge.types import Detection, Detections, Geometry

DETECT_VECTORS = VECTORS / "postprocess"


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectVector:
    """Outputs of a detector, what they mean, and what is in the picture.

    Attributes:
        kind: Always `detect`.
        about: What it shows, for people.
        outputs: What the network said.
        stage: The manifest's stage.
        labels: Class names.
        geometry: The way to the picture.
        score_tolerance: Greatest difference of any score,
        box_tolerance: and of any edge, in picture pixels.
        detections: What is found; None where the outputs must be refused,
        refused: with these words in the error.
    """

    kind: str
    about: str
    outputs: tuple[VectorArray, ...]
    stage: StageSpec
    labels: tuple[str, ...]
    geometry: Geometry
    score_tolerance: float = 1e-6
    box_tolerance: float = 1e-3
    detections: Detections | None = None
    refused: str = ""


def detect_paths() -> list[Path]:
    """The committed vectors, by name."""
    return sorted(DETECT_VECTORS.glob("detect-*.json"))


def load_detect(path: Path) -> DetectVector:
    """One committed vector."""
    return jsonvalue.load(DetectVector, path.read_bytes(), where=path.name)


def detect_checks(plan: Plan) -> Iterator[Check]:
    """One check for each vector."""
    for path in detect_paths():
        yield Check(group="detections", name=path.stem, run=partial(_finding, path))


def check_detect(name: str, vector: DetectVector) -> None:
    """Postprocesses one vector and compares.

    Raises:
        MismatchError: Something else is found, or what must be refused is not.
    """
    outputs = raw_outputs(vector.outputs)
    try:
        found = detect(outputs, vector.stage, vector.labels, vector.geometry)
    except EdgeloopError as error:
        if vector.detections is not None or vector.refused not in str(error):
            raise MismatchError(f"{name}: refused with {str(error)!r}, expected {vector.refused!r}") from error
        return
    if vector.detections is None:
        raise MismatchError(f"{name}: answered, must be refused with {vector.refused!r}")
    if difference := _difference(found, vector.detections, vector):
        raise MismatchError(f"{name}: {difference}")


def _finding(path: Path) -> Finding:
    vector = load_detect(path)
    check_detect(path.stem, vector)
    return Finding(detail=vector.about)


def _difference(found: Detections, expected: Detections, vector: DetectVector) -> str:
    """The first thing that differs; empty where nothing does."""
    if len(found.items) != len(expected.items):
        return f"found {len(found.items)} boxes, expected {len(expected.items)}"
    for at, (one, other) in enumerate(zip(found.items, expected.items, strict=True)):
        if not _alike(one, other, vector):
            return f"box {at} is {one}, expected {other}"
    if abs(found.nearest_miss - expected.nearest_miss) > vector.score_tolerance:
        return f"nearest miss is {found.nearest_miss}, expected {expected.nearest_miss}"
    return ""


def _alike(one: Detection, other: Detection, vector: DetectVector) -> bool:
    edges = zip(_edges(one), _edges(other), strict=True)
    return (
        (one.label, one.index) == (other.label, other.index)
        and abs(one.score - other.score) <= vector.score_tolerance
        and all(abs(first - second) <= vector.box_tolerance for first, second in edges)
    )


def _edges(item: Detection) -> tuple[float, ...]:
    return (item.box.left, item.box.top, item.box.right, item.box.bottom)

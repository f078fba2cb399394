"""Bundles of several stages for tests: a tiny detector, whose crops a tiny embedder matches with known colours."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import numpy as np
from tiny_bundles import MODELS, bundle_fields, write_manifest

from edge import jsonvalue
from edge.backends.select import open_backend
from edge.bundle.gallery import gallery_bytes
from edge.bundle.golden import GoldenOutput, GoldenSet, GoldenVector, pack_values
from edge.bundle.manifest import (
    ArtifactFormat,
    ArtifactSpec,
    BundleManifest,
    CropPolicy,
    DecisionPolicy,
    Decoder,
    DetectSpec,
    KeepPolicy,
    MatchSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageInput,
    StageSpec,
    Task,
)
from edge.decide import decide
from edge.postprocess.select import load_stage_files, postprocess
from edge.preprocess import preprocess

GALLERY = "gallery.egl"
COLOURS = {"red": (220, 20, 30), "green": (30, 210, 20), "blue": (20, 40, 230)}
YELLOW = (230, 220, 20)
GREY = (120, 120, 120)


def _artifacts(name: str) -> tuple[ArtifactSpec, ...]:
    return tuple(
        ArtifactSpec(file=f"{name}.{form.value}", format=form, recipe="fp32", tolerance=1e-4)
        for form in (ArtifactFormat.TFLITE, ArtifactFormat.ONNX)
    )


DETECT = StageSpec(
    name="find",
    task=Task.DETECT,
    labels=("thing",),
    preprocess=PreprocessSpec(width=64, height=64, crop=CropPolicy.LETTERBOX),
    outputs=(
        OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=(1, 64, 4)),
        OutputSpec(name="scores", kind=OutputKind.SCORES, shape=(1, 64, 1)),
    ),
    artifacts=_artifacts("tiny_detector"),
    detect=DetectSpec(decoder=Decoder.YOLO, score_threshold=0.5),
)
MATCH = StageSpec(
    name="name",
    task=Task.MATCH,
    reads=StageInput.CROPS,
    preprocess=PreprocessSpec(width=32, height=32),
    outputs=(OutputSpec(name="embedding", kind=OutputKind.EMBEDDING, shape=(1, 3)),),
    artifacts=_artifacts("tiny_embedder"),
    match=MatchSpec(gallery=(GALLERY,), threshold=0.9),
)


def squares(*cells: tuple[int, int, tuple[int, int, int]], side: int = 320, kind: str = "PNG") -> bytes:
    """A grey picture of 8 x 8 cells, some of them coloured.

    Args:
        cells: Column, row, colour.
        side: Width and height in pixels, a multiple of 8.
        kind: File format.
    """
    from PIL import Image

    cell = side // 8
    picture = Image.new("RGB", (side, side), GREY)
    for column, row, colour in cells:
        picture.paste(colour, (column * cell, row * cell, (column + 1) * cell, (row + 1) * cell))
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


def build_pipeline(folder: Path, *, stages: tuple[StageSpec, ...] = (DETECT, MATCH), **changes: object) -> Path:
    """Writes a bundle folder with a detector, an embedder and a gallery, proven on paper, and returns it.

    Args:
        folder: Created with its parents.
        stages: The stages; the models of all are in the folder.
        changes: Fields of `BundleManifest` to replace.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for stage in stages:
        for artifact in stage.artifacts:
            (folder / artifact.file).write_bytes((MODELS / artifact.file).read_bytes())
    vectors = np.array([np.array(colour) / 255 - 0.5 for colour in COLOURS.values()], np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    (folder / GALLERY).write_bytes(gallery_bytes(tuple(COLOURS), range(len(COLOURS)), vectors))
    (folder / "proof.json").write_bytes(b"{}")
    fields = {
        **bundle_fields(name="pipeline"),
        "task": Task.COUNT if len(stages) > 1 else stages[0].task,
        "labels": (),
        "stages": stages,
        "golden_file": "golden.json",
        "decision": DecisionPolicy(accept_confidence=0.7, confirm_confidence=0.3, accept_margin=0.0),
        "keep": KeepPolicy(),
        **changes,
    }
    golden = _golden(folder, BundleManifest(files=(), **fields))
    (folder / "golden.json").write_bytes(jsonvalue.canonical_bytes(golden))
    return write_manifest(folder, fields)


def crop_reader(**changes: object) -> StageSpec:
    """`MATCH` with other fields."""
    return replace(MATCH, **changes)


def _golden(folder: Path, manifest: BundleManifest) -> GoldenSet:
    vectors = []
    for position, stage in enumerate(manifest.stages):
        side = stage.preprocess.width
        cells = (
            [(2, 3, COLOURS["red"])]
            if stage.task is Task.DETECT
            else [(x, y, COLOURS["blue"]) for x in range(8) for y in range(8)]
        )
        file = f"golden-{position}.png"
        (folder / file).write_bytes(squares(*cells, side=side))
        outputs = [
            output for artifact in stage.artifacts for output in _outputs(folder, manifest, stage, artifact, file)
        ]
        vectors.append(GoldenVector(input_file=file, outputs=tuple(outputs), stage=stage.name))
    return GoldenSet(vectors=tuple(vectors))


def _outputs(
    folder: Path, manifest: BundleManifest, stage: StageSpec, artifact: ArtifactSpec, file: str
) -> list[GoldenOutput]:
    given = preprocess(folder / file, stage.preprocess)
    backend = open_backend(folder / artifact.file, artifact.format)
    raw = backend.run(given.tensor)
    backend.close()
    files = load_stage_files(stage, lambda name: (folder / name).read_bytes())
    prediction = postprocess(raw, stage, manifest.labels_of(stage), given.geometry, files=files)
    return [
        GoldenOutput(
            artifact=artifact.file,
            output=name,
            shape=tuple(array.shape),
            values=pack_values(array),
            outcome=decide(prediction, manifest.decision).outcome,
            label=prediction.headline.label,
        )
        for name, array in raw.by_name.items()
    ]

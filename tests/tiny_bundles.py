"""Complete, proven bundles for tests, made in a few milliseconds from the committed tiny models, without torch.

Red, green and blue pictures are told apart with high confidence; grey ones come out UNKNOWN.
"""

from __future__ import annotations

import base64
import hashlib
import io
import struct
from pathlib import Path

from converters.types import ArtifactProof, OutputError, Proof
from edge import jsonvalue
from edge.backends.select import open_backend
from edge.bundle.golden import GoldenOutput, GoldenSet, GoldenVector
from edge.bundle.manifest import (
    MANIFEST_NAME,
    ArtifactFormat,
    ArtifactSpec,
    BundleManifest,
    DecisionPolicy,
    FileEntry,
    KeepPolicy,
    Origin,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    ProofSummary,
    Provenance,
    QualityLimits,
    StageSpec,
    Task,
    Verdict,
)
from edge.decide import decide
from edge.postprocess.select import StageFiles, postprocess
from edge.types import Geometry

MODELS = Path(__file__).resolve().parent / "models"
SIZE = 32
MARK = struct.pack("<3f", 0.0123, 0.0125, 0.0127)
COLOURS = {"red": (220, 20, 30), "green": (30, 210, 20), "blue": (20, 40, 230), "grey": (128, 128, 128)}
ARTIFACTS = (
    ArtifactSpec(file="tiny_fp32.tflite", format=ArtifactFormat.TFLITE, recipe="fp32", tolerance=1e-4),
    ArtifactSpec(file="tiny_fp32.onnx", format=ArtifactFormat.ONNX, recipe="fp32", tolerance=1e-4),
)


def picture_bytes(colour: str | tuple[int, int, int], *, size: tuple[int, int] = (48, 40), kind: str = "PNG") -> bytes:
    """One encoded picture of one colour with a darker frame, so that different sizes have different content."""
    from PIL import Image

    rgb = COLOURS[colour] if isinstance(colour, str) else colour
    picture = Image.new("RGB", size, tuple(channel * 3 // 4 for channel in rgb))
    picture.paste(rgb, (2, 2, max(3, size[0] - 2), max(3, size[1] - 2)))
    buffer = io.BytesIO()
    picture.save(buffer, format=kind)
    return buffer.getvalue()


def build_bundle(
    folder: Path,
    *,
    version: int = 1,
    name: str = "tiny",
    labels: tuple[str, ...] = ("red", "green", "blue"),
    flavour: int = 0,
    origin: Origin = Origin.TRAINED,
    verdict: Verdict = Verdict.PASS,
    **changes: object,
) -> Path:
    """Writes a complete bundle folder and returns it.

    Args:
        folder: Created with its parents; must be empty if it exists.
        version: Version in the manifest.
        name: Name in the manifest.
        labels: Names of the three classes.
        flavour: Other numbers make slightly other weights, hence other model files and another bundle digest.
        origin: TRAINED or IMPORTED.
        verdict: What the proof says; NONE writes no proof file.
        changes: Fields of `BundleManifest` to replace (`decision=…`, `keep=…`).
    """
    folder.mkdir(parents=True, exist_ok=True)
    for artifact in ARTIFACTS:
        (folder / artifact.file).write_bytes(_model(artifact.file, flavour))
    if verdict is not Verdict.NONE:
        (folder / "proof.json").write_bytes(jsonvalue.canonical_bytes(_proof(folder, verdict)))
    fields = dict(
        bundle_fields(version=version, name=name, labels=labels, origin=origin, verdict=verdict)
        | {"golden_file": "golden.json"}
        | changes
    )
    manifest = BundleManifest(files=(), **fields)
    (folder / "golden.json").write_bytes(jsonvalue.canonical_bytes(_golden(folder, manifest)))
    return write_manifest(folder, fields)


def write_manifest(folder: Path, fields: dict[str, object]) -> Path:
    """Writes `manifest.json` over whatever files lie in the folder."""
    files = tuple(
        FileEntry(name=path.name, sha256=hashlib.sha256(path.read_bytes()).hexdigest(), size_bytes=path.stat().st_size)
        for path in sorted(folder.iterdir())
        if path.name != MANIFEST_NAME
    )
    manifest = BundleManifest(files=files, **{key: value for key, value in fields.items() if key != "files"})
    (folder / MANIFEST_NAME).write_bytes(jsonvalue.canonical_bytes(manifest))
    return folder


def bundle_fields(
    *,
    version: int = 1,
    name: str = "tiny",
    labels: tuple[str, ...] = ("red", "green", "blue"),
    origin: Origin = Origin.TRAINED,
    verdict: Verdict = Verdict.PASS,
) -> dict[str, object]:
    """Fields of a manifest with one classifier; but for `golden_file` and `files`."""
    stage = StageSpec(
        name="classify",
        preprocess=PreprocessSpec(width=SIZE, height=SIZE),
        outputs=(OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, len(labels)), temperature=1.0),),
        artifacts=ARTIFACTS,
    )
    run, snapshot, weights = (hashlib.sha256(f"{name} {version} {what}".encode()).hexdigest() for what in "rsw")
    return {
        "format_version": 1,
        "name": name,
        "version": version,
        "task": Task.CLASSIFY,
        "origin": origin,
        "labels": labels,
        "stages": (stage,),
        "decision": DecisionPolicy(),
        "keep": KeepPolicy(),
        "limits": QualityLimits(),
        "proof": ProofSummary(verdict=verdict, file="" if verdict is Verdict.NONE else "proof.json"),
        "provenance": Provenance(
            run=run, snapshot=snapshot, train_recipe="tiny", seed=0, weights=weights, producer="edgeloop 0.1.0"
        ),
    }


def _model(file: str, flavour: int) -> bytes:
    """The committed model with another last bias."""
    data = (MODELS / file).read_bytes()
    assert data.count(MARK) == 1, f"{file}: run tests/models/make_tiny.py"
    mark = struct.pack("<3f", *(value + flavour / 1000 for value in struct.unpack("<3f", MARK)))
    return data.replace(MARK, mark)


def _golden(folder: Path, manifest: BundleManifest) -> GoldenSet:
    vectors = []
    for position, colour in enumerate(COLOURS):
        file = f"golden-{position}.png"
        (folder / file).write_bytes(picture_bytes(colour, size=(SIZE, SIZE)))
        outputs = tuple(_golden_output(folder, manifest, artifact, colour) for artifact in ARTIFACTS)
        vectors.append(GoldenVector(input_file=file, outputs=outputs))
    return GoldenSet(vectors=tuple(vectors))


def _golden_output(folder: Path, manifest: BundleManifest, artifact: ArtifactSpec, colour: str) -> GoldenOutput:
    import numpy as np
    from PIL import Image

    with Image.open(io.BytesIO(picture_bytes(colour, size=(SIZE, SIZE)))) as picture:
        tensor = np.asarray(picture, dtype=np.float32)[np.newaxis]
    backend = open_backend(folder / artifact.file, artifact.format)
    raw = backend.run(tensor)
    backend.close()
    geometry = Geometry(picture_width=SIZE, picture_height=SIZE, scale_x=1.0, scale_y=1.0, offset_x=0.0, offset_y=0.0)
    prediction = postprocess(raw, manifest.stages[0], manifest.labels, geometry, files=StageFiles())
    logits = raw.by_name["logits"]
    return GoldenOutput(
        artifact=artifact.file,
        output="logits",
        shape=tuple(logits.shape),
        values=base64.b64encode(logits.astype("<f4").tobytes()).decode(),
        outcome=decide(prediction, manifest.decision).outcome,
        label=prediction.headline.label,
    )


def _proof(folder: Path, verdict: Verdict) -> Proof:
    artifacts = tuple(
        ArtifactProof(
            file=artifact.file,
            recipe=artifact.recipe,
            size_bytes=(folder / artifact.file).stat().st_size,
            num_pictures=4,
            float_accuracy=100.0,
            accuracy=100.0,
            drop_points=0.0,
            drop_lower_points=0.0,
            drop_upper_points=0.0,
            agreement=1.0,
            errors=(OutputError(output="logits", max_abs=0.0, mean_abs=0.0, sqnr_db=200.0, cosine=1.0),),
            verdict=verdict,
            reason="paired drop 0.0 points",
        )
        for artifact in ARTIFACTS
    )
    return Proof(limits=QualityLimits(), calibration_digests=(), validation_digests=(), artifacts=artifacts)

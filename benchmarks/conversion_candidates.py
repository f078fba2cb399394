"""The model files that one row of the conversion tables compares: ours in every format, and those of the exporters.

The exporters get the same float model and the same calibration pictures, and run as programs: `benchmarks/peer`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from benchmarks.conversion_subjects import Subject
from benchmarks.peers import ULTRALYTICS, peer_environment
from converters.cache import ConversionCache
from converters.progress import Steps
from converters.recipes import FLOAT16, FLOAT32, ONNX_FLOAT16, ONNX_FLOAT32, ONNX_INT8, STATIC_INT8, WEIGHT_INT8
from converters.search import find_model
from converters.types import QuantRecipe, Scheme
from converters.workshop import Workshop
from edge.bundle.manifest import ArtifactFormat
from edge.errors import EdgeloopError

OURS = "edgeloop"
FLOAT_TFLITE = "TFLite fp32"
REFERENCE = "ONNX fp32"
STATIC = "TFLite static int8"
ONNX_STATIC = "ONNX int8"
# A compiler that hangs is a row that says so.
PEER_TIMEOUT_S = 1800


@dataclass(frozen=True, slots=True, kw_only=True)
class Candidate:
    """A model file that takes part.

    Attributes:
        name: What tables call it.
        path: The file.
        format: Which runtime opens it.
        maker: Whose it is.
        against: Of an exporter's, the name of ours that it is compared with.
        yolo: Whether input and output are as ultralytics has them: channels first, 0 to 1, one output of centres,
            sizes and scores.
        scale: Of an integer input.
        zero_point: Of an integer input.
        recipe: Of ours, the recipe that made it.
        failed: Why there is no file; empty where there is.
    """

    name: str
    path: Path
    format: ArtifactFormat
    maker: str = OURS
    against: str = ""
    yolo: bool = False
    scale: float = 1.0
    zero_point: int = 0
    recipe: str = ""
    failed: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Made:
    """All models of one row.

    Attributes:
        candidates: The float ONNX model, which the others are held against, among them.
        files: Gallery and lexicon, by name.
        choice: What the default chain made the preferred model, and what it refused before; empty where it was not
            asked.
    """

    candidates: tuple[Candidate, ...]
    files: dict[str, bytes]
    choice: str = ""


def make_all(subject: Subject, folder: Path, cache: Path) -> Made:
    """Ours, and where the network is trained those of the exporters.

    Args:
        subject: The network.
        folder: Where files go.
        cache: Of conversions.
    """
    folder.mkdir(parents=True, exist_ok=True)
    shop = Workshop(subject.job, folder, ConversionCache(folder=cache), Steps())
    if subject.job.references:
        from converters.references import embed_references

        shop.files[subject.job.match.gallery[0]] = embed_references(shop)
    if subject.most_drop is None:
        return Made(candidates=our_models(shop, STATIC_INT8), files=shop.files)
    search = find_model(shop)
    if search.chosen is None:
        raise EdgeloopError("the default chain found nothing that is good enough")
    chosen = search.chosen.artifact.recipe
    said = "; ".join(f"{one.proof.recipe} {one.proof.verdict.value}: {one.proof.reason}" for one in search.trials)
    ours = our_models(shop, chosen if chosen.scheme is Scheme.STATIC_INT8 else STATIC_INT8)
    return Made(candidates=(*ours, *peer_models(subject, shop, ours)), files=shop.files, choice=said)


def our_models(shop: Workshop, static: QuantRecipe) -> tuple[Candidate, ...]:
    """Every format; one that cannot be made says why."""
    recipes = {
        FLOAT_TFLITE: FLOAT32,
        "TFLite fp16": FLOAT16,
        "TFLite weight int8": WEIGHT_INT8,
        STATIC: static,
        REFERENCE: ONNX_FLOAT32,
        "ONNX fp16": ONNX_FLOAT16,
        ONNX_STATIC: ONNX_INT8,
    }
    return tuple(_ours(shop, name, recipe) for name, recipe in recipes.items())


def _ours(shop: Workshop, name: str, recipe: QuantRecipe) -> Candidate:
    try:
        artifact = shop.reference if recipe == ONNX_FLOAT32 else shop.write(recipe)
    except EdgeloopError as error:
        return Candidate(name=name, path=Path(), format=recipe.format, recipe=recipe.name, failed=error.message)
    return Candidate(name=name, path=artifact.path, format=recipe.format, recipe=recipe.name)


def peer_models(subject: Subject, shop: Workshop, ours: tuple[Candidate, ...]) -> tuple[Candidate, ...]:
    """The exporters' models of the same network; one that cannot be made says why."""
    folder = shop.folder
    pixels = folder / "calibration.npy"
    np.save(pixels, np.stack(shop.calibration))
    paths = {one.name: one.path for one in ours}
    tflite = Candidate(
        name="ai-edge-quantizer default",
        maker="ai-edge-quantizer",
        path=folder / "peer-default.tflite",
        format=ArtifactFormat.TFLITE,
        against=STATIC,
    )
    onnx = Candidate(
        name="onnxruntime quantize_static default",
        maker="onnxruntime",
        path=folder / "peer-default.onnx",
        format=ArtifactFormat.ONNX,
        against=ONNX_STATIC,
    )
    made = [
        _run_peer(tflite, "quantize_tflite", paths[FLOAT_TFLITE], pixels, tflite.path),
        _run_peer(onnx, "quantize_onnx", paths[REFERENCE], pixels, onnx.path),
    ]
    if subject.weights:
        made += [_ultralytics(subject, folder, form) for form in ArtifactFormat]
    return tuple(made)


def _ultralytics(subject: Subject, folder: Path, form: ArtifactFormat) -> Candidate:
    is_tflite = form is ArtifactFormat.TFLITE
    wanted = Candidate(
        name=f"ultralytics {'litert' if is_tflite else 'onnx'} quantize=8",
        maker="ultralytics",
        path=folder / f"peer-ultralytics.{form.value}",
        format=form,
        against=STATIC if is_tflite else ONNX_STATIC,
        yolo=True,
    )
    weights = folder / "peer-ultralytics.safetensors"
    weights.write_bytes(subject.weights)
    return _run_peer(
        wanted,
        "quantize_yolo",
        weights,
        subject.architecture,
        subject.job.preprocess.width,
        ",".join(subject.job.labels),
        "litert" if is_tflite else "onnx",
        wanted.path,
        *(picture.path for picture in subject.job.calibration),
    )


def _run_peer(wanted: Candidate, program: str, *arguments: object) -> Candidate:
    """Runs one of `benchmarks/peer`; its last line says what has to be known of the file."""
    environment = peer_environment(ULTRALYTICS)
    Path(environment["YOLO_CONFIG_DIR"]).mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", f"benchmarks.peer.{program}", *map(str, arguments)]
    try:
        done = subprocess.run(
            command,
            env={**environment, "ORT_DISABLE_TELEMETRY": "1"},
            capture_output=True,
            text=True,
            check=False,
            timeout=PEER_TIMEOUT_S,
        )
    except subprocess.TimeoutExpired:
        return replace(wanted, failed=f"no answer within {PEER_TIMEOUT_S} s")
    if done.returncode != 0 or not wanted.path.is_file():
        lines = done.stderr.strip().splitlines() or ["failed without a word"]
        return replace(wanted, failed=lines[-1][:300])
    return replace(wanted, **json.loads(done.stdout.strip().splitlines()[-1]))

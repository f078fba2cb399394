"""What lies beside a trained detector's weights. Reads without torch and without ultralytics."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edge import jsonvalue
from edge.bundle.manifest import PreprocessSpec
from edge.errors import UsageError

YOLO_NAMES = tuple(f"{family}{size}" for family in ("yolov8", "yolo11", "yolo26") for size in "nsmlx")
"""Generation and size; those of YOLO26 need no non-maximum suppression."""

WEIGHTS_FILE = "model.safetensors"
RUN_FILE = "run.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class YoloRun:
    """What a training of a detector came to, or has come to so far.

    Attributes:
        architecture: One of YOLO_NAMES.
        classes: In the order of the scores.
        preprocess: How its input is made.
        recipe: Name of the recipe.
        recipe_digest: Digest of the recipe's canonical bytes.
        data: Digest of the training and validation pictures with their boxes.
        seed: Of everything random.
        weights: SHA-256 of `model.safetensors` beside the run file, hex; empty before the first validation.
        epochs: Passes that were made.
        best_epoch: The pass whose weights were kept, from 0.
        val_map50: Mean average precision on validation at an overlap of one half, at that pass, in points.
        finished: Whether the training reached its end.
    """

    architecture: str
    classes: tuple[str, ...]
    preprocess: PreprocessSpec
    recipe: str
    recipe_digest: str
    data: str
    seed: int
    weights: str
    epochs: int
    best_epoch: int
    val_map50: float
    finished: bool


def read_run(folder: Path) -> YoloRun:
    """The run file of a folder.

    Raises:
        UsageError: There is none.
        FormatError: It is not one.
    """
    path = folder / RUN_FILE
    if not path.is_file():
        raise UsageError(f"{folder} holds no trained detector", hint="train one first")
    return jsonvalue.load(YoloRun, path.read_bytes(), where=str(path))

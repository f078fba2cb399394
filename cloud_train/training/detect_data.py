"""What detectors learn from: pictures with boxes as the device sees them, and how a training goes, as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from converters.examples import TrueBox
from converters.foreign.truth import KnownPicture
from edge import jsonvalue
from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import UsageError
from edge.preprocess import open_picture, preprocess_pixels
from model_zoo.common.yolo_run import RUN_FILE, YOLO_NAMES, YoloRun, read_run

if TYPE_CHECKING:
    from edge.types import ByteArray, FloatArray

_GREY = 114  # what ultralytics pads with
_COARSEST = 32  # pixels of the input for one place of the coarsest map


@dataclass(frozen=True, slots=True, kw_only=True)
class DetectRecipe:
    """How a detector is trained. Frozen data; variants by `dataclasses.replace`.

    Attributes:
        name: Name of the recipe.
        architecture: One of `model_zoo.common.yolo.YOLO_NAMES`.
        preprocess: A letterboxed square on grey 114, of a side that 32 divides.
        epochs: Most passes over the training pictures.
        patience: Stop after so many passes without a better validation.
        small_epochs: First passes, on pictures reduced to `small_side`: for machines on which the full size is slow.
        small_side: Their side in pixels, which 32 divides.
        plain_epochs: Last passes, without mosaics of four pictures.
        epochs_per_check: Validate after every so many passes, and after the last.
        batch_size: Pictures a step.
        learning_rate: AdamW's, falling along a cosine to a hundredth.
        weight_decay: AdamW's.
        flip: Mirror this share of them left to right.
        flip_upright: Mirror this share of them upside down.
        shift: Greatest shift as a fraction of the side.
        scale: Greatest zoom either way, as a fraction.
        hue: Greatest change of hue, as a fraction of the circle.
        saturation: Greatest relative change of saturation.
        brightness: Greatest relative change of brightness.
        seed: Of everything random.
        num_threads: torch threads; part of the recipe because results depend on it.
    """

    name: str
    architecture: str
    preprocess: PreprocessSpec
    epochs: int = 100
    patience: int = 100
    small_epochs: int = 0
    small_side: int = 192
    plain_epochs: int = 10
    epochs_per_check: int = 1
    batch_size: int = 16
    learning_rate: float = 2e-3
    weight_decay: float = 5e-4
    flip: float = 0.5
    flip_upright: float = 0.0
    shift: float = 0.1
    scale: float = 0.5
    hue: float = 0.015
    saturation: float = 0.7
    brightness: float = 0.4
    seed: int = 7
    num_threads: int = 1


def require_recipe(recipe: DetectRecipe) -> None:
    """Refuses a recipe that no detector can follow.

    Raises:
        UsageError: An unknown network, an input that is no letterboxed square on grey, or no passes or pictures a step.
    """
    spec = recipe.preprocess
    if recipe.architecture not in YOLO_NAMES:
        raise UsageError(f"{recipe.architecture!r} is no YOLO detector", hint=f"there are {', '.join(YOLO_NAMES)}")
    if spec.width != spec.height or spec.width % _COARSEST or spec.crop is not CropPolicy.LETTERBOX:
        raise UsageError(
            f"recipe {recipe.name!r}: the input must be a letterboxed square whose side {_COARSEST} divides, "
            f"found {spec.crop.value} {spec.width}x{spec.height}"
        )
    if spec.fill != _GREY:
        raise UsageError(f"recipe {recipe.name!r}: the letterbox must be of grey {_GREY}, found {spec.fill}")
    if recipe.small_epochs and (recipe.small_side < _COARSEST or recipe.small_side % _COARSEST):
        raise UsageError(f"recipe {recipe.name!r}: {_COARSEST} must divide small_side, found {recipe.small_side}")
    for name in ("epochs", "batch_size", "epochs_per_check", "num_threads"):
        if getattr(recipe, name) < 1:
            raise UsageError(f"recipe {recipe.name!r}: {name} must be at least 1, found {getattr(recipe, name)}")


def require_boxes(train: Sequence[KnownPicture], val: Sequence[KnownPicture], classes: Sequence[str]) -> None:
    """Refuses pictures that nothing can be learnt from.

    Raises:
        UsageError: No boxes, a class number that is not among the classes, a class without training boxes, or a picture
            on both sides.
        ImageError: A picture is missing or is none; names it.
    """
    for what, pictures in (("training", train), ("validation", val)):
        if not any(usable(picture) for picture in pictures):
            raise UsageError(f"no boxes in {len(pictures)} {what} pictures", hint="add pictures with annotations")
        for picture in pictures:
            _require_known(picture, classes)
            open_picture(picture.path)
    both = {picture.digest for picture in train} & {picture.digest for picture in val}
    if both:
        name = next(picture.path for picture in val if picture.digest in both)
        raise UsageError(f"{name} is among the training and the validation pictures", hint="leave it out of one")
    taught = {box.index for picture in train for box in usable(picture)}
    missing = [label for index, label in enumerate(classes) if index not in taught]
    if missing:
        raise UsageError(
            f"no training boxes of {', '.join(missing)}", hint="add pictures of it, or leave the class out"
        )


def begin_run(
    train: Sequence[KnownPicture],
    val: Sequence[KnownPicture],
    classes: Sequence[str],
    recipe: DetectRecipe,
    out: Path,
) -> YoloRun:
    """How far the run in a folder has come; a new one where there is none.

    Raises:
        UsageError: It is a run of other pictures, classes or another recipe.
    """
    wanted = _inputs(train, val, classes, recipe)
    if not (out / RUN_FILE).exists():
        return wanted
    run = read_run(out)
    if any(getattr(run, name) != getattr(wanted, name) for name in ("classes", "recipe_digest", "data")):
        raise UsageError(f"{out} holds a run of other pictures, classes or recipe", hint="name another folder")
    return run


def usable(picture: KnownPicture) -> list[TrueBox]:
    """Boxes that are trained on: those not marked as difficult."""
    return [box for box in picture.boxes if not box.difficult]


def shares(picture: KnownPicture) -> tuple[tuple[int, int], FloatArray, FloatArray]:
    """A picture's boxes for training.

    Returns:
        Height and width of the upright picture; class numbers, float32 (N, 1); centre x and y, width and height as
        shares of the picture's, float32 (N, 4), limited to it.
    """
    upright = open_picture(picture.path)
    boxes = usable(picture)
    edges = np.array([(it.box.left, it.box.top, it.box.right, it.box.bottom) for it in boxes], np.float32).reshape(
        -1, 4
    )
    edges = (edges / np.tile(np.float32(upright.size), 2)).clip(0, 1)
    centres, sides = (edges[:, :2] + edges[:, 2:]) / 2, edges[:, 2:] - edges[:, :2]
    indices = np.array([it.index for it in boxes], np.float32).reshape(-1, 1)
    seen = (sides > 0).all(axis=1)
    return (upright.height, upright.width), indices[seen], np.concatenate((centres, sides), axis=1)[seen]


def fitted(path: Path, spec: PreprocessSpec) -> tuple[ByteArray, tuple[int, int]]:
    """A picture as the device fits it into its input, without the letterbox around it.

    Returns:
        uint8 (h, w, 3), RGB, at most the input's size; height and width of the upright picture.
    """
    pixels, geometry = preprocess_pixels(path, spec)
    left, top = (round(-geometry.offset_x / geometry.scale_x), round(-geometry.offset_y / geometry.scale_y))
    width = round(geometry.picture_width / geometry.scale_x)
    height = round(geometry.picture_height / geometry.scale_y)
    inner = np.ascontiguousarray(pixels[top : top + height, left : left + width])
    return inner, (geometry.picture_height, geometry.picture_width)


def _require_known(picture: KnownPicture, classes: Sequence[str]) -> None:
    for box in picture.boxes:
        if not 0 <= box.index < len(classes):
            raise UsageError(f"{picture.path}: class {box.index} is not among the {len(classes)} classes")


def _inputs(
    train: Sequence[KnownPicture], val: Sequence[KnownPicture], classes: Sequence[str], recipe: DetectRecipe
) -> YoloRun:
    """A run before it is run: everything that goes in, nothing that comes out."""
    data = [[(picture.digest, picture.boxes) for picture in pictures] for pictures in (train, val)]
    return YoloRun(
        architecture=recipe.architecture,
        classes=tuple(classes),
        preprocess=recipe.preprocess,
        recipe=recipe.name,
        recipe_digest=jsonvalue.digest_of(recipe),
        data=jsonvalue.digest_of(data),
        seed=recipe.seed,
        weights="",
        epochs=0,
        best_epoch=0,
        val_map50=0.0,
        finished=False,
    )

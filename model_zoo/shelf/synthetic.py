"""Drawn shelf products: an ImageFolder of twelve classes, made from a seed.

The same seed, size and Pillow give the same bytes. Every picture has its own random stream, so that a run that was
killed goes on where it was and ends with what an unbroken one makes.
"""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from edge import durable
from edge.errors import UsageError
from model_zoo.shelf.packages import DESIGNS, draw_package
from model_zoo.shelf.scene import compose

if TYPE_CHECKING:
    from PIL import Image

Progress: TypeAlias = Callable[[int, int], None]

CLASSES = tuple(design.name for design in DESIGNS)
UNKNOWN_TO_V1 = ("coffee_jar", "lentil_can", "sage_tea")


def draw_product(class_index: int, rng: random.Random) -> Image.Image:
    """A picture of one product on a shelf.

    Args:
        class_index: Position in `CLASSES`.
        rng: Of everything that differs between two pictures of a product.

    Returns:
        RGB, square.
    """
    return compose(draw_package(DESIGNS[class_index], rng), rng)


def write_dataset(folder: Path, *, seed: int, per_class: int, progress: Progress | None = None) -> None:
    """Draws a whole data set; does nothing where it stands, goes on where it was killed.

    Args:
        folder: Appears whole, with one folder a class, or not at all; its parent is made when missing.
        seed: Another seed gives other pictures.
        per_class: Pictures of each class.
        progress: Called with pictures done and pictures in all.

    Raises:
        UsageError: `per_class` is below 1.
        StorageError: The disk is full or failing.
    """
    if per_class < 1:
        raise UsageError(f"pictures a class must be at least 1, found {per_class}")
    if folder.exists():
        return
    staging = folder.with_name(f".{folder.name}-{seed}-{per_class}.part")
    durable.make_folder(staging)
    total = per_class * len(CLASSES)
    for number in range(total):
        _write_picture(staging, number // per_class, number % per_class, seed)
        if progress is not None:
            progress(number + 1, total)
    durable.publish_folder(staging, folder, point="synthetic")


def _write_picture(staging: Path, class_index: int, number: int, seed: int) -> None:
    folder = staging / CLASSES[class_index]
    if number == 0:
        durable.make_folder(folder)
        durable.sweep(folder)
    target = folder / f"{CLASSES[class_index]}_{number:04d}.jpg"
    if target.exists():
        return
    rng = random.Random(f"{seed} {class_index} {number}")  # noqa: S311 - pictures, not secrets
    buffer = io.BytesIO()
    draw_product(class_index, rng).save(buffer, format="JPEG", quality=rng.randint(70, 92))
    durable.replace_bytes(target, buffer.getvalue())

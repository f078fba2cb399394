"""Photos of camera size, made of real pictures and saved as JPEG of quality 90.

Two kinds, since decoding costs what is in them: `wall` has grocery pictures side by side like products on a shelf, with
as much detail as a camera gives; `plain` is one photo of a pill box, enlarged, and so smoother than a camera's.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

FULL_HD = (1920, 1080)
EIGHT_MEGAPIXELS = (3264, 2448)
TILE = 348
QUALITY = 90
EVERY = 7


def wall_photo(data: Path, out: Path, size: tuple[int, int]) -> Path:
    """Makes a photo of many products, or finds it made.

    Args:
        data: Folder with `grocery/train`.
        out: Folder to write to.
        size: Width and height in pixels.

    Returns:
        The JPEG file.
    """
    path = out / f"wall_{size[0]}x{size[1]}.jpg"
    if path.is_file():
        return path
    pictures = sorted((data / "grocery" / "train").rglob("*.jpg"))[::EVERY]
    wall = Image.new("RGB", size)
    columns = -(-size[0] // TILE)
    for number in range(columns * -(-size[1] // TILE)):
        tile = Image.open(pictures[number % len(pictures)]).convert("RGB").resize((TILE, TILE))
        wall.paste(tile, (number % columns * TILE, number // columns * TILE))
    return _saved(wall, path)


def plain_photo(data: Path, out: Path, size: tuple[int, int]) -> Path:
    """Makes a photo of one thing, or finds it made; arguments and result as `wall_photo`, with `pill_boxes`."""
    path = out / f"plain_{size[0]}x{size[1]}.jpg"
    if path.is_file():
        return path
    pictures = sorted((data / "pill_boxes" / "images").rglob("*.jpg"))
    landscape = next(image for image in map(Image.open, pictures) if image.width > image.height)
    return _saved(ImageOps.fit(landscape.convert("RGB"), size, Image.Resampling.BICUBIC), path)


def crop_boxes(size: tuple[int, int], count: int) -> tuple[tuple[int, int, int, int], ...]:
    """Boxes as a detector would find them: 120 to 400 pixels a side, seeded.

    Returns:
        Left, top, right, bottom of each.
    """
    rng = np.random.default_rng(11)
    sides = rng.integers(120, 400, (count, 2))
    corners = (rng.random((count, 2)) * (np.array(size) - sides)).astype(int)
    return tuple((int(x), int(y), int(x + w), int(y + h)) for (x, y), (w, h) in zip(corners, sides, strict=True))


def _saved(image: Image.Image, path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path, "JPEG", quality=QUALITY)
    return path

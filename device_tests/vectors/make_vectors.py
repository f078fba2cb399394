"""Draws the pictures of the preprocess vectors and writes what preprocessing must make of them.

    python device_tests/vectors/make_vectors.py [FOLDER]

The pictures are drawn with integer arithmetic only. `index.json` is language-neutral: file, spec, SHA-256 of the uint8
tensor in C order, geometry.
"""

from __future__ import annotations

import hashlib
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from device_tests.checks import PreprocessVector, VectorIndex
from edge import jsonvalue
from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.preprocess import preprocess_pixels

_ORIENTATION_TAG = 0x0112
SPECS = (
    PreprocessSpec(width=32, height=32, crop=CropPolicy.STRETCH),
    PreprocessSpec(width=24, height=32, crop=CropPolicy.CENTER),
    PreprocessSpec(width=40, height=24, crop=CropPolicy.LETTERBOX),
)


def draw(width: int, height: int) -> Image.Image:
    """A gradient, a disc and stripes: smooth parts, edges, and no symmetry."""
    y, x = np.mgrid[0:height, 0:width]
    picture = np.stack([x * 255 // width, y * 255 // height, (x + 2 * y) % 256], axis=-1)
    disc = (x * 3 - width) ** 2 + (y * 3 - height) ** 2 < min(width, height) ** 2
    picture[disc] = (250, 240, 20)
    picture[(x // 5 % 4 == 0) & (y * 4 > height * 3)] = (10, 30, 90)
    return Image.fromarray(picture.astype(np.uint8))


def exif(turn: int) -> Image.Exif:
    """Only an orientation."""
    tags = Image.Exif()
    tags[_ORIENTATION_TAG] = turn
    return tags


def with_alpha(picture: Image.Image) -> Image.Image:
    """Transparent towards the right."""
    alpha = Image.fromarray(np.tile(np.linspace(255, 0, picture.width).astype(np.uint8), (picture.height, 1)))
    result = picture.copy()
    result.putalpha(alpha)
    return result


def sixteen_bit(picture: Image.Image) -> Image.Image:
    """16-bit grey with meaningful low bytes."""
    return Image.fromarray(np.asarray(picture.convert("L")).astype(np.uint16) * 251)


PICTURES: dict[str, Callable[[Path], None]] = {
    "rgb.png": lambda path: draw(61, 47).save(path),
    "grey.png": lambda path: draw(47, 61).convert("L").save(path),
    "grey-alpha.png": lambda path: with_alpha(draw(40, 30)).convert("LA").save(path),
    "rgb-alpha.png": lambda path: with_alpha(draw(53, 37)).save(path),
    "palette.png": lambda path: draw(45, 45).quantize(16).save(path),
    "palette-transparent.png": lambda path: draw(45, 45).quantize(16).save(path, transparency=2),
    "grey-16.png": lambda path: sixteen_bit(draw(50, 40)).save(path),
    "one-bit.png": lambda path: (
        draw(50, 40).convert("L").point(lambda level: level > 120 and 255).convert("1").save(path)
    ),
    "turned-6.png": lambda path: draw(48, 36).save(path, exif=exif(6)),
    "thin.png": lambda path: draw(200, 3).save(path),
    "one-pixel.png": lambda path: draw(1, 1).save(path),
    "rgb.jpg": lambda path: draw(62, 46).save(path, quality=85),
    "grey.jpg": lambda path: draw(46, 62).convert("L").save(path, quality=85),
    "cmyk.jpg": lambda path: draw(40, 40).convert("CMYK").save(path, quality=85),
    "turned-3.jpg": lambda path: draw(48, 36).save(path, quality=85, exif=exif(3)),
    "turned-8.jpg": lambda path: draw(48, 36).save(path, quality=85, exif=exif(8)),
    "large-half.jpg": lambda path: draw(141, 97).save(path, quality=60),
    "large-eighth.jpg": lambda path: draw(523, 391).save(path, quality=40),
    "large-turned-5.jpg": lambda path: draw(401, 303).save(path, quality=40, exif=exif(5)),
    "lossy.webp": lambda path: draw(64, 48).save(path, quality=80),
    "lossless-alpha.webp": lambda path: with_alpha(draw(33, 29)).save(path, lossless=True),
}


def expected(folder: Path) -> VectorIndex:
    """What preprocessing makes of the pictures in `folder`, on this machine."""
    vectors = []
    for file in PICTURES:
        for spec in SPECS:
            pixels, geometry = preprocess_pixels(folder / file, spec)
            digest = hashlib.sha256(pixels.tobytes()).hexdigest()
            vectors.append(PreprocessVector(file=file, spec=spec, sha256=digest, geometry=geometry))
    return VectorIndex(vectors=tuple(vectors))


def write_vectors(folder: Path) -> None:
    """Writes pictures and index."""
    for file, save in PICTURES.items():
        save(folder / file)
    (folder / "index.json").write_bytes(jsonvalue.pretty_bytes(expected(folder)))


if __name__ == "__main__":
    write_vectors(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)

"""Draws the pictures of the preprocess vectors and writes what preprocessing must make of them.

    python device_tests/vectors/make_vectors.py [FOLDER]

The pictures are drawn with integer arithmetic only. What `index.json` says of each is in
`device_tests.picture_vectors`: whole pictures for our own models, boxes of them, and inputs of imported models.
"""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image

from device_tests.picture_vectors import PreprocessVector, VectorIndex, measured
from edge import jsonvalue
from edge.bundle.manifest import ChannelOrder, CropPolicy, InputType, PreprocessSpec, TensorLayout
from edge.types import Box

_ORIENTATION_TAG = 0x0112
SPECS = (
    PreprocessSpec(width=32, height=32, crop=CropPolicy.STRETCH),
    PreprocessSpec(width=24, height=32, crop=CropPolicy.CENTER),
    PreprocessSpec(width=40, height=24, crop=CropPolicy.LETTERBOX),
)
# Left, top, right, bottom as shares of the picture, and the margin: inside, fractional, over the edge, almost nothing.
BOXES = (
    ((0.25, 0.125, 0.75, 0.5), 0.0),
    ((0.1, 0.4, 0.43, 0.97), 0.15),
    ((0.7, 0.6, 1.0, 1.0), 0.5),
    ((0.5, 0.5, 0.501, 0.9), 0.0),
)
BOXED_FILES = (
    *("rgb.png", "grey-16.png", "rgb-alpha.png", "turned-6.png", "rgb.jpg", "cmyk.jpg", "turned-3.jpg"),
    *("turned-8.jpg", "large-eighth.jpg", "large-turned-5.jpg", "lossy.webp"),
)
IMPORTED_FILES = ("rgb.png", "grey.png", "large-half.jpg")
_MEAN, _STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)


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


def ycck(picture: Image.Image) -> bytes:
    """Four inks, the first three stored as YCbCr, as its Adobe segment says."""
    buffer = io.BytesIO()
    picture.convert("CMYK").save(buffer, "JPEG", quality=85)
    data = bytearray(buffer.getvalue())
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


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
    "progressive.jpg": lambda path: draw(90, 70).save(path, quality=85, progressive=True),
    "ycck.jpg": lambda path: path.write_bytes(ycck(draw(40, 40))),
    "animated.png": lambda path: draw(24, 20).save(path, save_all=True, append_images=[draw(24, 20).rotate(180)]),
    "animated.webp": lambda path: draw(24, 20).save(
        path, save_all=True, append_images=[draw(24, 20).rotate(180)], lossless=True
    ),
}


def imported_specs() -> list[PreprocessSpec]:
    """Every layout, channel order and type; float values as ImageNet's, integers as a quantized input's."""
    specs = []
    for layout, channels, dtype in itertools.product(TensorLayout, ChannelOrder, InputType):
        scaled = PreprocessSpec(
            width=20,
            height=16,
            crop=CropPolicy.LETTERBOX,
            layout=layout,
            channels=channels,
            dtype=dtype,
            mean=_MEAN,
            std=_STD,
            input_scale=1.0 if dtype is InputType.FLOAT32 else 0.018658,
            input_zero_point={InputType.FLOAT32: 0, InputType.UINT8: 114, InputType.INT8: -14}[dtype],
        )
        specs.append(scaled)
    return specs


def boxed(folder: Path, file: str) -> list[PreprocessVector]:
    """Boxes of one picture, by the crop policies in turn."""
    with Image.open(folder / file) as image:
        width, height = image.size
    if file.startswith(("turned-6", "turned-8", "large-turned-5")):
        width, height = height, width
    vectors = []
    for number, ((left, top, right, bottom), margin) in enumerate(BOXES):
        box = Box(left=left * width, top=top * height, right=right * width, bottom=bottom * height)
        vectors.append(measured(folder, file, SPECS[number % len(SPECS)], box=box, margin=margin))
    return vectors


def expected(folder: Path) -> VectorIndex:
    """What preprocessing makes of the pictures in `folder`, on this machine."""
    whole = [measured(folder, file, spec) for file in PICTURES for spec in SPECS]
    boxes = [vector for file in BOXED_FILES for vector in boxed(folder, file)]
    imported = [measured(folder, file, spec, tensor=True) for file in IMPORTED_FILES for spec in imported_specs()]
    return VectorIndex(vectors=(*whole, *boxes, *imported))


def write_vectors(folder: Path) -> None:
    """Writes pictures and index."""
    for file, save in PICTURES.items():
        save(folder / file)
    (folder / "index.json").write_bytes(jsonvalue.pretty_bytes(expected(folder)))


if __name__ == "__main__":
    write_vectors(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)

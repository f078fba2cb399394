"""Picture to model input: decode, orient, crop, resize. The same code serves training, calibration, proof and device.

The result is the same to the bit for the same picture, spec and Pillow. One bilinear `resize` goes from the decoded
pixels straight to the model's size, for a whole picture as for a crop of it; turning by EXIF comes after it, on few
pixels. What our own models get are the pixels themselves as float32, 0 to 255; `edge.image.normalise` serves imported
ones.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.manifest import PreprocessSpec
from edge.errors import ImageError
from edge.image.crops import Cut, cut_box, cut_whole, geometry_of
from edge.image.decode import DEFAULT_LIMITS, DecodeLimits, read_picture
from edge.image.normalise import to_tensor
from edge.image.orientation import Edges, is_sideways, stored_box, turned
from edge.image.picture import Picture, open_picture
from edge.types import Box, Geometry, ModelInput

if TYPE_CHECKING:
    from PIL import Image as PilImage

    from edge.types import ByteArray, FloatArray, Image

__all__ = [
    "DEFAULT_LIMITS",
    "DecodeLimits",
    "Picture",
    "crop_pixels",
    "open_picture",
    "preprocess",
    "preprocess_crop",
    "preprocess_picture",
    "preprocess_pixels",
    "read_picture",
    "to_input",
    "to_tensor",
]


def preprocess(
    image: Image, spec: PreprocessSpec, *, limits: DecodeLimits = DEFAULT_LIMITS, name: str = ""
) -> ModelInput:
    """Makes the network's input of one picture.

    Args:
        image: Encoded JPEG, PNG or WebP bytes, a path to such a file, or uint8 (H, W, 3) RGB or (H, W) grey.
        spec: What the model wants.
        limits: What the picture may cost.
        name: What errors call it; by default the path.

    Raises:
        ImageError: The picture cannot be used; one line that names the file.
    """
    return preprocess_picture(open_picture(image, limits=limits, name=name), spec)


def preprocess_picture(picture: Picture, spec: PreprocessSpec) -> ModelInput:
    """Like `preprocess`, for a picture that other models read too.

    Raises:
        ImageError: The picture is truncated or damaged.
    """
    cut = cut_whole(picture.size, spec)
    tensor = to_tensor(_array(_cut_out(picture, cut, _stored_whole(picture, cut), spec)), spec)
    return ModelInput(tensor=tensor, geometry=geometry_of(cut, picture.size))


def preprocess_crop(picture: Picture, box: Box, spec: PreprocessSpec, *, margin: float = 0.0) -> ModelInput:
    """Makes the network's input of one box of a picture.

    Args:
        picture: The whole picture; several threads may read crops of it at once.
        box: In pixels of the upright picture; limited to it, and to at least one pixel.
        spec: What the model wants; its crop policy treats the box as it treats a whole picture.
        margin: How much the box is widened on each side, as a share of its own width and height.

    Returns:
        The input; its geometry leads back to the whole upright picture.

    Raises:
        ImageError: The picture is truncated or damaged, or the box is not in it.
    """
    pixels, geometry = _cropped(picture, box, spec, margin)
    return ModelInput(tensor=to_tensor(_array(pixels), spec), geometry=geometry)


def crop_pixels(picture: Picture, box: Box, spec: PreprocessSpec, *, margin: float = 0.0) -> tuple[ByteArray, Geometry]:
    """Like `preprocess_crop`, before normalisation: for training, which augments first.

    Returns:
        uint8 (height, width, 3), RGB, the caller's own; and the way back to the picture.
    """
    import numpy as np

    pixels, geometry = _cropped(picture, box, spec, margin)
    return np.array(pixels, dtype=np.uint8), geometry


def preprocess_pixels(
    image: Image, spec: PreprocessSpec, *, limits: DecodeLimits = DEFAULT_LIMITS, name: str = ""
) -> tuple[ByteArray, Geometry]:
    """Like `preprocess`, before normalisation: for training, which augments first.

    Returns:
        uint8 (height, width, 3), RGB, the caller's own; and the way back to the picture.
    """
    import numpy as np

    picture = open_picture(image, limits=limits, name=name)
    cut = cut_whole(picture.size, spec)
    pixels = _cut_out(picture, cut, _stored_whole(picture, cut), spec)
    return np.array(pixels, dtype=np.uint8), geometry_of(cut, picture.size)


def to_input(pixels: ByteArray) -> FloatArray:
    """uint8 (height, width, 3) to float32 (1, height, width, 3), values unchanged: the input of our own models."""
    import numpy as np

    return pixels[np.newaxis].astype(np.float32)


def _cropped(picture: Picture, box: Box, spec: PreprocessSpec, margin: float) -> tuple[PilImage.Image, Geometry]:
    try:
        cut = cut_box(picture.size, box, spec, margin=margin)
    except ValueError as cause:
        raise ImageError(f"{picture.name}: {cause}") from cause
    stored = stored_box(cut.box, picture.turn, picture.stored)
    return _cut_out(picture, cut, stored, spec), geometry_of(cut, picture.size)


def _stored_whole(picture: Picture, cut: Cut) -> Edges:
    """A centred box stays where it is under turning and mirroring, to the last bit, but for swapped axes."""
    left, top, right, bottom = cut.box
    return (top, left, bottom, right) if is_sideways(picture.turn) else cut.box


def _cut_out(picture: Picture, cut: Cut, stored: Edges, spec: PreprocessSpec) -> PilImage.Image:
    """Resizes a part of the stored picture, makes it upright and puts it where it belongs."""
    from PIL import Image

    rgb, scale = picture.pixels(cut.room)
    size = (cut.size[1], cut.size[0]) if is_sideways(picture.turn) else cut.size
    # Rounding may put an edge a hair outside, which Pillow refuses.
    left, top = max(0.0, stored[0] / scale), max(0.0, stored[1] / scale)
    right, bottom = min(rgb.width, stored[2] / scale), min(rgb.height, stored[3] / scale)
    resized = rgb.resize(size, Image.Resampling.BILINEAR, box=(left, top, right, bottom))
    return _padded(turned(resized, picture.turn), cut, spec)


def _padded(image: PilImage.Image, cut: Cut, spec: PreprocessSpec) -> PilImage.Image:
    """Puts a letterboxed picture onto its grey ground."""
    from PIL import Image

    if cut.size == (spec.width, spec.height):
        return image
    ground = Image.new("RGB", (spec.width, spec.height), (spec.fill, spec.fill, spec.fill))
    ground.paste(image, (cut.left, cut.top))
    return ground


def _array(image: PilImage.Image) -> ByteArray:
    import numpy as np

    return np.asarray(image)

"""Pixels to the numbers that a model wants: channels, scale, type and order of axes.

A pixel has 256 values, so every normalisation is a table of 256 entries for each channel, computed in double precision
and rounded once: exact, the same on every processor, and no arithmetic on the picture. `(pixel - mean) / std`, and for
integer inputs divided by `input_scale`, plus `input_zero_point`; then rounded (halves up) and limited to the type.

Grey is that of ITU-R BT.601 in 16-bit fixed point: (19595 R + 38470 G + 7471 B + 32768) >> 16.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, cast

from edge.bundle.manifest import ChannelOrder, InputType, PreprocessSpec, TensorLayout

if TYPE_CHECKING:
    from edge.types import ByteArray, InputArray


def to_tensor(pixels: ByteArray, spec: PreprocessSpec) -> InputArray:
    """Makes a model's input of a picture that has its size.

    Args:
        pixels: uint8 (height, width, 3), RGB.
        spec: Layout, channels, type, mean and scale; its crop policy plays no part.

    Returns:
        A new array of `spec.input_shape` and `spec.dtype`, in C order.
    """
    import numpy as np

    tables = _tables(spec)
    if tables is None and spec.layout is TensorLayout.NHWC and spec.channels is ChannelOrder.RGB:
        return cast("InputArray", pixels[np.newaxis].astype(spec.dtype.value, order="C"))
    tensor = np.empty(spec.input_shape, dtype=spec.dtype.value)
    planes = tensor[0] if spec.layout is TensorLayout.NCHW else tensor[0].transpose(2, 0, 1)
    # Plane by plane: look-ups in one table of all channels, and copies of a reversed axis, take twice as long.
    for number, plane in enumerate(_planes(pixels, spec.channels)):
        planes[number] = plane if tables is None else tables[number].take(plane)
    return cast("InputArray", tensor)


def _planes(pixels: ByteArray, order: ChannelOrder) -> list[ByteArray]:
    """One uint8 (height, width) for each channel that the model wants."""
    match order:
        case ChannelOrder.RGB:
            return [pixels[:, :, 0], pixels[:, :, 1], pixels[:, :, 2]]
        case ChannelOrder.BGR:
            return [pixels[:, :, 2], pixels[:, :, 1], pixels[:, :, 0]]
        case ChannelOrder.GREY:
            import numpy as np
            from PIL import Image

            return [np.asarray(Image.fromarray(pixels).convert("L"))]


@lru_cache(maxsize=16)
def _tables(spec: PreprocessSpec) -> InputArray | None:
    """(channels, 256) values of each pixel value; None where they are the pixel values themselves."""
    import numpy as np

    num_channels = 1 if spec.channels is ChannelOrder.GREY else 3
    mean = np.array(spec.mean[:num_channels], dtype=np.float64)[:, np.newaxis]
    std = np.array(spec.std[:num_channels], dtype=np.float64)[:, np.newaxis]
    levels = np.arange(256, dtype=np.float64)
    values = (levels - mean) / std
    if spec.dtype is not InputType.FLOAT32:
        limits = np.iinfo(spec.dtype.value)
        values = values / spec.input_scale + spec.input_zero_point
        values = np.floor(values + 0.5).clip(limits.min, limits.max)
    if (values == levels).all():
        return None
    tables = values.astype(spec.dtype.value)
    tables.flags.writeable = False
    return cast("InputArray", tables)

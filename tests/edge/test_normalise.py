from __future__ import annotations

import itertools

import numpy as np
import pytest
from drawn_pictures import encoded, noise, smooth
from PIL import Image

from edge.bundle.manifest import ChannelOrder, CropPolicy, InputType, PreprocessSpec, TensorLayout
from edge.image.normalise import to_tensor
from edge.preprocess import preprocess, preprocess_pixels, to_input

MEAN, STD = (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)
PIXELS = np.asarray(noise(6, 5))


def spec(**changes: object) -> PreprocessSpec:
    return PreprocessSpec(width=6, height=5, **changes)


def every_spec() -> list[PreprocessSpec]:
    kinds = itertools.product(TensorLayout, ChannelOrder, InputType, ((0.0,) * 3, MEAN))
    return [
        spec(
            layout=layout, channels=channels, dtype=dtype, mean=mean, std=STD if mean == MEAN else (1.0,) * 3,
            input_scale=0.02 if mean == MEAN and dtype is not InputType.FLOAT32 else 1.0,
            input_zero_point=-3 if dtype is InputType.INT8 else 0,
        )
        for layout, channels, dtype, mean in kinds
    ]  # fmt: skip


def one_by_one(pixels: np.ndarray, wanted: PreprocessSpec) -> np.ndarray:
    """The specification, value by value, in Python's floats."""
    tensor = np.zeros(wanted.input_shape, dtype=wanted.dtype.value)
    grey = wanted.channels is ChannelOrder.GREY
    for y, x in np.ndindex(pixels.shape[:2]):
        red, green, blue = (int(value) for value in pixels[y, x])
        values = [(19595 * red + 38470 * green + 7471 * blue + 32768) >> 16] if grey else [red, green, blue]
        for c, level in enumerate(values[::-1] if wanted.channels is ChannelOrder.BGR else values):
            value = (level - wanted.mean[c]) / wanted.std[c]
            if wanted.dtype is not InputType.FLOAT32:
                limits = np.iinfo(wanted.dtype.value)
                value = np.floor(value / wanted.input_scale + wanted.input_zero_point + 0.5)
                value = min(limits.max, max(limits.min, value))
            tensor[(0, c, y, x) if wanted.layout is TensorLayout.NCHW else (0, y, x, c)] = value
    return tensor


@pytest.mark.parametrize(
    "wanted", every_spec(), ids=lambda s: f"{s.layout.value}-{s.channels.value}-{s.dtype.value}-{s.mean[0]:g}"
)
def test_every_value_is_as_specified_to_the_bit(wanted: PreprocessSpec) -> None:
    tensor = to_tensor(PIXELS, wanted)
    assert tensor.shape == wanted.input_shape
    assert tensor.dtype == wanted.dtype.value
    assert tensor.flags.c_contiguous
    assert tensor.flags.writeable
    assert tensor.flags.owndata or tensor.base is not PIXELS
    assert (tensor == one_by_one(PIXELS, wanted)).all()


def test_our_own_models_get_the_pixels_themselves() -> None:
    assert (to_tensor(PIXELS, spec()) == PIXELS).all()
    assert to_tensor(PIXELS, spec()).tobytes() == to_input(PIXELS).tobytes()


def test_identity_is_never_a_view_of_the_pixels() -> None:
    pixels = PIXELS.copy()
    tensor = to_tensor(pixels, spec(dtype=InputType.UINT8))
    tensor[:] = 1
    assert (pixels == PIXELS).all()


def test_integer_halves_round_up_and_values_are_limited() -> None:
    pixels = np.array([[[0, 1, 2], [3, 4, 5]]], dtype=np.uint8)
    halves = PreprocessSpec(width=2, height=1, dtype=InputType.INT8, mean=(2.0, 2.0, 2.0), std=(2.0, 2.0, 2.0))
    assert to_tensor(pixels, halves).tolist() == [[[[-1, 0, 0], [1, 1, 2]]]]
    wide = PreprocessSpec(width=2, height=1, dtype=InputType.INT8, input_scale=0.01, input_zero_point=-100)
    assert to_tensor(pixels, wide).tolist() == [[[[-100, 0, 100], [127, 127, 127]]]]
    low = PreprocessSpec(width=2, height=1, dtype=InputType.UINT8, mean=(3.0, 3.0, 3.0))
    assert to_tensor(pixels, low).tolist() == [[[[0, 0, 0], [0, 1, 2]]]]


def test_grey_is_that_of_pillow() -> None:
    pixels = np.asarray(smooth(64, 48))
    grey = to_tensor(pixels, PreprocessSpec(width=64, height=48, channels=ChannelOrder.GREY))
    assert (grey[0, :, :, 0] == np.asarray(Image.fromarray(pixels).convert("L"))).all()


def test_grey_picture_keeps_its_levels() -> None:
    levels = np.random.default_rng(4).integers(0, 256, (5, 6), dtype=np.uint8)
    tensor = preprocess(levels, spec(channels=ChannelOrder.GREY)).tensor
    assert (tensor[0, :, :, 0] == levels).all()


def test_padding_is_normalised_like_pixels() -> None:
    wanted = spec(crop=CropPolicy.LETTERBOX, fill=114, layout=TensorLayout.NCHW, mean=(100.0,) * 3, std=(2.0,) * 3)
    tensor = preprocess(np.full((2, 6, 3), 200, np.uint8), wanted).tensor
    assert set(tensor.flat) == {7.0, 50.0}
    assert (tensor[0, :, 0] == 7).all()


def test_preprocess_applies_the_whole_spec() -> None:
    wanted = spec(layout=TensorLayout.NCHW, channels=ChannelOrder.BGR, dtype=InputType.INT8, input_zero_point=-128)
    data = encoded(noise(40, 30))
    pixels, _ = preprocess_pixels(data, wanted)
    assert pixels.shape == (5, 6, 3)
    assert (preprocess(data, wanted).tensor == (pixels.astype(int) - 128)[:, :, ::-1].transpose(2, 0, 1)).all()

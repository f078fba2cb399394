from __future__ import annotations

import io
import math

import numpy as np
import pytest
from drawn_pictures import encoded, noise, quadrants, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps

from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import ImageError
from edge.image.crops import cut_box, cut_whole
from edge.image.orientation import stored_box
from edge.preprocess import crop_pixels, open_picture, preprocess_crop, preprocess_pixels
from edge.types import Box


def box(left: float, top: float, right: float, bottom: float) -> Box:
    return Box(left=left, top=top, right=right, bottom=bottom)


def stretch(width: int, height: int) -> PreprocessSpec:
    return PreprocessSpec(width=width, height=height)


def test_crop_of_its_own_size_is_the_pixels_themselves() -> None:
    image = noise(60, 50)
    for data in (encoded(image), np.asarray(image)):
        pixels, geometry = crop_pixels(open_picture(data), box(7, 9, 27, 39), stretch(20, 30))
        assert (pixels == np.asarray(image)[9:39, 7:27]).all()
        assert (geometry.picture_width, geometry.picture_height) == (60, 50)
        assert (geometry.scale_x, geometry.scale_y, geometry.offset_x, geometry.offset_y) == (1, 1, 7, 9)


def test_crop_is_one_resize_from_the_decoded_pixels() -> None:
    image = noise(90, 70)
    edges = (10.25, 8.5, 61.75, 40.125)
    expected = np.asarray(image.resize((32, 24), Image.Resampling.BILINEAR, box=edges))
    model_input = preprocess_crop(open_picture(encoded(image)), box(*edges), stretch(32, 24))
    assert model_input.tensor.dtype == np.float32
    assert (model_input.tensor[0] == expected).all()


@pytest.mark.parametrize("crop", list(CropPolicy))
def test_box_of_the_whole_picture_equals_the_whole_picture(crop: CropPolicy) -> None:
    spec = PreprocessSpec(width=24, height=32, crop=crop)
    for data in (encoded(smooth(80, 60)), encoded(smooth(401, 303), "JPEG")):
        picture = open_picture(data)
        whole = box(0, 0, picture.width, picture.height)
        pixels, geometry = crop_pixels(picture, whole, spec)
        expected, expected_geometry = preprocess_pixels(data, spec)
        assert (pixels == expected).all()
        assert geometry == expected_geometry


def test_margin_widens_each_side_by_a_share_of_its_own_length() -> None:
    cut = cut_box((100, 100), box(20, 40, 40, 80), stretch(10, 10), margin=0.25)
    assert cut.box == (15, 30, 45, 90)
    cut = cut_box((100, 100), box(2, 40, 42, 90), stretch(10, 10), margin=0.5)
    assert cut.box == (0, 15, 62, 100)


def test_center_and_letterbox_treat_the_box_as_a_picture() -> None:
    centre = cut_box((200, 100), box(100, 20, 180, 60), PreprocessSpec(width=8, height=8, crop=CropPolicy.CENTER))
    assert (centre.box, centre.size) == ((120, 20, 160, 60), (8, 8))
    spec = PreprocessSpec(width=8, height=8, crop=CropPolicy.LETTERBOX, fill=7)
    letterbox = cut_box((200, 100), box(100, 20, 180, 60), spec)
    assert (letterbox.box, letterbox.size, letterbox.left, letterbox.top) == ((100, 20, 180, 60), (8, 4), 0, 2)
    pixels, geometry = crop_pixels(open_picture(np.full((100, 200, 3), 200, np.uint8)), box(100, 20, 180, 60), spec)
    assert (pixels[[0, 1, 6, 7]] == 7).all()
    assert (pixels[2:6] == 200).all()
    assert (geometry.scale_x, geometry.offset_x, geometry.scale_y, geometry.offset_y) == (10, 100, 10, 0)


def test_box_beyond_the_picture_is_limited_to_it() -> None:
    assert cut_box((50, 40), box(-10, -5, 70, 20), stretch(4, 4)).box == (0, 0, 50, 20)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((5, 5, 5, 25), (4.5, 5, 5.5, 25)),
        ((50, 40, 50, 40), (49, 39, 50, 40)),
        ((0, 0, 0, 0), (0, 0, 1, 1)),
        ((10.2, 3, 10.4, 3.5), (9.8, 2.75, 10.8, 3.75)),
    ],
)
def test_thin_box_becomes_a_pixel(edges: tuple[float, ...], expected: tuple[float, ...]) -> None:
    assert cut_box((50, 40), box(*edges), stretch(4, 4)).box == pytest.approx(expected)
    assert crop_pixels(open_picture(encoded(noise(50, 40))), box(*edges), stretch(4, 4))[0].shape == (4, 4, 3)


@pytest.mark.parametrize(
    ("edges", "expected"),
    [
        ((51, 0, 60, 10), "picture: box 51, 0, 60, 10 is outside the 50x40 picture"),
        ((0, -9, 9, -1), "picture: box 0, -9, 9, -1 is outside the 50x40 picture"),
        ((9, 0, 3, 5), "picture: no rectangle: left, top, right, bottom are 9, 0, 3, 5"),
        ((0, 0, math.nan, 5), "picture: no rectangle: left, top, right, bottom are 0, 0, nan, 5"),
        ((0, 0, math.inf, 5), "picture: no rectangle: left, top, right, bottom are 0, 0, inf, 5"),
    ],
)
def test_box_that_makes_no_sense_is_one_line(edges: tuple[float, ...], expected: str) -> None:
    with pytest.raises(ImageError) as caught:
        preprocess_crop(open_picture(encoded(noise(50, 40))), box(*edges), stretch(4, 4))
    assert str(caught.value) == expected


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_crop_of_a_turned_picture_is_the_crop_of_the_upright_one(turn: int, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"PNG": {}, "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}[kind]
    turned = encoded(quadrants(48, 40), kind, exif=exif, **options)
    with Image.open(io.BytesIO(turned)) as opened:
        upright = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
    picture = open_picture(turned)
    assert (picture.height, picture.width) == upright.shape[:2]
    for edges in ((3, 5, 33, 38), (20.5, 1.25, 36.75, 22)):
        for crop in CropPolicy:
            spec = PreprocessSpec(width=18, height=22, crop=crop)
            pixels, geometry = crop_pixels(picture, box(*edges), spec)
            expected, expected_geometry = crop_pixels(open_picture(upright), box(*edges), spec)
            assert geometry == expected_geometry
            assert np.abs(pixels.astype(int) - expected).max() <= (6 if kind == "JPEG" else 1)


@pytest.mark.parametrize("turn", range(1, 9))
def test_stored_box_names_the_same_pixels(turn: int) -> None:
    stored = np.arange(7 * 5).reshape(5, 7)
    moves = {2: np.fliplr, 3: lambda a: a[::-1, ::-1], 4: np.flipud, 5: lambda a: a.T}
    moves |= {6: lambda a: np.rot90(a, -1), 7: lambda a: a[::-1, ::-1].T, 8: np.rot90}
    upright = moves.get(turn, lambda a: a)(stored)
    left, top, right, bottom = (int(edge) for edge in stored_box((1, 2, 4, 5), turn, (7, 5)))
    assert set(stored[top:bottom, left:right].flat) == set(upright[2:5, 1:4].flat)


@given(
    edges=st.tuples(*[st.floats(-50, 350)] * 4),
    size=st.tuples(st.integers(1, 300), st.integers(1, 300)),
    model=st.tuples(st.integers(1, 64), st.integers(1, 64)),
    crop=st.sampled_from(CropPolicy),
    margin=st.floats(0, 1),
)
@settings(max_examples=300, deadline=None)
def test_any_box_gives_a_cut_inside_the_picture_or_a_value_error(
    edges: tuple[float, ...], size: tuple[int, int], model: tuple[int, int], crop: CropPolicy, margin: float
) -> None:
    spec = PreprocessSpec(width=model[0], height=model[1], crop=crop)
    try:
        cut = cut_box(size, box(*edges), spec, margin=margin)
    except ValueError:
        return
    left, top, right, bottom = cut.box
    assert -1e-9 <= left < right <= size[0] + 1e-9
    assert -1e-9 <= top < bottom <= size[1] + 1e-9
    assert 1 <= cut.size[0] <= spec.width
    assert 1 <= cut.size[1] <= spec.height
    assert cut.left + cut.size[0] <= spec.width
    assert cut.top + cut.size[1] <= spec.height


@given(
    x=st.floats(0, 1),
    y=st.floats(0, 1),
    edges=st.tuples(st.floats(0, 90), st.floats(0, 90), st.floats(2, 100), st.floats(2, 100)),
    crop=st.sampled_from(CropPolicy),
)
@settings(max_examples=200, deadline=None)
def test_geometry_leads_back_to_the_picture(x: float, y: float, edges: tuple[float, ...], crop: CropPolicy) -> None:
    spec = PreprocessSpec(width=20, height=28, crop=crop)
    region = box(edges[0], edges[1], edges[0] + edges[2], edges[1] + edges[3])
    picture = open_picture(np.zeros((200, 200, 3), np.uint8))
    geometry = preprocess_crop(picture, region, spec).geometry
    cut = cut_box(picture.size, region, spec)
    model_x, model_y = cut.left + x * cut.size[0], cut.top + y * cut.size[1]
    assert model_x * geometry.scale_x + geometry.offset_x == pytest.approx(
        cut.box[0] + x * (cut.box[2] - cut.box[0]), abs=1e-6
    )
    assert model_y * geometry.scale_y + geometry.offset_y == pytest.approx(
        cut.box[1] + y * (cut.box[3] - cut.box[1]), abs=1e-6
    )


def test_whole_picture_is_centred() -> None:
    cut = cut_whole((300, 200), PreprocessSpec(width=10, height=10, crop=CropPolicy.CENTER))
    assert cut.box == (50, 0, 250, 200)
    assert cut.room == 20

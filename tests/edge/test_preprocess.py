from __future__ import annotations

import io
import threading
from pathlib import Path

import numpy as np
import pytest
from drawn_pictures import encoded, quadrants, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image, ImageOps
from PIL.JpegImagePlugin import JpegImageFile
from PIL.PngImagePlugin import PngInfo

from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import ImageError
from edge.preprocess import preprocess, preprocess_pixels


def assert_one_line(error: Exception) -> None:
    assert "\n" not in str(error)
    assert str(error)


def stretch(width: int, height: int) -> PreprocessSpec:
    return PreprocessSpec(width=width, height=height)


def colour_of(data: bytes) -> tuple[int, int, int]:
    pixels, _ = preprocess_pixels(data, stretch(4, 4))
    assert (pixels == pixels[0, 0]).all()
    return tuple(int(value) for value in pixels[0, 0])


def test_model_input_is_float32_nhwc_0_to_255() -> None:
    model_input = preprocess(encoded(quadrants(8, 6)), stretch(8, 6))
    assert model_input.tensor.shape == (1, 6, 8, 3)
    assert model_input.tensor.dtype == np.float32
    assert model_input.tensor.flags.c_contiguous
    assert (model_input.tensor[0] == np.asarray(quadrants(8, 6))).all()


def test_same_size_is_untouched() -> None:
    noise = np.random.default_rng(0).integers(0, 256, (13, 17, 3), dtype=np.uint8)
    for crop in CropPolicy:
        pixels, _ = preprocess_pixels(encoded(Image.fromarray(noise)), PreprocessSpec(width=17, height=13, crop=crop))
        assert (pixels == noise).all()


def test_bytes_path_and_array_agree(tmp_path: Path) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (40, 50, 3), dtype=np.uint8)
    data = encoded(Image.fromarray(noise))
    path = tmp_path / "noise.png"
    path.write_bytes(data)
    for crop in CropPolicy:
        spec = PreprocessSpec(width=24, height=32, crop=crop)
        (first, geometry), *others = (preprocess_pixels(image, spec) for image in (data, path, noise))
        for pixels, other_geometry in others:
            assert (pixels == first).all()
            assert other_geometry == geometry


def test_result_is_the_callers_own() -> None:
    image = np.full((4, 4, 3), 9, dtype=np.uint8)
    pixels, _ = preprocess_pixels(image, stretch(4, 4))
    pixels[:] = 1
    assert (image == 9).all()


def test_array_that_is_a_view_or_grey() -> None:
    image = np.random.default_rng(2).integers(0, 256, (10, 12, 3), dtype=np.uint8)
    flipped, _ = preprocess_pixels(image[:, ::-1], stretch(12, 10))
    assert (flipped == image[:, ::-1]).all()
    grey, _ = preprocess_pixels(image[:, :, 0], stretch(12, 10))
    assert (grey == image[:, :, :1]).all()


@pytest.mark.parametrize(
    ("image", "kind", "expected"),
    [
        (Image.new("L", (5, 5), 77), "PNG", (77, 77, 77)),
        (Image.new("L", (8, 8), 77), "JPEG", (77, 77, 77)),
        (Image.new("1", (5, 5), 1), "PNG", (255, 255, 255)),
        (Image.new("LA", (5, 5), (100, 0)), "PNG", (255, 255, 255)),
        (Image.new("LA", (5, 5), (100, 255)), "PNG", (100, 100, 100)),
        (Image.new("RGBA", (5, 5), (200, 100, 0, 0)), "PNG", (255, 255, 255)),
        (Image.new("RGBA", (5, 5), (200, 100, 0, 51)), "PNG", (244, 224, 204)),
        (Image.new("RGBA", (5, 5), (200, 100, 0, 255)), "WEBP", (200, 100, 0)),
        (Image.new("RGB", (5, 5), (10, 20, 30)).convert("P", palette=Image.Palette.ADAPTIVE), "PNG", (10, 20, 30)),
        (Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", (255, 0, 0)),
        (Image.fromarray(np.full((5, 5), 0x8001, dtype=np.uint16)), "PNG", (128, 128, 128)),
        (Image.fromarray(np.full((5, 5), 0x00FF, dtype=np.uint16)), "PNG", (0, 0, 0)),
    ],
    ids=lambda value: value.mode if isinstance(value, Image.Image) else None,
)
def test_every_mode_becomes_rgb(image: Image.Image, kind: str, expected: tuple[int, int, int]) -> None:
    options = {"lossless": True} if kind == "WEBP" else {}
    assert colour_of(encoded(image, kind, **options)) == expected


def test_transparent_palette_entry_is_white() -> None:
    image = Image.new("P", (4, 4), 1)
    image.putpalette([0, 0, 0, 200, 10, 10])
    assert colour_of(encoded(image)) == (200, 10, 10)
    assert colour_of(encoded(image, transparency=1)) == (255, 255, 255)


def test_first_frame_of_an_animation() -> None:
    frames = [Image.new("RGB", (8, 8), colour) for colour in ((255, 0, 0), (0, 255, 0))]
    for kind, options in (("WEBP", {"lossless": True}), ("PNG", {})):
        data = encoded(frames[0], kind, save_all=True, append_images=frames[1:], **options)
        assert colour_of(data) == (255, 0, 0)


@pytest.mark.parametrize("turn", range(1, 9))
@pytest.mark.parametrize("crop", list(CropPolicy))
@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_exif_orientation(turn: int, crop: CropPolicy, kind: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    options = {"PNG": {}, "JPEG": {"quality": 95, "subsampling": 0}, "WEBP": {"lossless": True}}[kind]
    turned = encoded(quadrants(48, 40), kind, exif=exif, **options)
    with Image.open(io.BytesIO(turned)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    spec = PreprocessSpec(width=30, height=36, crop=crop)
    pixels, geometry = preprocess_pixels(turned, spec)
    expected, expected_geometry = preprocess_pixels(np.asarray(upright), spec)
    assert geometry == expected_geometry
    assert np.abs(pixels.astype(int) - expected).max() <= (6 if kind == "JPEG" else 1)


@pytest.mark.parametrize("exif", [b"Exif\0\0garbage", b"Exif\0\0II*\0\x08\0\0\0\xff\xff", b"Exif\0\0MM\0*\0\0\0\x08"])
@pytest.mark.filterwarnings("ignore:Corrupt EXIF:UserWarning")
def test_damaged_exif_does_not_cost_the_picture(exif: bytes) -> None:
    data = encoded(Image.new("RGB", (16, 16), (9, 9, 9)), "JPEG", exif=exif)
    assert preprocess_pixels(data, stretch(16, 16))[0].shape == (16, 16, 3)


def test_damaged_text_where_exif_should_be_does_not_cost_the_picture() -> None:
    text = PngInfo()
    text.add_text("Raw profile type exif", "\n\n\nno hex digits")
    data = encoded(Image.new("RGB", (4, 4), (9, 9, 9)), pnginfo=text)
    assert colour_of(data) == (9, 9, 9)


def test_stretch_geometry() -> None:
    _, geometry = preprocess_pixels(np.zeros((30, 80, 3), np.uint8), stretch(40, 60))
    assert (geometry.picture_width, geometry.picture_height) == (80, 30)
    assert (geometry.scale_x, geometry.scale_y, geometry.offset_x, geometry.offset_y) == (2.0, 0.5, 0.0, 0.0)


def test_center_cuts_the_middle() -> None:
    image = np.zeros((20, 60, 3), np.uint8)
    image[:, 20:40] = 255
    pixels, geometry = preprocess_pixels(image, PreprocessSpec(width=20, height=20, crop=CropPolicy.CENTER))
    assert (pixels == 255).all()
    assert (geometry.offset_x, geometry.offset_y, geometry.scale_x, geometry.scale_y) == (20.0, 0.0, 1.0, 1.0)


def test_letterbox_pads_with_the_fill_colour() -> None:
    spec = PreprocessSpec(width=40, height=40, crop=CropPolicy.LETTERBOX, fill=114)
    pixels, geometry = preprocess_pixels(np.full((20, 80, 3), 255, np.uint8), spec)
    assert (pixels[:15] == 114).all()
    assert (pixels[25:] == 114).all()
    assert (pixels[15:25] == 255).all()
    assert (geometry.scale_x, geometry.scale_y, geometry.offset_x, geometry.offset_y) == (2.0, 2.0, 0.0, -30.0)


@given(
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    model_width=st.integers(1, 64),
    model_height=st.integers(1, 64),
    crop=st.sampled_from(CropPolicy),
    kind=st.sampled_from(["PNG", "JPEG"]),
)
@settings(max_examples=120, deadline=None)
def test_any_size_fits_and_maps_back_into_the_picture(
    width: int, height: int, model_width: int, model_height: int, crop: CropPolicy, kind: str
) -> None:
    spec = PreprocessSpec(width=model_width, height=model_height, crop=crop)
    pixels, geometry = preprocess_pixels(encoded(smooth(width, height), kind), spec)
    assert pixels.shape == (model_height, model_width, 3)
    left, right = geometry.offset_x, geometry.offset_x + model_width * geometry.scale_x
    top, bottom = geometry.offset_y, geometry.offset_y + model_height * geometry.scale_y
    if crop is CropPolicy.LETTERBOX:
        assert left <= 1e-6
        assert top <= 1e-6
        assert right >= width - 1e-6
        assert bottom >= height - 1e-6
    else:
        assert -1e-6 <= left < right <= width + 1e-6
        assert -1e-6 <= top < bottom <= height + 1e-6


@given(data=st.binary(max_size=400), head=st.sampled_from([b"", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF"]))
@settings(max_examples=200, deadline=None)
def test_random_bytes_are_refused_in_one_line(data: bytes, head: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        preprocess_pixels(head + data, stretch(8, 8))
    assert "\n" not in str(caught.value)


def test_jpeg_is_decoded_small_but_never_below_the_crop(monkeypatch: pytest.MonkeyPatch) -> None:
    decoded: list[tuple[int, int]] = []
    draft = JpegImageFile.draft

    def recording(self: JpegImageFile, mode: str | None, size: tuple[int, int] | None) -> object:
        result = draft(self, mode, size)
        decoded.append(self.size)
        return result

    monkeypatch.setattr(JpegImageFile, "draft", recording)
    data = encoded(smooth(801, 603), "JPEG")
    preprocess_pixels(data, stretch(100, 75))
    preprocess_pixels(data, PreprocessSpec(width=100, height=100, crop=CropPolicy.CENTER))
    preprocess_pixels(data, PreprocessSpec(width=201, height=201, crop=CropPolicy.LETTERBOX))
    assert decoded == [(101, 76), (201, 151), (401, 302)]
    preprocess_pixels(data, stretch(500, 500))
    assert len(decoded) == 3


@pytest.mark.parametrize("turn", [1, 3, 6, 7])
def test_scaled_decoding_stays_close_to_full_decoding(turn: int) -> None:
    exif = Image.Exif()
    exif[0x0112] = turn
    data = encoded(smooth(1203, 907), "JPEG", quality=90, exif=exif)
    with Image.open(io.BytesIO(data)) as full:
        full_pixels = np.asarray(ImageOps.exif_transpose(full))
    for crop in CropPolicy:
        spec = PreprocessSpec(width=96, height=80, crop=crop)
        pixels, geometry = preprocess_pixels(data, spec)
        expected, expected_geometry = preprocess_pixels(full_pixels, spec)
        assert geometry == expected_geometry
        assert np.abs(pixels.astype(int) - expected).mean() < 1.0
        assert np.abs(pixels.astype(int) - expected).max() < 12


def test_same_to_the_bit_in_every_thread() -> None:
    data = encoded(smooth(640, 480), "JPEG")
    results: list[bytes] = []

    def work() -> None:
        results.append(preprocess_pixels(data, stretch(96, 96))[0].tobytes())

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(results)) == 1
    assert len(results) == 8


@pytest.mark.data
def test_real_pictures_scaled_decoding_close_to_full(data_root: Path) -> None:
    paths = sorted(path for path in data_root.rglob("*.jpg") if path.stat().st_size > 0)[::200]
    assert paths
    spec = stretch(64, 64)
    differences = []
    for path in paths:
        pixels, _ = preprocess_pixels(path, spec)
        with Image.open(path) as opened:
            full = np.asarray(ImageOps.exif_transpose(opened).convert("RGB"))
        differences.append(np.abs(pixels.astype(int) - preprocess_pixels(full, spec)[0]).mean())
    assert float(np.mean(differences)) < 2.0

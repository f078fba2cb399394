"""Damaged files of every kind: either `ImageError` in one line, or a tensor of the right shape; nothing else, ever."""

from __future__ import annotations

import functools
import importlib.util
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from drawn_pictures import chunk, encoded, exif_bytes, png, segment, smooth, with_segments
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import ImageError
from edge.preprocess import DecodeLimits, open_picture, preprocess, preprocess_crop
from edge.types import Box

# Lengths may be damaged into millions of pixels: the limits keep each example short.
LIMITS = DecodeLimits(max_pixels=1_000_000, max_decoded_bytes=16_000_000)
# No example may hang; an honest one takes milliseconds.
PATIENCE = timedelta(seconds=20)
SPECS = (
    PreprocessSpec(width=8, height=8),
    PreprocessSpec(width=30, height=7, crop=CropPolicy.LETTERBOX),
    PreprocessSpec(width=90, height=90, crop=CropPolicy.CENTER),
)


def drawn(kind: str, mode: str = "RGB", **options: object) -> Callable[[], bytes]:
    return lambda: encoded(smooth(40, 30).convert(mode), kind, **options)


def frames(kind: str) -> bytes:
    pictures = [Image.new("RGB", (20, 20), (number * 60, 9, 9)) for number in range(4)]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:])


def annotated_jpeg() -> bytes:
    parts = (
        segment(0xE1, b"Exif\0\0" + exif_bytes(6)),
        segment(0xE2, b"ICC_PROFILE\0\1\1abc"),
        segment(0xFE, b"hello"),
    )
    return with_segments(encoded(smooth(40, 30), "JPEG"), *parts)


FILES: dict[str, Callable[[], bytes]] = {
    "jpeg": drawn("JPEG"),
    "jpeg progressive": drawn("JPEG", progressive=True),
    "jpeg grey": drawn("JPEG", "L"),
    "jpeg cmyk": drawn("JPEG", "CMYK"),
    "jpeg restarts": drawn("JPEG", restart_marker_blocks=2),
    "jpeg annotated": annotated_jpeg,
    "png": drawn("PNG"),
    "png alpha": drawn("PNG", "RGBA"),
    "png grey alpha": drawn("PNG", "LA"),
    "png palette": lambda: encoded(smooth(40, 30).quantize(16), transparency=3),
    "png 16 bit": lambda: encoded(Image.fromarray(np.arange(1200, dtype=np.uint16).reshape(30, 40) * 50)),
    "png one bit": drawn("PNG", "1"),
    "png annotated": lambda: png(6, 5, extra=chunk(b"eXIf", exif_bytes(5)) + chunk(b"tEXt", b"a\0b")),
    "png animated": lambda: frames("PNG"),
    "webp": drawn("WEBP"),
    "webp lossless": drawn("WEBP", "RGBA", lossless=True),
    "webp annotated": drawn("WEBP", exif=b"Exif\0\0" + exif_bytes(7), icc_profile=b"profile"),
    "webp animated": lambda: frames("WEBP"),
}


@functools.cache
def file_of(kind: str) -> bytes:
    return FILES[kind]()


@st.composite
def damaged(draw: st.DrawFn) -> bytes:
    """A valid file after one to four accidents."""
    data = bytearray(file_of(draw(st.sampled_from(sorted(FILES)))))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, max(0, len(data) - 1)))
        match draw(st.sampled_from(["bit", "byte", "number", "cut", "drop", "double", "insert", "zero"])):
            case "bit" if data:
                data[at] ^= 1 << draw(st.integers(0, 7))
            case "byte" if data:
                data[at] = draw(st.integers(0, 255))
            case "number":
                number = draw(st.sampled_from([0, 1, 2, 0x7F, 0xFF, 0x7FFF, 0xFFFF, 0x7FFFFFFF, 0xFFFFFFFF]))
                size = 4 if number > 0xFFFF else draw(st.sampled_from([2, 4]))
                data[at : at + size] = number.to_bytes(size, draw(st.sampled_from(["big", "little"])))
            case "cut":
                del data[at:]
            case "drop":
                del data[at : at + draw(st.integers(1, 64))]
            case "double":
                data[at:at] = data[at : at + draw(st.integers(1, 400))] * draw(st.integers(1, 5))
            case "insert":
                data[at:at] = draw(st.binary(min_size=1, max_size=40))
            case "zero":
                data[at : at + 16] = bytes(16)
    return bytes(data)


def assert_one_line(error: ImageError) -> None:
    assert "\n" not in str(error)
    assert str(error).startswith("picture: ")
    assert len(str(error)) < 400


def check(data: bytes, spec: PreprocessSpec) -> None:
    try:
        tensor = preprocess(data, spec, limits=LIMITS).tensor
    except ImageError as error:
        assert_one_line(error)
        return
    assert tensor.shape == spec.input_shape
    assert tensor.dtype == np.float32
    assert ((tensor >= 0) & (tensor <= 255)).all()


@pytest.mark.parametrize("kind", FILES)
def test_undamaged_files_are_read(kind: str) -> None:
    for spec in SPECS:
        assert preprocess(file_of(kind), spec, limits=LIMITS).tensor.shape == spec.input_shape


@given(data=damaged(), spec=st.sampled_from(SPECS))
@settings(max_examples=600, deadline=PATIENCE)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_damaged_files(data: bytes, spec: PreprocessSpec) -> None:
    check(data, spec)


@given(data=damaged())
@settings(max_examples=100, deadline=PATIENCE)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_crops_of_damaged_files(data: bytes) -> None:
    try:
        picture = open_picture(data, limits=LIMITS)
        box = Box(left=0.0, top=0.0, right=picture.width / 2, bottom=picture.height / 3)
        assert preprocess_crop(picture, box, SPECS[0], margin=0.1).tensor.shape == SPECS[0].input_shape
    except ImageError as error:
        assert_one_line(error)


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.filterwarnings("ignore::UserWarning:PIL")
def test_every_truncation(kind: str) -> None:
    data = file_of(kind)
    for length in range(0, len(data), max(1, len(data) // 60)):
        check(data[:length], SPECS[0])


@given(
    head=st.sampled_from([b"", b"\xff\xd8\xff", b"\xff\xd8\xff\xe0", b"\x89PNG\r\n\x1a\n", b"RIFF\x20\0\0\0WEBPVP8 "]),
    data=st.binary(max_size=400),
)
@settings(max_examples=300, deadline=PATIENCE)
def test_random_bytes_are_refused(head: bytes, data: bytes) -> None:
    with pytest.raises(ImageError) as caught:
        preprocess(head + data, SPECS[0], limits=LIMITS)
    assert "\n" not in str(caught.value)


def test_coverage_guided_fuzzing_where_it_is_installed(repository: Path) -> None:
    if importlib.util.find_spec("atheris") is None:
        pytest.skip("atheris is not installed")
    script = str(repository / "tests" / "fuzz" / "fuzz_decode.py")
    done = subprocess.run([sys.executable, script, "-runs=3000"], check=False, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]

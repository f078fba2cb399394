"""Every hostile picture ends in a result or in one line that names it, and in bounded memory."""

from __future__ import annotations

import functools
import json
import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from drawn_pictures import (
    PNG_SIGNATURE,
    chunk,
    encoded,
    extended,
    noise,
    png,
    riff,
    segment,
    smooth,
    with_segments,
)
from PIL import Image

from edge.bundle.manifest import PreprocessSpec
from edge.errors import ImageError
from edge.preprocess import DecodeLimits, preprocess, preprocess_pixels, read_picture

SPEC = PreprocessSpec(width=8, height=8)
HINT = " (make it smaller, or store it as a baseline JPEG)"


def jpeg_of_size(width: int, height: int, **options: object) -> bytes:
    """A JPEG whose header claims another size."""
    data = encoded(smooth(16, 16), "JPEG", **options)
    at = next(data.index(bytes([0xFF, marker])) for marker in (0xC0, 0xC2) if bytes([0xFF, marker]) in data)
    return data[: at + 5] + struct.pack(">HH", height, width) + data[at + 9 :]


def jpeg_of_frame(marker: int, depth: int = 8, factors: int = 0x22) -> bytes:
    data = bytearray(encoded(smooth(16, 16), "JPEG"))
    at = data.index(b"\xff\xc0")
    data[at + 1], data[at + 4], data[at + 11] = marker, depth, factors
    return bytes(data)


def many_scans(count: int) -> bytes:
    """A progressive JPEG whose last scan is repeated."""
    data = encoded(smooth(16, 16), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * count + data[-2:]


def vp8(width: int, height: int) -> bytes:
    return riff((b"VP8 ", bytes(6) + struct.pack("<HH", width, height) + bytes(20)))


def bomb_in_canvas() -> bytes:
    data = bytearray(encoded(Image.new("RGBA", (8, 8), (1, 2, 3, 4)), "WEBP", lossless=True, exif=b"Exif\0\0II*\0"))
    data[24:30] = (16382).to_bytes(3, "little") * 2
    return bytes(data)


def damaged_checksum() -> bytes:
    data = bytearray(encoded(noise(20, 20)))
    data[29] ^= 1
    return bytes(data)


# What is our own to say is compared to the letter; where Pillow's reason ends a line, "…" stands for it.
REFUSED: dict[str, tuple[Callable[[], bytes], str]] = {
    "empty": (lambda: b"", "the file is empty"),
    "text with a wrong suffix": (lambda: b"hello, this is text", "not a JPEG, PNG or WebP picture"),
    "gif": (lambda: b"GIF89a\1\0\1\0\0\0\0;", "not a JPEG, PNG or WebP picture"),
    "riff that is no webp": (lambda: b"RIFF\4\0\0\0WAVEfmt ", "not a JPEG, PNG or WebP picture"),
    "truncated jpeg": (lambda: encoded(noise(64, 64), "JPEG")[:3000], "damaged or truncated picture: …"),
    "truncated png": (lambda: encoded(noise(64, 64))[:-60], "damaged or truncated picture: …"),
    "truncated webp": (lambda: encoded(noise(64, 64), "WEBP")[:900], "damaged picture: …"),
    "jpeg signature alone": (lambda: b"\xff\xd8\xff\xe0", "damaged picture: a segment is longer than the file"),
    "jpeg cut in its header": (
        lambda: encoded(smooth(16, 16), "JPEG")[:20],
        "damaged picture: it ends before its first scan",
    ),
    "png signature alone": (lambda: PNG_SIGNATURE, "damaged picture: it does not begin with its header"),
    "webp signature alone": (lambda: b"RIFF\4\0\0\0WEBP", "damaged picture: it does not begin with its header"),
    "png bomb": (lambda: png(60_000, 60_000), "60000x60000 pixels, at most 64000000 in all are decoded"),
    "jpeg bomb": (lambda: jpeg_of_size(65_500, 65_500), "65500x65500 pixels, at most 64000000 in all are decoded"),
    "webp bomb": (bomb_in_canvas, "16383x16383 pixels, at most 64000000 in all are decoded"),
    "50-megapixel png": (
        lambda: png(8192, 6144),
        f"a PNG of 8192x6144 pixels takes 202 MB to decode, at most 196 MB are used{HINT}",
    ),
    "50-megapixel png with alpha": (
        lambda: png(8192, 6144, colour=6),
        f"a PNG of 8192x6144 pixels takes 403 MB to decode, at most 196 MB are used{HINT}",
    ),
    "50-megapixel webp": (
        lambda: vp8(8192, 6144),
        f"a WebP of 8192x6144 pixels takes 806 MB to decode, at most 196 MB are used{HINT}",
    ),
    "50-megapixel progressive jpeg": (
        lambda: jpeg_of_size(8192, 6144, progressive=True, subsampling=0),
        f"a JPEG of 8192x6144 pixels takes 306 MB to decode, at most 196 MB are used{HINT}",
    ),
    "one by a million": (lambda: png(1, 1_000_000), "1x1000000 pixels, no side may be longer than 65535"),
    "a million by one": (lambda: png(1_000_000, 1), "1000000x1 pixels, no side may be longer than 65535"),
    "zero-sized png": (lambda: png(0, 5, data=b"\0"), "0x5 pixels: there is nothing to see"),
    "zero-sized jpeg": (lambda: jpeg_of_size(16, 0), "16x0 pixels: there is nothing to see"),
    "zero-sized webp": (lambda: vp8(0, 16), "0x16 pixels: there is nothing to see"),
    "jpeg with two frames": (
        lambda: with_segments(encoded(smooth(16, 16), "JPEG"), segment(0xC0, bytes(15))),
        "damaged picture: 2 frame headers instead of one",
    ),
    "lossless jpeg": (lambda: jpeg_of_frame(0xC3), "damaged picture: a frame header of an unknown kind"),
    "jpeg with impossible sampling": (
        lambda: jpeg_of_frame(0xC0, factors=0),
        "damaged picture: a frame header with impossible sampling factors",
    ),
    "12-bit jpeg": (lambda: jpeg_of_frame(0xC1, depth=12), "damaged picture: …"),
    "jpeg of 40 more scans": (lambda: many_scans(40), "damaged picture: more than 40 scans"),
    "jpeg of 4001 segments": (
        lambda: with_segments(encoded(smooth(16, 16), "JPEG"), segment(0xE1, b"Exif\0\0x") * 4001),
        "damaged picture: more than 4000 segments before the first scan",
    ),
    "png of 100,001 chunks": (
        lambda: png(4, 4, extra=chunk(b"tEXt", b"a\0b") * 100_001),
        "damaged picture: more than 100000 chunks",
    ),
    "webp of 10,001 frames": (
        lambda: riff(extended(16, 16, 2), (b"ANIM", bytes(6)), *[(b"ANMF", bytes(16))] * 10_001),
        "damaged picture: more than 10000 chunks",
    ),
    "png with a damaged checksum": (damaged_checksum, "damaged picture: …"),
    "png without pixels": (lambda: png(4, 4)[:33] + chunk(b"IEND", b""), "damaged or truncated picture: …"),
    "webp whose canvas is not its picture": (
        lambda: riff(extended(99, 99), (b"VP8L", encoded(smooth(8, 8), "WEBP", lossless=True)[20:])),
        "damaged picture: …",
    ),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_refused_in_one_line_that_names_the_file(kind: str, tmp_path: Path) -> None:
    make, expected = REFUSED[kind]
    data = make()
    path = tmp_path / "holiday.jpg"
    path.write_bytes(data)
    for image, name in ((path, str(path)), (str(path), str(path)), (data, "picture")):
        with pytest.raises(ImageError) as caught:
            preprocess(image, SPEC)
        message = str(caught.value)
        assert "\n" not in message
        if expected.endswith("…"):
            assert message.startswith(f"{name}: {expected[:-1]}")
            assert len(message) > len(f"{name}: {expected[:-1]}")
        else:
            assert message == f"{name}: {expected}"


def plain(image: Image.Image, kind: str = "PNG", **options: object) -> Callable[[], bytes]:
    return lambda: encoded(image, kind, **options)


def frames(kind: str, count: int = 2, **options: object) -> bytes:
    colours = [(255, 0, 0), (0, 255, 0), (0, 0, 255)]
    pictures = [Image.new("RGB", (16, 16), colours[number % 3]) for number in range(count)]
    return encoded(pictures[0], kind, save_all=True, append_images=pictures[1:], **options)


def ycck() -> bytes:
    """An Adobe CMYK file of no ink at all, its first three channels stored as YCbCr."""
    data = bytearray(encoded(Image.new("CMYK", (16, 16), (255, 255, 255, 255)), "JPEG"))
    data[data.index(b"Adobe") + 11] = 2
    return bytes(data)


def sixteen_bit_colour() -> bytes:
    return png(4, 4, depth=16, data=(b"\0" + bytes([200, 1, 100, 2, 50, 3]) * 4) * 4)


# What is shown: one colour all over, or None where only the shape counts.
SHOWN: dict[str, tuple[Callable[[], bytes], tuple[int, int, int] | None]] = {
    "png with a wrong suffix": (plain(Image.new("RGB", (9, 9), (1, 2, 3))), (1, 2, 3)),
    "16-bit grey": (plain(Image.fromarray(np.full((9, 9), 0x80FF, np.uint16))), (128, 128, 128)),
    "16-bit colour": (sixteen_bit_colour, (200, 100, 50)),
    "cmyk": (plain(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), (255, 0, 0)),
    "ycck": (ycck, None),
    "animated webp": (lambda: frames("WEBP", lossless=True), (255, 0, 0)),
    "animated png": (lambda: frames("PNG"), (255, 0, 0)),
    "one bit": (plain(Image.new("1", (9, 9), 1)), (255, 255, 255)),
    "one pixel": (plain(Image.new("RGB", (1, 1), (7, 8, 9))), (7, 8, 9)),
    "65,535 by one": (lambda: png(65_535, 1), (0, 0, 0)),
    "one by 65,535": (lambda: png(1, 65_535), (0, 0, 0)),
    "50-megapixel jpeg": (plain(Image.new("L", (8192, 6144), 77), "JPEG"), (77, 77, 77)),
    "junk after the picture": (lambda: encoded(Image.new("RGB", (9, 9), (1, 2, 3))) + b"x" * 999, (1, 2, 3)),
    "jpeg with junk between its segments": (
        lambda: with_segments(encoded(Image.new("L", (16, 16), 9), "JPEG"), segment(0xFE, b"c"), b"junk\xff\0\xff\xff"),
        (9, 9, 9),
    ),
    "jpeg of 40 scans": (lambda: many_scans(30), None),
    "png with a text bomb": (
        lambda: png(4, 4, extra=chunk(b"zTXt", b"a\0\0" + zlib.compress(bytes(50_000_000))) * 20),
        (0, 0, 0),
    ),
    "png with an exif bomb": (
        lambda: png(4, 4, extra=chunk(b"zTXt", b"Raw profile type exif\0\0" + zlib.compress(b"\n" * 50_000_000)) * 9),
        (0, 0, 0),
    ),
    "png with a profile bomb": (
        lambda: png(4, 4, extra=chunk(b"iCCP", b"a\0\0" + zlib.compress(bytes(50_000_000))) * 20),
        (0, 0, 0),
    ),
    "jpeg with 40 MB of exif": (
        lambda: with_segments(
            encoded(Image.new("L", (16, 16), 9), "JPEG"), *[segment(0xE1, b"Exif\0\0" + bytes(65_000))] * 600
        ),
        (9, 9, 9),
    ),
    "jpeg with 40 MB of profile": (
        lambda: with_segments(
            encoded(Image.new("L", (16, 16), 9), "JPEG"), *[segment(0xE2, b"ICC_PROFILE\0\1\1" + bytes(65_000))] * 600
        ),
        (9, 9, 9),
    ),
    "jpeg with 40 MB of padding": (
        lambda: with_segments(encoded(Image.new("L", (16, 16), 9), "JPEG"), b"\xff" * 40_000_000 + b"\0"),
        (9, 9, 9),
    ),
    "png with 2,000 frames": (lambda: frames("PNG", 2000), (255, 0, 0)),
    "webp with 2,000 frames": (lambda: frames("WEBP", 2000, lossless=True, method=0), (255, 0, 0)),
}


@pytest.mark.parametrize("kind", SHOWN)
def test_shown_as_it_is(kind: str, tmp_path: Path) -> None:
    make, colour = SHOWN[kind]
    path = tmp_path / "holiday.jpg"
    path.write_bytes(make())
    pixels, _ = preprocess_pixels(path, SPEC)
    assert pixels.shape == (8, 8, 3)
    if colour is not None:
        assert (pixels == colour).all()


_PEAK = """
import json, sys
from pathlib import Path
import numpy
from edge.bundle.manifest import PreprocessSpec
from edge.errors import ImageError
from edge.preprocess import preprocess

def peak():
    return next(int(l.split()[1]) for l in Path("/proc/self/status").read_text().splitlines() if "VmHWM" in l) * 1024

def run(path):
    Path("/proc/self/clear_refs").write_text("5")
    before = peak()
    try:
        preprocess(path, PreprocessSpec(width=8, height=8))
    except ImageError:
        pass
    return peak() - before

for path in sys.argv[1:]:
    preprocess(path, PreprocessSpec(width=8, height=8)) if path.endswith("warm") else None
print(json.dumps({path: run(path) for path in sys.argv[1:]}))
"""


@functools.cache
def _can_reset_peak() -> bool:
    return os.access("/proc/self/clear_refs", os.W_OK)


@pytest.mark.skipif(not _can_reset_peak(), reason="the peak of memory can be reset on Linux alone")
def test_memory_stays_bounded(tmp_path: Path) -> None:
    """No hostile picture takes more than the limit, its own bytes, and the small change of an interpreter."""
    (tmp_path / "warm").write_bytes(encoded(smooth(9, 9), "WEBP"))
    makers = {
        **{kind: make for kind, (make, _) in SHOWN.items()},
        **{kind: make for kind, (make, _) in REFUSED.items()},
    }
    makers["49-megapixel png"] = lambda: png(8000, 6120)
    makers["12-megapixel webp"] = lambda: encoded(Image.new("RGB", (4032, 3024)), "WEBP", method=0)
    for kind, make in makers.items():
        (tmp_path / kind.replace("/", " ")).write_bytes(make())
    paths = sorted(str(path) for path in tmp_path.iterdir())
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2])}
    command = [sys.executable, "-c", _PEAK, *paths]
    done = subprocess.run(command, check=True, capture_output=True, text=True, timeout=300, env=environment)
    for path, size in json.loads(done.stdout).items():
        least = Path(path).stat().st_size
        limit = DecodeLimits().max_decoded_bytes if "megapixel" in path else 24_000_000
        assert size <= limit + 2 * least + 8_000_000, f"{Path(path).name}: {size / 1e6:.0f} MB for {least / 1e6:.1f} MB"


def test_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(ImageError, match=r"missing\.png: cannot be read: no such file or directory$"):
        preprocess(tmp_path / "missing.png", SPEC)
    with pytest.raises(ImageError, match=r"is a directory|not a regular file"):
        preprocess(tmp_path, SPEC)
    os.mkfifo(tmp_path / "pipe.png")
    with pytest.raises(ImageError, match=r"pipe\.png: not a regular file$"):
        preprocess(tmp_path / "pipe.png", SPEC)
    with pytest.raises(ImageError, match=r"cannot be read: embedded null byte$"):
        preprocess("a\0b.png", SPEC)


def test_file_above_the_byte_limit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "big.png"
    path.write_bytes(b"x" * 101)
    with pytest.raises(ImageError, match=r"big\.png: larger than 100 bytes$"):
        read_picture(path, limits=DecodeLimits(max_bytes=100))
    assert read_picture(path, limits=DecodeLimits(max_bytes=101)) == b"x" * 101


def test_webp_header_sizes_are_limited_before_decoding() -> None:
    limits = DecodeLimits(max_pixels=63)
    for options in ({"lossless": True}, {"lossless": False}, {"lossless": True, "exif": b"Exif\0\0II*\0"}):
        data = encoded(Image.new("RGB", (8, 8)), "WEBP", **options)
        with pytest.raises(ImageError, match=r"^picture: 8x8 pixels"):
            preprocess(data, SPEC, limits=limits)
        assert preprocess(data, SPEC, limits=DecodeLimits(max_pixels=64)).tensor.shape == (1, 8, 8, 3)


@pytest.mark.parametrize(
    ("array", "expected"),
    [
        (np.zeros((0, 5, 3), np.uint8), "5x0 pixels: there is nothing to see"),
        (np.zeros((5, 0), np.uint8), "0x5 pixels: there is nothing to see"),
        (np.zeros((5, 5, 3), np.float32), "expected an array of uint8 (H, W, 3) or (H, W), found float32 (5, 5, 3)"),
        (np.zeros((5, 5, 4), np.uint8), "expected an array of uint8 (H, W, 3) or (H, W), found uint8 (5, 5, 4)"),
        (np.zeros((2, 5, 5, 3), np.uint8), "expected an array of uint8 (H, W, 3) or (H, W), found uint8 (2, 5, 5, 3)"),
        (bytearray(b"x"), "expected bytes, a path or a uint8 array, found bytearray"),
        (None, "expected bytes, a path or a uint8 array, found NoneType"),
    ],
)
def test_bad_array_is_refused(array: object, expected: str) -> None:
    with pytest.raises(ImageError) as caught:
        preprocess(array, SPEC, name="frame 3")
    assert str(caught.value) == f"frame 3: {expected}"


def test_array_above_the_pixel_limit_is_refused() -> None:
    with pytest.raises(ImageError, match=r"3x3 pixels, at most 8 in all are decoded$"):
        preprocess(np.zeros((3, 3, 3), np.uint8), SPEC, limits=DecodeLimits(max_pixels=8))

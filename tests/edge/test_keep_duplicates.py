from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageDraw, ImageEnhance

from edge.errors import ImageError
from edge.keep.duplicates import NUM_BITS, SIDE, distance, hash_of, is_near, picture_hash

HASHES = st.integers(0, 2**NUM_BITS - 1)


def scene(seed: int, *, shift: int = 0, size: tuple[int, int] = (320, 240)) -> Image.Image:
    """A seeded picture of coloured shapes, moved to the right by some pixels of 320."""
    rng = random.Random(seed)
    picture = Image.new("RGB", (320, 240), tuple(rng.randrange(256) for _ in range(3)))
    draw = ImageDraw.Draw(picture)
    for _ in range(12):
        left, top = rng.randrange(-40, 300) + shift, rng.randrange(-40, 220)
        box = (left, top, left + rng.randrange(20, 150), top + rng.randrange(20, 120))
        draw.ellipse(box, fill=tuple(rng.randrange(256) for _ in range(3)))
    return picture.resize(size, Image.Resampling.BILINEAR)


def encoded(picture: Image.Image, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    picture.save(file, kind, **options)
    return file.getvalue()


@pytest.mark.parametrize("seed", range(8))
def test_the_same_scene_stays_near(seed: int) -> None:
    original = picture_hash(encoded(scene(seed), "PNG"))
    versions = {
        "jpeg": encoded(scene(seed), quality=50),
        "webp": encoded(scene(seed), "WEBP", quality=60),
        "larger": encoded(scene(seed, size=(1920, 1440))),
        "brighter": encoded(ImageEnhance.Brightness(scene(seed)).enhance(1.1)),
        "moved": encoded(scene(seed, shift=2)),
    }
    found = {name: distance(original, picture_hash(data)) for name, data in versions.items()}
    assert max(found.values()) <= 6, found


def test_other_scenes_are_far() -> None:
    hashes = [picture_hash(encoded(scene(seed))) for seed in range(40)]
    distances = [distance(one, other) for place, one in enumerate(hashes) for other in hashes[place + 1 :]]
    assert min(distances) > 8
    assert 26 <= np.mean(distances) <= 36


def test_arrays_and_files_hash_alike(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    path.write_bytes(encoded(scene(3), "PNG"))
    assert picture_hash(path) == picture_hash(np.asarray(scene(3))) == picture_hash(path.read_bytes())


def test_it_is_the_upright_picture_that_counts() -> None:
    turned = scene(5).transpose(Image.Transpose.ROTATE_90)
    exif = Image.Exif()
    exif[0x0112] = 6
    upright = picture_hash(encoded(scene(5), "PNG"))
    assert distance(picture_hash(encoded(turned, "PNG", exif=exif)), upright) <= 2
    assert distance(picture_hash(encoded(turned, "PNG")), upright) > 8


@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_a_blank_picture_has_one_hash(level: int) -> None:
    pixels = np.full((SIDE, SIDE, 3), level, dtype=np.uint8)
    assert hash_of(pixels) in (0, 1 << (NUM_BITS - 1))


def test_the_bits_are_those_of_a_float_transform() -> None:
    scipy_fft = pytest.importorskip("scipy.fft")
    rng = np.random.default_rng(0)
    apart = 0
    for _ in range(20):
        pixels = rng.integers(0, 256, (SIDE, SIDE, 3), dtype=np.uint8)
        grey = pixels.astype(np.float64) @ np.array([299, 587, 114])
        low = scipy_fft.dctn(grey, type=2)[:8, :8].reshape(-1)
        expected = "".join("1" if value > np.median(low[1:]) else "0" for value in low)
        apart += distance(hash_of(pixels), int(expected, 2))
    assert apart <= 2  # of 1,280: a wave rounded to 1/16384 may cross the median


def test_a_known_picture_keeps_its_hash() -> None:
    rows, columns = np.mgrid[0:SIDE, 0:SIDE]
    pixels = np.stack([rows * 8, columns * 8, (rows * columns) % 256], axis=-1).astype(np.uint8)
    assert f"{hash_of(pixels):016x}" == "803e79676c595235"


def test_a_hostile_picture_is_named() -> None:
    with pytest.raises(ImageError, match="picture"):
        picture_hash(b"\xff\xd8\xff\xe0 no picture")


@given(one=HASHES, other=HASHES, third=HASHES)
def test_distance_is_a_metric(one: int, other: int, third: int) -> None:
    assert distance(one, other) == distance(other, one)
    assert distance(one, one) == 0
    assert 0 <= distance(one, other) <= NUM_BITS
    assert distance(one, third) <= distance(one, other) + distance(other, third)


@given(one=HASHES, other=HASHES, bits=st.integers(-1, NUM_BITS))
def test_nearness_is_symmetric(one: int, other: int, bits: int) -> None:
    assert is_near(one, [other], max_bits=bits) == is_near(other, [one], max_bits=bits)
    assert is_near(one, [other, one], max_bits=bits) == (bits >= 0)
    assert not is_near(one, [], max_bits=bits)


@pytest.mark.data
def test_real_photos(data_root: Path) -> None:
    """Another encoding of a photo is near it, another photo is not."""
    hashes = []
    for path in sorted((data_root / "models" / "imagenet_samples").glob("*.JPEG")):
        with Image.open(path) as photo:
            half = photo.convert("RGB").resize((photo.width // 2, photo.height // 2))
        hashes.append(picture_hash(path))
        assert distance(hashes[-1], picture_hash(encoded(half, quality=40))) <= 6
    distances = [distance(one, other) for place, one in enumerate(hashes) for other in hashes[place + 1 :]]
    assert min(distances) > 8

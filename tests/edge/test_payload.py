"""What a kept picture becomes."""

from __future__ import annotations

import hashlib
import io

import numpy as np
import pytest
from PIL import Image

from edge.errors import ImageError, UsageError
from edge.image.decode import DecodeLimits
from edge.keep.payload import PayloadOptions, lossless, payload_policy


def noise(height: int, width: int) -> np.ndarray:
    return np.random.default_rng(7).integers(0, 256, (height, width, 3), dtype=np.uint8)


def encoded(pixels: np.ndarray, kind: str = "JPEG", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, kind, **options)
    return file.getvalue()


def opened(data: bytes) -> Image.Image:
    picture = Image.open(io.BytesIO(data))
    picture.load()
    return picture


def with_place(pixels: np.ndarray, orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    exif[0x8825] = {1: "N", 2: (52.0, 31.0, 0.0)}
    return encoded(pixels, exif=exif.tobytes(), quality=95)


def test_a_jpeg_loses_its_place_and_stands_upright() -> None:
    made = opened(payload_policy("jpeg", PayloadOptions(max_side=0))(with_place(noise(40, 80), 6)))
    assert made.size == (40, 80)
    assert not made.getexif()
    assert "exif" not in made.info


@pytest.mark.parametrize(("size", "expected"), [((900, 300), (64, 21)), ((300, 900), (21, 64)), ((60, 40), (60, 40))])
def test_large_pictures_are_reduced_and_small_ones_left(size: tuple[int, int], expected: tuple[int, int]) -> None:
    policy = payload_policy("jpeg", PayloadOptions(max_side=64))
    pixels = noise(size[1], size[0])
    for picture in (pixels, encoded(pixels), encoded(pixels, "PNG")):
        assert opened(policy(picture)).size == expected


def test_the_same_picture_gives_the_same_bytes() -> None:
    data = encoded(noise(50, 50))
    made = {payload_policy("jpeg", PayloadOptions())(data) for _ in range(3)}
    assert len(made) == 1


def test_quality_is_what_was_asked_for() -> None:
    sizes = [len(payload_policy("jpeg", PayloadOptions(quality=quality))(noise(200, 200))) for quality in (30, 60, 90)]
    assert sizes == sorted(sizes)
    assert sizes[2] > 1.5 * sizes[0]


def test_original_changes_nothing_and_pixels_are_lossless() -> None:
    assert payload_policy("original", PayloadOptions()) is None
    pixels = noise(30, 20)
    assert np.array_equal(np.asarray(opened(lossless(pixels))), pixels)
    assert np.array_equal(np.asarray(opened(lossless(pixels[:, :, 0]))), np.repeat(pixels[:, :, :1], 3, axis=2))


def test_what_cannot_be() -> None:
    with pytest.raises(UsageError, match="payload 'webp' is not one of jpeg, original"):
        payload_policy("webp", PayloadOptions())
    for wrong in ({"quality": 0}, {"quality": 96}, {"max_side": 31}, {"max_side": -1}):
        with pytest.raises(ValueError, match="must be"):
            PayloadOptions(**wrong)
    with pytest.raises(ImageError):
        payload_policy("jpeg", PayloadOptions())(b"no picture")
    with pytest.raises(ImageError):
        payload_policy("jpeg", PayloadOptions(limits=DecodeLimits(max_bytes=10**6, max_pixels=100)))(noise(50, 50))


def test_digest_is_of_what_is_kept() -> None:
    from edge.keep.candidate import make_payload
    from edge.types import KeepReason, KeepVerdict

    data = encoded(noise(40, 40), "PNG")
    inference = type("Inference", (), {"picture_digest": hashlib.sha256(data).hexdigest()})()
    verdict = KeepVerdict(keep=True, reason=KeepReason.NOVEL, value=0.5)
    as_it_came = make_payload(data, inference, verdict)
    assert (as_it_came.payload, as_it_came.digest) == (data, inference.picture_digest)
    for picture in (data, noise(40, 40)):
        made = make_payload(picture, inference, verdict, payload=payload_policy("jpeg", PayloadOptions()))
        assert made.digest == hashlib.sha256(made.payload).hexdigest()
        assert made.payload[:2] == b"\xff\xd8"
    pixels = make_payload(noise(8, 8), inference, verdict)
    assert opened(pixels.payload).format == "PNG"

"""Which frames of a still scene are skipped, and which never are."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt
import pytest
from drawn_pictures import encoded, smooth
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from edge.bundle.policy import CapturePolicy
from edge.errors import ImageError
from edge.image.decode import DecodeLimits
from edge.sources.change import ChangeGate, change_score, sketch_of

POLICY = CapturePolicy(change_threshold=8.0, max_still_s=60.0)
Array = npt.NDArray[np.uint8]


def scene(width: int = 640, height: int = 360) -> Array:
    return np.asarray(smooth(width, height)).copy()


def noisy(picture: Array, *, sigma: float, seed: int) -> Array:
    noise = np.random.default_rng(seed).normal(0.0, sigma, picture.shape)
    return np.clip(np.rint(picture + noise), 0, 255).astype(np.uint8)


def with_box(picture: Array, share: float, *, shade: int = 255) -> Array:
    """A square of so great a share of the picture's height, somewhere in it."""
    changed, side = picture.copy(), max(1, round(picture.shape[0] * share))
    top, left = picture.shape[0] // 3, picture.shape[1] // 2
    changed[top : top + side, left : left + side] = shade
    return changed


def answered(policy: CapturePolicy = POLICY, *, first: bytes | Array) -> ChangeGate:
    gate = ChangeGate(policy)
    assert not gate.is_unchanged(first, 0.0)
    gate.answered(0.0)
    return gate


def test_the_score_is_the_greatest_of_the_blocks() -> None:
    black = np.zeros((90, 160, 3), np.uint8)
    grey = black.copy()
    grey[10:20, 30:40] = 40
    grey[80:90, 150:160] = 30
    assert change_score(sketch_of(black), sketch_of(grey)) == 40.0
    grey[10:20, 30:35] = 0
    assert change_score(sketch_of(black), sketch_of(grey)) == 30.0


def test_half_a_block_counts_half() -> None:
    black = np.zeros((900, 1600, 3), np.uint8)
    half = black.copy()
    half[100:200, 300:350] = 100
    assert change_score(sketch_of(black), sketch_of(half)) == 50.0


@given(
    width=st.integers(1, 400),
    height=st.integers(1, 400),
    one=st.integers(0, 255),
    other=st.integers(0, 255),
)
@settings(max_examples=60, deadline=None)
def test_even_pictures_of_any_size_differ_by_their_grey_levels(width: int, height: int, one: int, other: int) -> None:
    first, second = (np.full((height, width, 3), shade, np.uint8) for shade in (one, other))
    assert change_score(sketch_of(first), sketch_of(second)) == abs(one - other)
    assert change_score(sketch_of(first[..., 0]), sketch_of(second)) == abs(one - other)


def test_a_still_scene_is_skipped_and_noise_is_no_change() -> None:
    gate = answered(first=noisy(scene(), sigma=2.0, seed=0))
    assert all(gate.is_unchanged(noisy(scene(), sigma=2.0, seed=seed), 1.0) for seed in range(1, 10))


@pytest.mark.parametrize("share", [0.05, 0.1, 0.5, 1.0])
def test_what_comes_into_view_is_a_change(share: float) -> None:
    gate = answered(first=scene())
    assert not gate.is_unchanged(with_box(scene(), share), 1.0)
    assert gate.is_unchanged(scene(), 2.0)


def test_frames_are_compared_with_the_one_answered_last_so_that_slow_drift_shows() -> None:
    gate = answered(first=np.full((90, 160, 3), 100, np.uint8))
    steps = [gate.is_unchanged(np.full((90, 160, 3), 100 + step, np.uint8), 1.0) for step in range(1, 12)]
    assert steps == [True] * 7 + [False] * 4
    gate.answered(1.0)
    assert gate.is_unchanged(np.full((90, 160, 3), 111, np.uint8), 2.0)
    assert not gate.is_unchanged(np.full((90, 160, 3), 100, np.uint8), 2.0)


def test_a_frame_that_was_not_answered_is_no_measure() -> None:
    gate = answered(first=scene())
    changed = with_box(scene(), 0.5)
    assert [gate.is_unchanged(changed, 1.0) for _ in range(3)] == [False] * 3


def test_a_still_scene_is_answered_again_after_a_while() -> None:
    gate = answered(first=scene())
    assert gate.is_unchanged(scene(), 59.9)
    assert not gate.is_unchanged(scene(), 60.0)
    gate.answered(60.0)
    assert gate.is_unchanged(scene(), 119.9)
    assert not gate.is_unchanged(scene(), 120.0)


def test_another_size_is_a_change() -> None:
    gate = answered(first=scene(640, 360))
    assert not gate.is_unchanged(scene(320, 180), 1.0)
    assert not gate.is_unchanged(scene(360, 640), 1.0)


def test_a_threshold_of_zero_skips_nothing_and_looks_at_nothing() -> None:
    gate = ChangeGate(CapturePolicy())
    for now in range(3):
        assert not gate.is_unchanged(b"never looked at", float(now))
        gate.answered(float(now))


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_encoded_pictures(kind: str) -> None:
    def picture(array: Array) -> bytes:
        return encoded(Image.fromarray(array), kind)

    gate = answered(first=picture(scene(1600, 900)))
    assert gate.is_unchanged(picture(noisy(scene(1600, 900), sigma=2.0, seed=3)), 1.0)
    assert not gate.is_unchanged(picture(with_box(scene(1600, 900), 0.1)), 1.0)


@pytest.mark.parametrize("data", [b"", b"no picture", encoded(smooth(64, 48), "JPEG")[:300]])
def test_what_is_no_picture_counts_as_changed_and_so_does_the_next(data: bytes) -> None:
    gate = answered(first=scene())
    assert not gate.is_unchanged(data, 1.0)
    assert gate.is_unchanged(scene(), 1.0)
    assert not gate.is_unchanged(data, 2.0)
    gate.answered(2.0)
    assert not gate.is_unchanged(scene(), 3.0)


def test_limits_hold_here_too() -> None:
    picture = encoded(smooth(64, 48))
    with pytest.raises(ImageError):
        sketch_of(picture, limits=DecodeLimits(max_bytes=10))
    gate = ChangeGate(POLICY, limits=DecodeLimits(max_bytes=10))
    assert not gate.is_unchanged(picture, 0.0)


def test_a_sketch_is_small_and_keeps_nothing_of_the_frame() -> None:
    sketch = sketch_of(scene(1920, 1080))
    assert sketch.samples.shape == (90, 160)
    assert sketch.samples.dtype == np.int16
    assert sketch.samples.base is None
    assert math.prod(sketch.samples.shape) * 2 < 30_000

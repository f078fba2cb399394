"""The pure parts of training: augmentation, temperature, class weights, splits in memory."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path

import numpy as np
import pytest
import tiny_training
import torch

from cloud_train.training.augment import augment
from cloud_train.training.data import class_weights, load_split
from cloud_train.training.fitting import memory_layout
from cloud_train.training.temperature import HIGHEST, LOWEST, fit_temperature
from cloud_train.training.weights import start_from
from cloud_train.types import Split
from edge.bundle.manifest import PreprocessSpec
from edge.postprocess.classify import softmax
from edge.preprocess import preprocess_pixels
from model_zoo.common.heads import build_classifier
from model_zoo.types import AugmentRecipe

NOTHING = AugmentRecipe(flip=False, rotate_deg=0, shift=0, scale=0, brightness=0, contrast=0, saturation=0, noise=0)


def _pictures(num: int = 4, height: int = 24, width: int = 32) -> torch.Tensor:
    return torch.rand(num, 3, height, width, generator=torch.Generator().manual_seed(3)) * 255


def _augment(pictures: torch.Tensor, seed: int = 1, **changes: float) -> torch.Tensor:
    return augment(pictures, dataclasses.replace(NOTHING, **changes), torch.Generator().manual_seed(seed))


def test_no_change_changes_nothing() -> None:
    assert torch.allclose(_augment(_pictures()), _pictures(), atol=0.01)


def test_the_generator_decides_all_of_it() -> None:
    everything = AugmentRecipe(flip=True, noise=5)
    one, same = (augment(_pictures(), everything, torch.Generator().manual_seed(1)) for _ in range(2))
    torch.manual_seed(99)
    other = augment(_pictures(), everything, torch.Generator().manual_seed(2))
    assert torch.equal(one, same)
    assert not torch.allclose(one, other, atol=1)


def test_the_input_stays_and_the_range_holds() -> None:
    pictures = _pictures()
    changed = _augment(pictures, brightness=0.9, contrast=0.9, noise=80)
    assert torch.equal(pictures, _pictures())
    assert changed.min() == 0
    assert changed.max() == 255


def test_about_half_are_mirrored_and_exactly() -> None:
    pictures = _pictures(64)
    changed = _augment(pictures, flip=True)
    mirrored = [torch.allclose(one, before.flip(-1), atol=0.01) for one, before in zip(changed, pictures, strict=True)]
    kept = [torch.allclose(one, before, atol=0.01) for one, before in zip(changed, pictures, strict=True)]
    assert all(one != other for one, other in zip(mirrored, kept, strict=True))
    assert 16 < sum(mirrored) < 48


def test_a_turn_keeps_shapes_in_pictures_that_are_not_square() -> None:
    # A disc stays a disc only when the turn accounts for the sides' lengths.
    y, x = torch.meshgrid(torch.arange(24.0) - 11.5, torch.arange(48.0) - 23.5, indexing="ij")
    disc = ((x**2 + y**2).sqrt() < 8).float() * 255
    pictures = disc.expand(8, 3, 24, 48).contiguous()
    turned = _augment(pictures, rotate_deg=90)
    # Beyond the middle, the edges mirror the disc into view.
    assert (turned - pictures)[..., 14:34].abs().mean() < 8
    assert (turned - pictures)[..., 14:34].abs().max() > 20


@pytest.mark.parametrize("name", ["brightness", "contrast", "saturation", "noise", "shift", "scale", "rotate_deg"])
def test_each_field_does_something(name: str) -> None:
    assert not torch.allclose(_augment(_pictures(), **{name: 0.4}), _pictures(), atol=0.01)


def test_saturation_keeps_the_grey_value() -> None:
    weights = torch.tensor([0.299, 0.587, 0.114]).view(1, 3, 1, 1)
    pictures = _pictures() * 0.4 + 70  # far enough from both ends that nothing is cut off
    grey = (_augment(pictures, saturation=0.3) * weights).sum(dim=1)
    assert torch.allclose(grey, (pictures * weights).sum(dim=1), atol=0.05)


@pytest.mark.parametrize("factor", [0.5, 0.8, 1.0, 2.5])
def test_the_temperature_that_spoiled_the_logits_is_found(factor: float) -> None:
    rng = np.random.default_rng(0)
    logits = rng.normal(size=(20000, 5)) * 2
    chances = softmax(logits.astype(np.float32), 1.0)
    labels = (chances.cumsum(axis=1) < rng.random((20000, 1))).sum(axis=1).clip(max=4)
    assert fit_temperature((logits * factor).astype(np.float32), labels) == pytest.approx(factor, rel=0.06)


def test_the_temperature_stays_within_bounds() -> None:
    logits = np.eye(4, dtype=np.float32) * 6
    assert fit_temperature(logits, np.arange(4)) == pytest.approx(LOWEST, rel=0.01)
    assert fit_temperature(logits * 50, np.roll(np.arange(4), 1)) == pytest.approx(HIGHEST, rel=0.01)


def test_rare_classes_weigh_more_by_the_square_root() -> None:
    labels = torch.tensor([0] * 16 + [1] * 4)
    weights = class_weights(labels, 2)
    assert float(weights[1] / weights[0]) == pytest.approx(2)
    assert float(weights[labels].mean()) == pytest.approx(1)
    assert all(math.isfinite(one) for one in class_weights(labels, 3).tolist())


def test_a_split_holds_what_the_device_would_see(tmp_path: Path) -> None:
    snapshot, blobs = tiny_training.freeze(tiny_training.write_coloured(tmp_path / "data", 6), tmp_path / "store")
    spec = PreprocessSpec(width=20, height=16)
    loaded = load_split(snapshot, Split.TRAIN, blobs, spec)
    items = snapshot.of(Split.TRAIN)
    assert loaded.pixels.shape == (len(items), 3, 16, 20)
    assert loaded.pixels.dtype == torch.uint8
    for row, item in enumerate(items):
        seen, _ = preprocess_pixels(blobs.path(item.digest), spec)
        assert np.array_equal(loaded.pixels[row].permute(1, 2, 0).numpy(), seen)
        assert snapshot.classes[loaded.labels[row]] == item.label


def test_weights_on_an_int8_grid_leave_it_by_less_than_a_step() -> None:
    generator = torch.Generator().manual_seed(1)
    classifier = build_classifier(tiny_training.RECIPE.model, 3)
    state = classifier.network.state_dict()
    name = "layer2.0.conv1.weight"
    gridded = torch.randn(state[name].shape, generator=generator)
    step = (gridded.abs().flatten(1).amax(dim=1) / 127).view(-1, 1, 1, 1)
    state[name] = (gridded / step).round() * step
    start_from(classifier, state, where="test")
    loaded = classifier.network.state_dict()
    moved = (loaded[name] - state[name]).abs()
    assert (moved <= step / 2 * 1.001).all()
    assert moved.mean() == pytest.approx(float((step.expand_as(moved) / 4).mean()), rel=0.1)
    other = "layer2.0.conv2.weight"
    assert torch.equal(loaded[other], state[other])


def test_pointwise_layers_of_few_channels_keep_the_plain_layout() -> None:
    narrow = torch.nn.Sequential(torch.nn.Conv2d(3, 48, 1, stride=2))
    assert memory_layout(narrow) is torch.contiguous_format
    assert memory_layout(torch.nn.Sequential(torch.nn.Conv2d(3, 48, 3))) is torch.channels_last
    assert memory_layout(build_classifier(tiny_training.RECIPE.model, 3)) is torch.channels_last

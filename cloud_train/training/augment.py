"""Random changes of a whole batch of pictures at once. Pure: everything random comes from the generator."""

from __future__ import annotations

import math

import torch
from torch.nn import functional

from model_zoo.types import AugmentRecipe

_GREY = (0.299, 0.587, 0.114)


def augment(pictures: torch.Tensor, recipe: AugmentRecipe, generator: torch.Generator) -> torch.Tensor:
    """Changes each picture in its own way.

    Args:
        pictures: float32 (N, 3, H, W), RGB, 0 to 255.
        recipe: How much.
        generator: Of every draw.

    Returns:
        A new tensor of the same shape and range.
    """
    moved = _move(pictures, recipe, generator)
    return _recolour(moved, recipe, generator).clamp(0, 255)


def _spread(num: int, greatest: float, generator: torch.Generator) -> torch.Tensor:
    """Evenly spread in [-greatest, greatest], float32 (num,)."""
    return (torch.rand(num, generator=generator) * 2 - 1) * greatest


def _move(pictures: torch.Tensor, recipe: AugmentRecipe, generator: torch.Generator) -> torch.Tensor:
    """Mirror, turn, zoom and shift by one resampling; the edge is mirrored outwards."""
    num, _, height, width = pictures.shape
    angle = _spread(num, math.radians(recipe.rotate_deg), generator)
    zoom = 1 / (1 + _spread(num, recipe.scale, generator))
    shift_x, shift_y = (_spread(num, 2 * recipe.shift, generator) for _ in range(2))
    mirror = torch.where(torch.rand(num, generator=generator) < 0.5, -1.0, 1.0) if recipe.flip else torch.ones(num)
    cosine, sine = torch.cos(angle) * zoom, torch.sin(angle) * zoom
    # Coordinates run from -1 to 1 on both sides, so a turn must undo the aspect ratio.
    across = torch.stack((cosine * mirror, -sine * height / width, shift_x), dim=1)
    down = torch.stack((sine * mirror * width / height, cosine, shift_y), dim=1)
    grid = functional.affine_grid(torch.stack((across, down), dim=1), list(pictures.shape), align_corners=False)
    return functional.grid_sample(pictures, grid, padding_mode="reflection", align_corners=False)


def _recolour(pictures: torch.Tensor, recipe: AugmentRecipe, generator: torch.Generator) -> torch.Tensor:
    num, _, height, width = pictures.shape
    gain, contrast, saturation = (
        1 + _spread(num, greatest, generator).view(num, 1, 1, 1)
        for greatest in (recipe.brightness, recipe.contrast, recipe.saturation)
    )
    grey = (pictures * pictures.new_tensor(_GREY).view(1, 3, 1, 1)).sum(dim=1, keepdim=True)
    middle = grey.mean(dim=(2, 3), keepdim=True)
    coloured = grey + (pictures - grey) * saturation
    lit = (middle + (coloured - middle) * contrast) * gain
    if recipe.noise == 0:
        return lit
    return lit + torch.randn(num, 1, height, width, generator=generator) * recipe.noise

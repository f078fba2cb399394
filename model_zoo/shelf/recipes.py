"""How the shelf network is trained."""

from __future__ import annotations

from model_zoo.shelf.model import shelf_model
from model_zoo.types import AugmentRecipe, TrainRecipe


def shelf_recipe() -> TrainRecipe:
    """From scratch, in about a minute on two cores; printed words forbid mirroring."""
    return TrainRecipe(
        name="shelf",
        model=shelf_model(),
        augment=AugmentRecipe(
            rotate_deg=12, shift=0.1, scale=0.15, brightness=0.25, contrast=0.25, saturation=0.3, noise=4
        ),
        epochs=24,
        patience=12,
        batch_size=32,
        learning_rate=3e-3,
        weight_decay=0.05,
        label_smoothing=0.0,
    )

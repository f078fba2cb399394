"""How a network that knows ImageNet learns a folder of pictures."""

from __future__ import annotations

from model_zoo.transfer.model import transfer_model
from model_zoo.types import AugmentRecipe, TrainRecipe


def transfer_recipe() -> TrainRecipe:
    """A few passes over all layers with the batch statistics kept; give it `--weights` or `--pretrained`."""
    augment = AugmentRecipe(rotate_deg=20, shift=0.06, scale=0.1, brightness=0.2, contrast=0.2, saturation=0.2, noise=3)
    return TrainRecipe(
        name="transfer",
        model=transfer_model(),
        augment=augment,
        epochs=12,
        patience=6,
        batch_size=16,
        learning_rate=5e-4,
        weight_decay=0.03,
        label_smoothing=0.05,
        freeze_norms=True,
    )

"""The classifier as Lightning trains it."""

from __future__ import annotations

import torch
from torch.nn import functional

from cloud_train.training.data import Batch
from cloud_train.training.lightning_ready import lightning
from edge.errors import EdgeloopError
from model_zoo.types import TrainRecipe

MIN_STEPS = 4
WARM_UP = 0.25  # of the one-cycle schedule


class ClassifierModule(lightning.LightningModule):
    """Cross entropy, AdamW, one cycle of the learning rate (Smith & Topin, 2019).

    Args:
        network: Takes float32 (N, 3, H, W) in 0 to 255, returns logits.
        recipe: Rates and smoothing.
        weights: float32 (classes,), weight of each class in the loss; None weighs all alike.
        freeze_norms: Whether batch normalisation keeps the statistics it has.
    """

    def __init__(
        self, network: torch.nn.Module, recipe: TrainRecipe, weights: torch.Tensor | None, *, freeze_norms: bool = False
    ) -> None:
        super().__init__()
        self.network = network
        self._recipe, self._freeze_norms = recipe, freeze_norms
        self.register_buffer("class_weights", weights, persistent=False)

    def on_train_epoch_start(self) -> None:
        """Few small batches would spoil the statistics of the starting weights: they lag behind the weights."""
        if self._freeze_norms:
            for module in self.network.modules():
                if isinstance(module, torch.nn.BatchNorm2d):
                    module.eval()

    def training_step(self, batch: Batch, batch_idx: int) -> torch.Tensor:
        """Loss of one batch.

        Raises:
            EdgeloopError: The loss is no number any more.
        """
        pictures, labels = batch
        loss = functional.cross_entropy(
            self.network(pictures),
            labels,
            weight=self.get_buffer("class_weights"),
            label_smoothing=self._recipe.label_smoothing,
        )
        if not torch.isfinite(loss):
            raise EdgeloopError(
                f"the loss became {float(loss.detach())} in epoch {self.current_epoch + 1}: the training diverged",
                hint=f"lower the learning rate of recipe {self._recipe.name!r} (now {self._recipe.learning_rate:g})",
            )
        return loss

    def validation_step(self, batch: Batch, batch_idx: int) -> None:
        """Logs `val_loss` and `val_accuracy` (points) of the pass."""
        pictures, labels = batch
        logits = self.network(pictures)
        hits = (logits.argmax(dim=1) == labels).float().mean() * 100
        self.log("val_loss", functional.cross_entropy(logits, labels), batch_size=len(labels))
        self.log("val_accuracy", hits, batch_size=len(labels))

    def configure_optimizers(self) -> dict[str, object]:
        """Norms and biases do not decay."""
        matrices = [weight for weight in self.network.parameters() if weight.requires_grad and weight.ndim > 1]
        others = [weight for weight in self.network.parameters() if weight.requires_grad and weight.ndim <= 1]
        optimizer = torch.optim.AdamW(
            [{"params": matrices, "weight_decay": self._recipe.weight_decay}, {"params": others, "weight_decay": 0.0}],
            lr=self._recipe.learning_rate,
        )
        # The schedule divides by the length of its warm-up less one: a very short run needs a longer share of it.
        steps = max(MIN_STEPS, int(self.trainer.estimated_stepping_batches))
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer,
            max_lr=self._recipe.learning_rate,
            total_steps=steps,
            pct_start=max(WARM_UP, 2 / steps),
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

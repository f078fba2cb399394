"""What happens between epochs: keep the best weights, tell a person how far it is."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

import torch

from cloud_train.training.lightning_ready import Callback, lightning

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

LINES = 6  # about so many for one training, where no bar can be drawn


class KeepBest(Callback):
    """Holds a copy of the weights with the least validation loss; of equal ones the first.

    Attributes:
        epoch: The pass they are of, from 0; -1 before the first.
        loss: Their validation loss.
        accuracy: Their validation accuracy, in points.
        state: The weights.
    """

    def __init__(self) -> None:
        self.epoch = -1
        self.loss = float("inf")
        self.accuracy = 0.0
        self.state: dict[str, torch.Tensor] = {}

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Copies the weights when they are better."""
        loss = float(trainer.callback_metrics["val_loss"])
        if loss < self.loss or not self.state:
            self.epoch, self.loss = trainer.current_epoch, loss
            self.accuracy = float(trainer.callback_metrics["val_accuracy"])
            self.state = {name: tensor.detach().clone() for name, tensor in pl_module.network.state_dict().items()}


class TerminalBar(Callback):
    """A bar on stderr, for a person who watches."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._bar: Progress | None = None
        self._task: TaskID | None = None

    def on_fit_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Draws the bar."""
        from rich.console import Console
        from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._bar.add_task(self._what, total=int(trainer.estimated_stepping_batches), figures="")
        self._bar.start()

    def on_train_batch_end(self, trainer: lightning.Trainer, *_: object) -> None:
        """One step further."""
        if self._bar is not None and self._task is not None:
            self._bar.advance(self._task)

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Shows the figures of the pass."""
        if self._bar is not None and self._task is not None:
            self._bar.update(self._task, figures=_figures(trainer))

    def on_fit_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Takes the bar away."""
        self._stop()

    def on_exception(self, trainer: lightning.Trainer, *_: object) -> None:
        """Takes the bar away."""
        self._stop()

    def _stop(self) -> None:
        if self._bar is not None:
            self._bar.stop()
            self._bar = None


class TerminalLines(Callback):
    """A line on stderr every few epochs, for a log file."""

    def __init__(self, what: str) -> None:
        self._what = what

    def on_validation_end(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """Writes a line when it is time."""
        epochs, done = int(trainer.max_epochs or 0), trainer.current_epoch + 1
        if done % max(1, epochs // LINES) == 0 or done == epochs:
            print(f"{self._what}: epoch {done}/{epochs} {_figures(trainer)}", file=sys.stderr, flush=True)


def _figures(trainer: lightning.Trainer) -> str:
    metrics = trainer.callback_metrics
    return f"val loss {float(metrics['val_loss']):.3f}, accuracy {float(metrics['val_accuracy']):.1f} %"

"""Lightning's trainer, made quiet and reproducible, and leaving the process as it was."""

from __future__ import annotations

import logging
import signal
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import torch

from cloud_train.training.lightning_ready import Callback, EarlyStopping, lightning
from model_zoo.types import TrainRecipe

_LEAST_CHANNELS = 16


@contextmanager
def reproducible(*, seed: int, num_threads: int) -> Iterator[None]:
    """The same work gives the same bits inside this block; torch's global state is put back after it.

    Thread counts hold for the calling thread only, so this belongs where the work is done.

    Args:
        seed: Of torch's global generator.
        num_threads: torch threads; results depend on it.
    """
    threads, strict = torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    filling = torch.utils.deterministic.fill_uninitialized_memory
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        torch.set_num_threads(num_threads)
        torch.use_deterministic_algorithms(True)
        # It would write every new tensor twice, to make reading before writing repeatable; nothing here reads first.
        torch.utils.deterministic.fill_uninitialized_memory = False
        try:
            yield
        finally:
            torch.use_deterministic_algorithms(strict)
            torch.utils.deterministic.fill_uninitialized_memory = filling
            torch.set_num_threads(threads)


def memory_layout(network: torch.nn.Module) -> torch.memory_format:
    """Channels last, in which convolutions train up to twice as fast, where that is safe.

    The backward pass of a pointwise convolution of very few channels in that layout writes beyond its buffers on some
    processors (seen with torch 2.13, 3 and 8 input channels).
    """
    for module in network.modules():
        if (
            isinstance(module, torch.nn.Conv2d)
            and module.kernel_size == (1, 1)
            and module.in_channels < _LEAST_CHANNELS
        ):
            return torch.contiguous_format
    return torch.channels_last


def fit(
    module: lightning.LightningModule,
    data: lightning.LightningDataModule,
    recipe: TrainRecipe,
    callbacks: list[Callback],
) -> int:
    """Trains on the CPU until the recipe's last epoch or until patience ends.

    Nothing is written to disk and no signal handler stays. May be called in any thread.

    Returns:
        Number of passes that were made.

    Raises:
        KeyboardInterrupt: A person stopped it.
    """
    with _quiet_lightning():
        trainer = lightning.Trainer(
            accelerator="cpu",
            devices=1,
            max_epochs=recipe.epochs,
            logger=False,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
            deterministic=True,
            num_sanity_val_steps=0,
            callbacks=[EarlyStopping("val_loss", patience=recipe.patience), *callbacks],
        )
        # Its SIGTERM handler would turn a termination into a success; the default one is right here.
        trainer._signal_connector.register_signal_handlers = lambda: None
        _run(trainer, module, data)
    return int(trainer.current_epoch)


def _run(trainer: lightning.Trainer, module: lightning.LightningModule, data: lightning.LightningDataModule) -> None:
    before = signal.getsignal(signal.SIGINT)
    try:
        trainer.fit(module, datamodule=data)
    except SystemExit as cause:
        # Lightning answers Ctrl-C by ignoring the next one and leaving the process.
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, before)
        raise KeyboardInterrupt from cause


@contextmanager
def _quiet_lightning() -> Iterator[None]:
    """Without advice on workers, loggers and hardware."""
    loggers = [logging.getLogger(name) for name in ("lightning.pytorch", "lightning.fabric")]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", module=r"lightning\.")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)

"""Batch statistics for networks that were never trained: what size, speed and agreement can be told from."""

from __future__ import annotations

import torch


def settle_statistics(network: torch.nn.Module, pictures: torch.Tensor) -> None:
    """Takes batch statistics from pictures, in place, so that no layer of untrained weights vanishes or explodes.

    Args:
        network: Any network; its mode stays as it is.
        pictures: What it takes, for instance float32 (N, 3, H, W) in 0 to 255.
    """
    norms = [module for module in network.modules() if isinstance(module, torch.nn.modules.batchnorm._BatchNorm)]
    before = [(norm.momentum, norm.training) for norm in norms]
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum, norm.training = None, True  # without momentum, every batch counts the same
    with torch.no_grad():
        network(pictures)
    for norm, (momentum, training) in zip(norms, before, strict=True):
        norm.momentum, norm.training = momentum, training

"""Temperature scaling: one number that makes confidences mean what they say (Guo et al., 2017)."""

from __future__ import annotations

import math

import numpy as np
import numpy.typing as npt

LOWEST, HIGHEST = 0.4, 5.0
_STEPS = 60


def fit_temperature(logits: npt.NDArray[np.float32], labels: npt.NDArray[np.int64]) -> float:
    """The temperature with the least negative log likelihood, by golden-section search on its logarithm.

    Args:
        logits: (N, classes).
        labels: (N,), the right classes.

    Returns:
        Between `LOWEST` and `HIGHEST`: a validation split without an error has no least value otherwise.
    """
    scores = logits.astype(np.float64)
    golden = (math.sqrt(5) - 1) / 2
    low, high = math.log(LOWEST), math.log(HIGHEST)
    for _ in range(_STEPS):
        width = golden * (high - low)
        if _negative_log_likelihood(scores, labels, high - width) <= _negative_log_likelihood(
            scores, labels, low + width
        ):
            high = low + width
        else:
            low = high - width
    return round(math.exp((low + high) / 2), 4)


def _negative_log_likelihood(
    scores: npt.NDArray[np.float64], labels: npt.NDArray[np.int64], log_temperature: float
) -> float:
    scaled = scores / math.exp(log_temperature)
    shifted = scaled - scaled.max(axis=1, keepdims=True)
    log_sum = np.log(np.exp(shifted).sum(axis=1))
    return float((log_sum - shifted[np.arange(len(labels)), labels]).mean())

"""Scores of a detector: what is still to be applied to them, and which class of a place is the best."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edge.bundle.manifest import Activation, OutputSpec
from edge.errors import BackendError, BundleError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

# Dequantized scores may end a step outside of 0 to 1; logits that lack their sigmoid are far outside.
_SLACK = 0.05


def sigmoid(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """1 / (1 + exp(-x)), written so that it does not overflow."""
    import numpy as np

    result: npt.NDArray[np.float64] = 0.5 + 0.5 * np.tanh(0.5 * values)
    return result


def best_scores(class_scores: FloatArray, spec: OutputSpec, *, first_class: int = 0) -> FloatArray:
    """Score of the best class of each place, ready for a threshold.

    Sigmoid and softmax keep the order of the classes, so the greatest is found first and only it is transformed.

    Args:
        class_scores: float32 (N, first_class + C), finite.
        spec: Says what is still to be applied, and the temperature that logits are divided by before it.
        first_class: So many columns before the first label are the background's: they share a softmax, and no more.

    Returns:
        float32 (N,), in [0, 1].

    Raises:
        BundleError: Softmax over a single column, which always is 1.
        BackendError: With nothing to be applied, scores are outside of 0 to 1.
    """
    import numpy as np

    best = class_scores[:, first_class:].max(axis=1)
    match spec.activation:
        case Activation.NONE:
            return in_unit_range(best, spec)
        case Activation.SIGMOID:
            return sigmoid(best.astype(np.float64) / spec.temperature).astype(np.float32)
        case Activation.SOFTMAX:
            return _softmax_of(best, class_scores, spec)


def in_unit_range(scores: FloatArray, spec: OutputSpec, *, lowest: float = -_SLACK) -> FloatArray:
    """Scores limited to [0, 1], where they are as good as in it.

    Args:
        scores: Any shape, finite.
        spec: For the message.
        lowest: The least that is accepted; a head that pads its rows may use negative scores for them.

    Raises:
        BackendError: Some are far outside.
    """
    import numpy as np

    if scores.size and not (scores.min() >= lowest and scores.max() <= 1 + _SLACK):
        worst = scores.max() if scores.max() > 1 + _SLACK else scores.min()
        raise BackendError(
            f"output {spec.name!r} holds a score of {worst:.3g}, outside of 0 to 1",
            hint="are they logits? then the manifest needs an activation",
        )
    return np.clip(scores, 0.0, 1.0).astype(np.float32)


def _softmax_of(best: FloatArray, class_scores: FloatArray, spec: OutputSpec) -> FloatArray:
    import numpy as np

    if class_scores.shape[1] < 2:
        raise BundleError(f"output {spec.name!r}: softmax over one class always is 1", hint="use sigmoid")
    scaled = class_scores.astype(np.float64) / spec.temperature
    greatest = scaled.max(axis=1)
    sums = np.exp(scaled - greatest[:, np.newaxis]).sum(axis=1)
    powers = np.exp(best.astype(np.float64) / spec.temperature - greatest)
    shares: FloatArray = (powers / sums).astype(np.float32)
    return shares

"""Logits to classes: softmax with a fitted temperature (Guo et al., On Calibration of Modern Neural Networks, 2017)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge.bundle.manifest import OutputSpec
from edge.errors import BackendError
from edge.types import Classification, ClassScore, RawOutputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray


def softmax(logits: FloatArray, temperature: float) -> npt.NDArray[np.float64]:
    """Calibrated probabilities along the last axis, computed in float64 so that no score is lost.

    Args:
        logits: Any shape; the last axis holds the classes.
        temperature: Above 0; more than 1 makes the answer less sure.
    """
    import numpy as np

    scaled = logits.astype(np.float64) / temperature
    powers = np.exp(scaled - scaled.max(axis=-1, keepdims=True))
    probabilities: npt.NDArray[np.float64] = powers / powers.sum(axis=-1, keepdims=True)
    return probabilities


def classify(outputs: RawOutputs, spec: OutputSpec, labels: Sequence[str], *, top_k: int = 5) -> Classification:
    """Reads one logits output.

    Args:
        outputs: What the network said.
        spec: Which output holds the logits, and their temperature.
        labels: Class names in the order of the logits.
        top_k: How many classes to name, at least 1; equal probabilities keep the labels' order.

    Raises:
        BackendError: The output is missing, has another number of classes, or holds NaN or infinity.
    """
    import numpy as np

    probabilities = softmax(_logits(outputs, spec, len(labels)), spec.temperature)
    order = np.argsort(-probabilities, kind="stable")
    top = tuple(
        ClassScore(label=labels[index], index=int(index), probability=float(probabilities[index]))
        for index in order[: max(1, top_k)]
    )
    margin = float(probabilities[order[0]] - probabilities[order[1]]) if len(labels) > 1 else 1.0
    return Classification(top=top, margin=margin, entropy=_entropy(probabilities))


def _logits(outputs: RawOutputs, spec: OutputSpec, num_labels: int) -> FloatArray:
    import numpy as np

    array = outputs.by_name.get(spec.name)
    if array is None:
        known = ", ".join(outputs.by_name) or "none"
        raise BackendError(f"output {spec.name!r} is missing, the model gives {known}")
    logits = array.reshape(-1)
    if logits.shape[0] != num_labels:
        raise BackendError(f"output {spec.name!r} has {logits.shape[0]} values for {num_labels} labels")
    if not np.isfinite(logits).all():
        raise BackendError(f"output {spec.name!r} holds NaN or infinity")
    return logits


def _entropy(probabilities: npt.NDArray[np.float64]) -> float:
    """Shannon entropy in units of its maximum."""
    if len(probabilities) < 2:
        return 0.0
    positive = probabilities[probabilities > 0]
    entropy = -float((positive * _log(positive)).sum()) / math.log(len(probabilities))
    return min(1.0, max(0.0, entropy))


def _log(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    import numpy as np

    return np.log(values)

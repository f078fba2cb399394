"""Logits or probabilities to classes, of one head or of several.

Softmax with a fitted temperature: Guo et al., On Calibration of Modern Neural Networks, 2017.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge.bundle.manifest import OutputKind, OutputSpec
from edge.errors import BackendError
from edge.types import Attribute, Attributes, Classification, ClassScore, RawOutputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

HEAD_KINDS = (OutputKind.LOGITS, OutputKind.PROBABILITIES)
_ROUNDING = 1e-3


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


def tempered(probabilities: npt.NDArray[np.float64], temperature: float) -> npt.NDArray[np.float64]:
    """Probabilities as another temperature would have made them; those of temperature 1 are left to the bit.

    Args:
        probabilities: float64 (C), not negative, with a positive sum.
        temperature: Above 0; more than 1 makes the answer less sure.
    """
    if temperature == 1.0:
        return probabilities
    powers = (probabilities / probabilities.max()) ** (1.0 / temperature)
    result: npt.NDArray[np.float64] = powers / powers.sum()
    return result


def classify(outputs: RawOutputs, spec: OutputSpec, labels: Sequence[str], *, top_k: int = 5) -> Classification:
    """Reads one output of class scores.

    PROBABILITIES, as imported models give them, are taken as they are. Only where they sum to more than 1.001 are they
    divided by their sum. A sum below 1 is left: what a quantized softmax rounds to zero belongs to the classes that
    lost it, and sharing it out would make the best class surer than the model was (a uint8 MobileNetV2 of 1,001 classes
    gives sums of 0.82 to 0.95).

    Args:
        outputs: What the network said.
        spec: Which output holds the scores, of which kind, and their temperature.
        labels: Class names in the order of the scores.
        top_k: How many classes to name, at least 1; equal probabilities keep the labels' order.

    Raises:
        BackendError: The output is missing, has another number of classes, or holds NaN or infinity; or what shall be
            probabilities is below 0 or above 1, or 0 throughout.
    """
    scores = class_scores(outputs, spec, len(labels))
    if spec.kind is OutputKind.PROBABILITIES:
        return rank(tempered(_probabilities(scores, spec), spec.temperature), labels, top_k=top_k)
    return rank(softmax(scores, spec.temperature), labels, top_k=top_k)


def attributes(
    outputs: RawOutputs, specs: Sequence[OutputSpec], labels: Sequence[str], *, top_k: int = 5
) -> Attributes:
    """Reads every head of a classifier with several; outputs of other kinds are passed over.

    Args:
        outputs: What the network said.
        specs: The stage's outputs. Each head has its own temperature.
        labels: Class names of heads that name none of their own.
        top_k: How many classes to name in each head.

    Raises:
        BackendError: There is no head, or one of them cannot be read as `classify` says.
    """
    heads = tuple(
        Attribute(name=spec.name, classification=classify(outputs, spec, spec.labels or labels, top_k=top_k))
        for spec in specs
        if spec.kind in HEAD_KINDS
    )
    if not heads:
        raise BackendError(
            "no output holds logits or probabilities", hint="give one output of the stage the kind 'logits'"
        )
    return Attributes(heads=heads, confidence=math.prod(head.classification.top[0].probability for head in heads))


def class_scores(outputs: RawOutputs, spec: OutputSpec, num_labels: int) -> FloatArray:
    """The values of one output, one for each label, float32 (num_labels).

    Raises:
        BackendError: The output is missing, has another number of values, or holds NaN or infinity.
    """
    scores = finite_output(outputs, spec.name).reshape(-1)
    if scores.shape[0] != num_labels:
        raise BackendError(f"output {spec.name!r} has {scores.shape[0]} values for {num_labels} labels")
    return scores


def finite_output(outputs: RawOutputs, name: str) -> FloatArray:
    """One output by its name.

    Raises:
        BackendError: It is missing, or holds NaN or infinity.
    """
    import numpy as np

    array = outputs.by_name.get(name)
    if array is None:
        known = ", ".join(outputs.by_name) or "none"
        raise BackendError(f"output {name!r} is missing, the model gives {known}")
    if not np.isfinite(array).all():
        raise BackendError(f"output {name!r} holds NaN or infinity")
    return array


def rank(probabilities: npt.NDArray[np.float64], labels: Sequence[str], *, top_k: int) -> Classification:
    """The answer that probabilities amount to.

    Args:
        probabilities: float64 (C), each in [0, 1], one for each label.
        labels: Class names; at least one.
        top_k: How many classes to name, at least 1; equal probabilities keep the labels' order.
    """
    order = best_first(probabilities, max(2, top_k))
    top = tuple(
        ClassScore(label=labels[index], index=index, probability=float(probabilities[index]))
        for index in order[: max(1, top_k)]
    )
    margin = float(probabilities[order[0]] - probabilities[order[1]]) if len(order) > 1 else 1.0
    return Classification(top=top, margin=margin, entropy=_entropy(probabilities))


def best_first(scores: npt.NDArray[np.floating], count: int) -> list[int]:
    """Positions of the `count` greatest scores, greatest first; equal ones by position, as a stable sort has them.

    Args:
        scores: (N), without NaN.
        count: At least 1; more than N gives N.
    """
    import numpy as np

    if count >= len(scores):
        order: list[int] = np.argsort(-scores, kind="stable").tolist()
        return order
    least = np.partition(scores, len(scores) - count)[len(scores) - count]
    # Every score equal to the least is a candidate, so that ties are broken by position and not by the partition.
    candidates = np.flatnonzero(scores >= least)
    kept: list[int] = candidates[np.argsort(-scores[candidates], kind="stable")[:count]].tolist()
    return kept


def _probabilities(scores: FloatArray, spec: OutputSpec) -> npt.NDArray[np.float64]:
    import numpy as np

    values = scores.astype(np.float64)
    lowest, highest, total = float(values.min()), float(values.max()), float(values.sum())
    if lowest < 0 or highest > 1 + _ROUNDING:
        found = lowest if lowest < 0 else highest
        raise BackendError(
            f"output {spec.name!r} holds {found:g}, probabilities are 0 to 1",
            hint="if these are logits, the output's kind is 'logits'",
        )
    if total <= 0:
        raise BackendError(
            f"output {spec.name!r} gives every class the probability 0",
            hint="the model is broken, or its output is quantized too coarsely for so many classes",
        )
    if total > 1 + _ROUNDING:
        return values / total
    return np.minimum(values, 1.0)


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

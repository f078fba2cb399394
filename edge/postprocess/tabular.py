"""Scores of a classical ensemble to classes: a weighted mean of its members."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge.bundle.manifest import Activation, OutputKind, OutputSpec
from edge.errors import BackendError
from edge.postprocess.classify import class_scores, rank, softmax, tempered
from edge.types import Classification, RawOutputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import FloatArray

    ScoreArray = npt.NDArray[np.float64]

MEMBER_KINDS = (OutputKind.LOGITS, OutputKind.PROBABILITIES, OutputKind.SCORES)


def tabular(
    outputs: RawOutputs, specs: Sequence[OutputSpec], labels: Sequence[str], *, top_k: int = 5
) -> Classification:
    """Reads the members of an ensemble, one output each.

    Each member's scores go through its activation, are divided by their own sum, so that a forest that counts votes
    weighs no more than a model that gives probabilities, and then through its temperature. The answer is their mean
    with the weights of `specs`.

    Args:
        outputs: What the network said.
        specs: The stage's outputs; those that hold no class scores are passed over. LOGITS without an activation go
            through a softmax. The temperature divides what enters a sigmoid or softmax; scores without activation are
            probabilities, and sharpened or flattened as if they came from a softmax.
        labels: Class names in the order of the scores.
        top_k: How many classes to name, at least 1.

    Raises:
        BackendError: There is no member; or one is missing, has another number of classes, holds NaN, infinity or a
            negative score, or sums to nothing.
    """
    import numpy as np

    members = [spec for spec in specs if spec.kind in MEMBER_KINDS]
    if not members:
        raise BackendError(
            "no output holds class scores", hint="give the ensemble's outputs the kind 'probabilities' or 'logits'"
        )
    shares = np.array([spec.weight for spec in members], dtype=np.float64)
    scores = np.stack([_member(class_scores(outputs, spec, len(labels)), spec) for spec in members])
    return rank((shares / shares.sum()) @ scores, labels, top_k=top_k)


def _member(values: FloatArray, spec: OutputSpec) -> ScoreArray:
    """What one member says, float64 (C), with the sum 1."""
    import numpy as np

    match _activation(spec):
        case Activation.SOFTMAX:
            return softmax(values, spec.temperature)
        case Activation.SIGMOID:
            return _shares(_sigmoid(values.astype(np.float64) / spec.temperature), spec)
        case Activation.NONE:
            return tempered(_shares(values.astype(np.float64), spec), spec.temperature)


def _activation(spec: OutputSpec) -> Activation:
    if spec.kind is OutputKind.LOGITS and spec.activation is Activation.NONE:
        return Activation.SOFTMAX
    return spec.activation


def _sigmoid(values: ScoreArray) -> ScoreArray:
    """Without overflow, and without losing small scores."""
    import numpy as np

    powers = np.exp(-np.abs(values))
    result: ScoreArray = np.where(values >= 0, 1.0, powers) / (1.0 + powers)
    return result


def _shares(scores: ScoreArray, spec: OutputSpec) -> ScoreArray:
    if scores.min() < 0:
        raise BackendError(
            f"output {spec.name!r} holds the score {scores.min():g}, scores are not negative",
            hint="say in 'activation' what is still to be applied",
        )
    total = scores.sum()
    if not total > 0:
        raise BackendError(f"output {spec.name!r} gives every class the score 0")
    shares: ScoreArray = scores / total
    return shares

"""Embeddings to the nearest classes of a gallery, by cosine."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from edge.bundle.gallery import Gallery
from edge.bundle.manifest import MatchSpec, OutputSpec
from edge.errors import BackendError
from edge.postprocess.classify import best_first, finite_output
from edge.types import Match, Matches, RawOutputs

if TYPE_CHECKING:
    from edge.types import FloatArray


def match(outputs: RawOutputs, output: OutputSpec, spec: MatchSpec, gallery: Gallery) -> Matches:
    """Names the classes nearest to one embedding.

    A class is as near as the nearest of its reference embeddings. Only the nearest class can be known: where its own
    threshold refuses it, a second class with a lower threshold does not take its place.

    Args:
        outputs: What the network said.
        output: Which output holds the embedding, of any length but 0.
        spec: Thresholds, margin, slope, and how many classes to name.
        gallery: What it is compared with; equal similarities keep the order of its labels.

    Raises:
        BackendError: The output is missing, zero, not finite, or of another dimension than the gallery.
    """
    return match_all([outputs], output, spec, gallery)[0]


def match_all(
    outputs: Sequence[RawOutputs], output: OutputSpec, spec: MatchSpec, gallery: Gallery
) -> tuple[Matches, ...]:
    """`match` for several crops in one matrix product, which reads the gallery once instead of once a crop.

    Sums of products are added in another order than for one crop, so similarities may differ in the last digits.
    """
    if not outputs:
        return ()
    return tuple(_matches(row, spec, gallery) for row in _class_similarities(outputs, output, gallery))


def novelty(outputs: RawOutputs, output: OutputSpec, gallery: Gallery) -> float:
    """How far an embedding is from everything known: 1 minus the greatest cosine, in [0, 2].

    Raises:
        BackendError: As in `match`.
    """
    return 1.0 - float(_class_similarities([outputs], output, gallery).max())


def _class_similarities(outputs: Sequence[RawOutputs], output: OutputSpec, gallery: Gallery) -> FloatArray:
    """Greatest cosine to each class, float32 (crops, classes), in [-1, 1]."""
    import numpy as np

    queries = np.stack([_unit(item, output, gallery.dimension) for item in outputs])
    cosines = queries @ gallery.vectors.T
    nearest = np.maximum.reduceat(cosines, gallery.starts, axis=1)
    return np.clip(nearest, -1.0, 1.0, out=nearest)


def _unit(outputs: RawOutputs, output: OutputSpec, dimension: int) -> FloatArray:
    """The embedding at length 1; its length is taken in float64, where no float32 overflows."""
    import numpy as np

    vector = finite_output(outputs, output.name).reshape(-1).astype(np.float64)
    if len(vector) != dimension:
        raise BackendError(f"output {output.name!r} has {len(vector)} values, the gallery has {dimension} dimensions")
    length = math.sqrt(float(vector @ vector))
    if length == 0:
        raise BackendError(f"output {output.name!r} is zero, it has no direction to compare")
    unit: FloatArray = (vector / length).astype(np.float32)
    return unit


def _matches(similarities: FloatArray, spec: MatchSpec, gallery: Gallery) -> Matches:
    order = best_first(similarities, max(2, spec.top_k))
    best = float(similarities[order[0]])
    lead = best - float(similarities[order[1]]) if len(order) > 1 else math.inf
    above = best - _threshold(spec, gallery.labels[order[0]])
    top = tuple(Match(label=gallery.labels[at], similarity=float(similarities[at])) for at in order[: spec.top_k])
    return Matches(
        top=top,
        known=above >= 0 and lead >= spec.min_margin,
        confidence=_logistic(spec.slope * above),
        margin=min(1.0, lead),
        novelty=1.0 - best,
    )


def _threshold(spec: MatchSpec, label: str) -> float:
    return next((item.value for item in spec.class_thresholds if item.label == label), spec.threshold)


def _logistic(value: float) -> float:
    """1 / (1 + exp(-value)), without overflow."""
    if value >= 0:
        return 1.0 / (1.0 + math.exp(-value))
    power = math.exp(value)
    return power / (1.0 + power)

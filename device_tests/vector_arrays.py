"""Network outputs as language-neutral vectors hold them: float32 little-endian in C order, base64."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass

from edge.types import RawOutputs


@dataclass(frozen=True, slots=True, kw_only=True)
class VectorArray:
    """One output of a network.

    Attributes:
        name: As in the manifest.
        shape: Batch first.
        values: float32 little-endian in C order, base64.
    """

    name: str
    shape: tuple[int, ...]
    values: str


def raw_outputs(arrays: Sequence[VectorArray]) -> RawOutputs:
    """What a runtime would have given."""
    import numpy as np

    def array(item: VectorArray) -> np.ndarray:
        return np.frombuffer(base64.b64decode(item.values), dtype="<f4").astype(np.float32).reshape(item.shape)

    return RawOutputs(by_name={item.name: array(item) for item in arrays})

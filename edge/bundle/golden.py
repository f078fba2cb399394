"""Golden vectors: pictures with the outputs a model must give, so that a device can check itself.

The index is JSON, the inputs are PNG files of exactly the model's size, so that a port in another language can read
them. Format page: docs/formats/bundle.md.
"""

from __future__ import annotations

import base64
import binascii
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edge.errors import FormatError
from edge.types import Outcome

if TYPE_CHECKING:
    from edge.types import FloatArray


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenOutput:
    """What one artifact says about one golden picture.

    Attributes:
        artifact: File name of the model.
        output: Name of the output tensor.
        shape: Its shape.
        values: float32 little-endian, base64.
        outcome: The decision that follows.
        label: The best class that follows: the label of the prediction's headline.
    """

    artifact: str
    output: str
    shape: tuple[int, ...]
    values: str
    outcome: Outcome
    label: str


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenVector:
    """One golden picture of one stage.

    Attributes:
        input_file: PNG in the bundle, RGB, the width and height of the stage's input.
        outputs: What each artifact of the stage says.
        stage: Name of the stage; empty in a bundle with one.
    """

    input_file: str
    outputs: tuple[GoldenOutput, ...]
    stage: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldenSet:
    """All golden vectors of a bundle.

    Attributes:
        vectors: At least one.
    """

    vectors: tuple[GoldenVector, ...]


def pack_values(array: FloatArray) -> str:
    """The `values` field of an output: float32 little-endian in C order, base64."""
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def unpack_values(output: GoldenOutput) -> FloatArray:
    """The array of a golden output, float32 of its shape.

    Raises:
        FormatError: Not base64, or not as many numbers as the shape says.
    """
    import numpy as np

    try:
        data = base64.b64decode(output.values, validate=True)
    except (binascii.Error, ValueError) as cause:
        raise FormatError(f"golden values of {output.artifact!r} are not base64") from cause
    if not output.shape or min(output.shape) < 1 or len(data) != 4 * math.prod(output.shape):
        raise FormatError(
            f"golden values of {output.artifact!r} hold {len(data) // 4} numbers for shape {list(output.shape)}"
        )
    return np.frombuffer(data, dtype="<f4").astype(np.float32).reshape(output.shape)

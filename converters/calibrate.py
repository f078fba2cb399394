"""Activation ranges from real pictures, exactly.

The quantizer's own calibration takes a moving average, which loses the ends of every range. Here each tensor's true
smallest and greatest values are taken, or what lies inside a given share of all its values. Both are exact over all
pictures: for the percentile only the values that may be cut off are held in memory.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from converters.graph import activations, picture_tensors
from converters.quiet import quiet_libraries
from converters.types import CalibrationRange
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edge.types import ByteArray, FloatArray

# Share of a tensor's values that is cut off at either end.
CUT_SHARE = {CalibrationRange.EXACT: 0.0, CalibrationRange.P99_999: 1e-5, CalibrationRange.P99_99: 1e-4}


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """The values that an int8 tensor has to hold.

    Attributes:
        low: Smallest value.
        high: Greatest value; not below `low`.
    """

    low: float
    high: float


Ranges = Mapping[str, Range]


class TailTracker:
    """Finds the range of one tensor over many pictures, without keeping them.

    Args:
        share: Share of the values that is cut off at either end, in [0, 0.5).
        total: Values that will be seen in all.
    """

    def __init__(self, *, share: float, total: int) -> None:
        self._cut = int(share * total)
        self._lowest: FloatArray | None = None
        self._highest: FloatArray | None = None

    def see(self, values: npt.NDArray[np.float32]) -> None:
        """Takes in the values of one picture."""
        import numpy as np

        flat, keep = values.ravel(), self._cut + 1
        if self._lowest is None or self._highest is None:
            low, high = flat, flat
        else:  # only values beyond the ends known so far can still matter
            full = self._lowest.size >= keep
            low = np.concatenate((self._lowest, flat[flat < self._lowest.max()] if full else flat))
            high = np.concatenate((self._highest, flat[flat > self._highest.min()] if full else flat))
        self._lowest = np.partition(low, keep - 1)[:keep] if low.size > keep else low
        self._highest = np.partition(high, -keep)[-keep:] if high.size > keep else high

    def range(self) -> Range:
        """The range of what was seen.

        Raises:
            EdgeloopError: Nothing was seen.
        """
        if self._lowest is None or self._highest is None:
            raise EdgeloopError("activation ranges need at least one calibration picture")
        return Range(low=float(self._lowest.max()), high=float(self._highest.min()))


def observe_ranges(float_model: bytes, pictures: Sequence[ByteArray], ranges: CalibrationRange) -> dict[str, Range]:
    """Runs the float model over the calibration pictures and watches every activation.

    Args:
        float_model: float32 TFLite model with one input.
        pictures: uint8 (height, width, 3), as `edge.preprocess` makes them; at least one.
        ranges: How ranges are taken.

    Returns:
        Tensor name to range. The picture itself is always 0 to 255.

    Raises:
        EdgeloopError: No pictures, or a value is not a finite number; the tensor is named.
    """
    if not pictures:
        raise EdgeloopError("activation ranges need at least one calibration picture")
    interpreter = _watching_interpreter(float_model)
    details = activations(interpreter)
    share = CUT_SHARE[ranges]
    trackers = {
        name: TailTracker(share=share, total=int(detail["shape"].prod()) * len(pictures))
        for name, detail in details.items()
    }
    for picture in pictures:
        _run(interpreter, picture)
        for name, detail in details.items():
            trackers[name].see(interpreter.get_tensor(detail["index"]))
    found = {name: _finite(name, tracker.range()) for name, tracker in trackers.items()}
    return found | dict.fromkeys(picture_tensors(interpreter), Range(low=0.0, high=255.0))


def _watching_interpreter(float_model: bytes) -> Any:  # noqa: ANN401  (a library without types)
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as cause:
        raise MissingExtraError("ai-edge-litert", "convert") from cause
    with quiet_libraries():  # it warns that keeping all tensors costs memory, which is the point
        interpreter = Interpreter(model_content=float_model, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


def _run(interpreter: Any, picture: ByteArray) -> None:  # noqa: ANN401
    from edge.preprocess import to_input

    interpreter.set_tensor(interpreter.get_input_details()[0]["index"], to_input(picture))
    interpreter.invoke()


def _finite(name: str, found: Range) -> Range:
    if not (math.isfinite(found.low) and math.isfinite(found.high)):
        raise EdgeloopError(f"activations of {name!r} are not finite numbers", hint="the weights are damaged")
    return found

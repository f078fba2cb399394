"""Activation ranges from real pictures, exactly.

The quantizer's own calibration takes a moving average, which loses the ends of every range. Here each tensor's true
smallest and greatest values are taken, or what lies inside a given share of all its values, or the part that costs the
least squared error. One pass over the pictures serves every kind that is asked for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from converters.graph import activations, picture_tensors
from converters.quiet import quiet_libraries
from converters.ranges import CUT_SHARE, GrowingHistogram, Range, Ranges, TailTracker
from converters.types import CalibrationRange
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    from edge.types import ByteArray, FloatArray

    # Every watched tensor's values for one picture.
    Watch = Iterator[Mapping[str, FloatArray]]

PICTURE_RANGE = Range(low=0.0, high=255.0)
CUTTING = (CalibrationRange.EXACT, CalibrationRange.P99_999, CalibrationRange.P99_99)


def observe_ranges(float_model: bytes, pictures: Sequence[ByteArray], ranges: CalibrationRange) -> Ranges:
    """`observe` for one kind of range."""
    return observe(float_model, pictures, (ranges,))[ranges]


def observe(
    float_model: bytes,
    pictures: Sequence[ByteArray],
    kinds: Collection[CalibrationRange],
    *,
    tick: Callable[[], None] = lambda: None,
) -> dict[CalibrationRange, Ranges]:
    """Runs the float model over the calibration pictures and watches every activation.

    Args:
        float_model: float32 TFLite model with one input.
        pictures: uint8 (height, width, 3), as `edge.preprocess` makes them; at least one.
        kinds: How ranges are taken.
        tick: Called after each picture.

    Returns:
        For each kind, tensor name to range. The picture itself is always 0 to 255.

    Raises:
        EdgeloopError: No pictures, or a value is not a finite number; the tensor is named.
    """
    if not pictures:
        raise EdgeloopError("activation ranges need at least one calibration picture")
    interpreter = watching_interpreter(float_model)
    found = watched_ranges(_tflite_watch(interpreter, pictures, tick), len(pictures), kinds)
    fixed = dict.fromkeys(picture_tensors(interpreter), PICTURE_RANGE)
    return {kind: {**ranges, **fixed} for kind, ranges in found.items()}


def watched_ranges(watch: Watch, num: int, kinds: Collection[CalibrationRange]) -> dict[CalibrationRange, Ranges]:
    """Ranges of everything that is watched, of whatever runtime.

    Args:
        watch: For each picture, tensor name to values.
        num: How many pictures come.
        kinds: How ranges are taken.

    Raises:
        EdgeloopError: A value is not a finite number; the tensor is named.
    """
    share = max([CUT_SHARE.get(kind, 0.0) for kind in kinds], default=0.0)
    tails: dict[str, TailTracker] = {}
    histograms: dict[str, GrowingHistogram] = {}
    for values in watch:
        for name, array in values.items():
            _require_finite(name, array)
            tails.setdefault(name, TailTracker(share=share, total=array.size * num)).see(array)
            if CalibrationRange.MSE in kinds:
                histograms.setdefault(name, GrowingHistogram()).see(array)
    return {
        kind: {
            name: histograms[name].clipped(tail.range(0.0))
            if kind is CalibrationRange.MSE
            else tail.range(CUT_SHARE[kind])
            for name, tail in tails.items()
        }
        for kind in kinds
    }


def _tflite_watch(interpreter: Any, pictures: Sequence[ByteArray], tick: Callable[[], None]) -> Watch:  # noqa: ANN401
    from edge.preprocess import to_input

    places = {name: int(detail["index"]) for name, detail in activations(interpreter).items()}
    feed = int(interpreter.get_input_details()[0]["index"])
    for picture in pictures:
        interpreter.set_tensor(feed, to_input(picture))
        interpreter.invoke()
        yield {name: interpreter.get_tensor(index) for name, index in places.items()}
        tick()


def watching_interpreter(float_model: bytes) -> Any:  # noqa: ANN401  (a library without types)
    """An interpreter that keeps every tensor of a TFLite model, ready to run.

    Raises:
        MissingExtraError: LiteRT is not installed.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter
    except ImportError as cause:
        raise MissingExtraError("ai-edge-litert", "convert") from cause
    with quiet_libraries():  # it warns that keeping all tensors costs memory, which is the point
        interpreter = Interpreter(model_content=float_model, num_threads=1, experimental_preserve_all_tensors=True)
    interpreter.allocate_tensors()
    return interpreter


def _require_finite(name: str, values: FloatArray) -> None:
    if not (math.isfinite(values.min()) and math.isfinite(values.max())):
        raise EdgeloopError(f"activations of {name!r} are not finite numbers", hint="the weights are damaged")

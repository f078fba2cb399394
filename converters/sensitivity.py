"""Which layers quantization hurts: the noise of each layer as it stands, and the harm that each does alone."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from converters.calibrate import watching_interpreter
from converters.compare import decibels
from converters.graph import operations
from converters.quantize import quantize
from converters.types import LayerError, QuantRecipe

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from converters.ranges import Ranges
    from edge.types import ByteArray, FloatArray

# Pictures that layers are compared on: what is looked for are differences of several decibels.
NUM_PICTURES = 16
_RANKED = frozenset(
    (
        *("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED", "TRANSPOSE_CONV", "BATCH_MATMUL", "ADD", "MUL", "SUB"),
        *("LOGISTIC", "HARD_SWISH", "TANH", "MEAN", "AVERAGE_POOL_2D", "GELU"),
    )
)


def layer_noise(float_model: bytes, quantized: bytes, pictures: Sequence[ByteArray]) -> tuple[LayerError, ...]:
    """Noise of every layer's output in a quantized model, of the layer and of all before it.

    Args:
        float_model: float32 TFLite.
        quantized: Made from it.
        pictures: uint8 (height, width, 3); the first 16 are run.

    Returns:
        In the order of execution, layers that both models have under the same name.
    """
    import numpy as np

    whole, noisy = watching_interpreter(float_model), watching_interpreter(quantized)
    wanted = {name: kind for name, kind in operations(whole) if name in dict(operations(noisy))}
    signal, noise = dict.fromkeys(wanted, 0.0), dict.fromkeys(wanted, 0.0)
    for picture in pictures[:NUM_PICTURES]:
        before, after = _run(whole, picture, wanted), _run(noisy, picture, wanted)
        for name in wanted:
            signal[name] += float((before[name].astype(np.float64) ** 2).sum())
            noise[name] += float(((before[name].astype(np.float64) - after[name]) ** 2).sum())
    return tuple(
        LayerError(layer=name, operation=kind, sqnr_db=_rounded(decibels(signal[name], noise[name])))
        for name, kind in wanted.items()
    )


def rank_layers(
    float_model: bytes,
    recipe: QuantRecipe,
    ranges: Ranges,
    pictures: Sequence[ByteArray],
    *,
    float_layers: Sequence[str] = (),
    tick: Callable[[], None] = lambda: None,
) -> tuple[LayerError, ...]:
    """Quantizes every layer alone, and sees how much noise that makes at the outputs.

    Args:
        float_model: float32 TFLite.
        recipe: A static int8 recipe.
        ranges: Its activation ranges.
        pictures: uint8 (height, width, 3); the first 16 are run.
        float_layers: Patterns of layers that are float anyway.
        tick: Called after each layer.

    Returns:
        The most harmful first: layers with weights, or of the kinds that int8 computes.
    """
    reference = _outputs(watching_interpreter(float_model), pictures)
    kept = [re.compile(pattern) for pattern in float_layers]
    found = []
    for name, kind in rankable(float_model):
        if not any(pattern.search(name) for pattern in kept):
            alone = quantize(float_model, recipe, ranges=ranges, sample=pictures[0], only=exactly(name))
            outputs = _outputs(watching_interpreter(alone), pictures)
            found.append(LayerError(layer=name, operation=kind, sqnr_db=_rounded(_worst(reference, outputs))))
        tick()
    return tuple(sorted(found, key=lambda one: (one.sqnr_db, one.layer)))


def rankable(float_model: bytes) -> tuple[tuple[str, str], ...]:
    """Name and kind of each layer whose arithmetic int8 changes, in the order of execution."""
    return tuple((name, kind) for name, kind in operations(watching_interpreter(float_model)) if kind in _RANKED)


def keep_float(recipe: QuantRecipe, layers: Sequence[str]) -> QuantRecipe:
    """The recipe with these layers left float, under a name that says how many."""
    patterns = (*recipe.float_layers, *(exactly(name) for name in layers))
    name = f"{recipe.name}_{len(layers)}_float"
    return replace(recipe, name=name, float_layers=patterns)


def fewest(num_layers: int, good: Callable[[int], bool]) -> int | None:
    """The smallest number of layers, the most harmful first, that have to stay float.

    Doubles until it is enough, then halves the gap: at most some 2 log2(n) trials. More float layers are taken to do
    no harm.

    Args:
        num_layers: How many there are.
        good: Whether leaving so many float is good enough.

    Returns:
        The number, at least 1; None where even all are not enough.
    """
    below, number = 0, 1
    while not good(number):
        if number >= num_layers:
            return None
        below, number = number, min(2 * number, num_layers)
    while number - below > 1:
        middle = (below + number) // 2
        below, number = (below, middle) if good(middle) else (middle, number)
    return number


def exactly(layer: str) -> str:
    """A pattern for one layer alone: names of others may begin in the same way."""
    return rf"(^|;){re.escape(layer)}(;|$)"


def _run(interpreter: Any, picture: ByteArray, names: Mapping[str, str]) -> dict[str, FloatArray]:  # noqa: ANN401
    from edge.preprocess import to_input

    interpreter.set_tensor(int(interpreter.get_input_details()[0]["index"]), to_input(picture))
    interpreter.invoke()
    details = {str(one["name"]): one for one in interpreter.get_tensor_details()}
    return {name: _as_float(interpreter.get_tensor(details[name]["index"]), details[name]) for name in names}


def _as_float(values: npt.NDArray[np.generic], detail: Mapping[str, Any]) -> FloatArray:
    import numpy as np

    scale, zero = detail["quantization"]
    if not np.issubdtype(values.dtype, np.integer) or not scale:
        return values.astype(np.float32)
    found: FloatArray = (values.astype(np.float32) - np.float32(zero)) * np.float32(scale)
    return found


def _outputs(interpreter: Any, pictures: Sequence[ByteArray]) -> list[list[FloatArray]]:  # noqa: ANN401
    from edge.preprocess import to_input

    feed = int(interpreter.get_input_details()[0]["index"])
    places = [int(one["index"]) for one in sorted(interpreter.get_output_details(), key=lambda one: str(one["name"]))]
    found = []
    for picture in pictures[:NUM_PICTURES]:
        interpreter.set_tensor(feed, to_input(picture))
        interpreter.invoke()
        found.append([interpreter.get_tensor(index) for index in places])
    return found


def _worst(reference: list[list[FloatArray]], found: list[list[FloatArray]]) -> float:
    """Decibels of the output that suffers most."""
    worst = []
    for one, other in zip(zip(*reference, strict=True), zip(*found, strict=True), strict=True):
        pairs = list(zip(one, other, strict=True))
        signal = sum(float((before.astype("float64") ** 2).sum()) for before, _ in pairs)
        noise = sum(float(((before.astype("float64") - after) ** 2).sum()) for before, after in pairs)
        worst.append(decibels(signal, noise))
    return min(worst)


def _rounded(value: float) -> float:
    return float(f"{value:.4g}")

"""What the outputs of a foreign classifier hold: told, or seen when the model is run on a few drawn pictures."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from converters.foreign.inspect import ForeignModel
from converters.foreign.told import Finding, Source, Told
from edge.bundle.manifest import OutputKind, OutputSpec
from edge.errors import UsageError

if TYPE_CHECKING:
    from edge.types import FloatArray

    Runs = Sequence[Mapping[str, FloatArray]]

_SOFTMAX_SCALE = 1 / 256
_SUM_TOLERANCE = 0.01


def told_outputs(model: ForeignModel, told: Told, runs: Runs) -> dict[str, OutputKind]:
    """The outputs that a person has named, checked against the model's.

    Raises:
        UsageError: The model has no output of that name, or one is named twice.
    """
    for name, _ in told.outputs:
        if name not in runs[0]:
            raise UsageError(f"{model.name}: no output {name!r}", hint=f"it has {list_outputs(runs)}")
    named = dict(told.outputs)
    if len(named) != len(told.outputs):
        raise UsageError("--output names the same output twice")
    return named


def list_outputs(runs: Runs) -> str:
    """Names and shapes, for errors."""
    return ", ".join(f"{name!r} {list(array.shape)}" for name, array in runs[0].items()) or "none"


def classifier_output(model: ForeignModel, told: Told, runs: Runs, num_labels: int) -> tuple[OutputSpec, list[Finding]]:
    """Finds the output with the class scores, and whether they have been through a softmax.

    Args:
        model: What the file says.
        told: What the person says.
        runs: From `probe`.
        num_labels: Lines of the label file, which decide between several outputs.

    Raises:
        UsageError: Several outputs could be it, or what they hold cannot be told; names the flag.
    """
    named = told_outputs(model, told, runs)
    name = _only_name(model, named, runs, num_labels)
    shape = tuple(int(size) for size in runs[0][name].shape)
    if math.prod(shape) != max(shape):
        raise UsageError(f"{model.name}: output {name!r} is {list(shape)}, that is not one row of class scores")
    kind, source = (named[name], Source.FLAG) if name in named else _kind(model, name, runs)
    if kind not in (OutputKind.LOGITS, OutputKind.PROBABILITIES):
        raise UsageError(f"--output {name}={kind.value}: a classifier gives logits or probabilities")
    temperature = 1.0 if told.temperature is None else told.temperature
    spec = OutputSpec(name=name, kind=kind, shape=shape, temperature=temperature)
    return spec, [Finding(what="output", value=f"{name} {list(shape)} {kind.value}", source=source)]


def _only_name(model: ForeignModel, named: Mapping[str, OutputKind], runs: Runs, num_labels: int) -> str:
    if len(named) > 1:
        raise UsageError(f"--output: a classifier has one, {', '.join(named)} were named")
    if named:
        return next(iter(named))
    candidates = [name for name, array in runs[0].items() if array.size == max(array.shape, default=0) > 1]
    if len(candidates) > 1:
        candidates = [name for name in candidates if runs[0][name].size == num_labels] or candidates
    if len(candidates) == 1:
        return candidates[0]
    raise UsageError(
        f"{model.name}: which output holds the class scores? It has {list_outputs(runs)}",
        hint="add --output NAME=logits or NAME=probabilities",
    )


def _kind(model: ForeignModel, name: str, runs: Runs) -> tuple[OutputKind, Source]:
    quantized = model.output_quantization.get(name)
    if quantized is not None and quantized.scale == _SOFTMAX_SCALE and quantized.zero_point in (0, -128):
        # The one quantization that TFLite allows for a softmax.
        return OutputKind.PROBABILITIES, Source.FILE
    rows = [run[name].reshape(-1) for run in runs]
    if any(float(row.min()) < 0 or float(row.max()) > 1 for row in rows):
        return OutputKind.LOGITS, Source.RUN
    slack = _SUM_TOLERANCE + (quantized.scale * len(rows[0]) / 2 if quantized else 0.0)
    if all(abs(float(row.sum()) - 1) <= slack for row in rows):
        return OutputKind.PROBABILITIES, Source.RUN
    raise UsageError(
        f"{model.name}: output {name!r} is within 0 and 1 but does not sum to 1",
        hint=f"add --output {name}=logits or {name}=probabilities",
    )

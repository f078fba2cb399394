"""Joins a model that makes features of a picture with the ensembles that read them: one file, `image` in.

So a hybrid obeys the same I/O contract as every other model, and the device runs it as a `tabular` stage: each ensemble
is an output of the kind `probabilities` with a weight of its own.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from converters.contract import INPUT_NAME
from converters.ensemble import FEATURES_NAME, PROBABILITIES_NAME, Ensemble, class_names, write_ensemble
from converters.onnx import without_marks
from edge.errors import EdgeloopError, MissingExtraError, UsageError

_MEMBER_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_CHANNELS = 3


def picture_ensemble_to_onnx(features: bytes, ensembles: Mapping[str, Ensemble]) -> bytes:
    """Writes a picture model with one output of probabilities for each ensemble.

    Args:
        features: ONNX; input `image`, float32 (1, height, width, 3) in 0 to 255; one output, float32 (1, F).
        ensembles: Fitted on such features, by name of the output; all of the same classes in the same order.

    Returns:
        ONNX; input `image`, and an output (1, C) by each name, in the order given. The same arguments give the same
        bytes, in any process.

    Raises:
        MissingExtraError: onnx or skl2onnx is not installed.
        UsageError: The features are of another form, a name cannot be that of an output, or an ensemble is not fitted
            on as many features or on the same classes.
        EdgeloopError: A part of an ensemble has no ONNX form.
    """
    try:
        from onnx import checker
    except ImportError as cause:
        raise MissingExtraError("onnx", "convert") from cause
    joined = _read_features(features)
    source, num_features = joined.graph.output[0].name, _shape(joined.graph.output[0])[1]
    opset = _opset(joined)
    _require_names(joined, ensembles)
    _require_same_classes(ensembles)
    for name, ensemble in ensembles.items():
        part = write_ensemble(ensemble, num_features=num_features, opset=opset)
        joined = _join(joined, _named(part, name), source)
    kept = [output for output in joined.graph.output if output.name in ensembles]
    joined.graph.ClearField("output")
    joined.graph.output.extend(kept)
    joined.graph.name = "picture_ensemble"
    checker.check_model(joined)
    return without_marks(joined)


def _read_features(features: bytes) -> Any:  # noqa: ANN401  (onnx.ModelProto)
    import onnx

    try:
        model = onnx.load_from_string(features)
        onnx.checker.check_model(model)
    except Exception as cause:  # protobuf's errors and onnx's share no base class
        raise UsageError("the features are not an ONNX model", hint="write them with converters.onnx") from cause
    inputs, outputs = _shapes(model.graph.input), _shapes(model.graph.output)
    shape = inputs.get(INPUT_NAME, ())
    if len(inputs) != 1 or len(shape) != 4 or shape[0] != 1 or shape[3] != _CHANNELS or min(shape) < 1:
        raise UsageError(
            f"the features' input must be {INPUT_NAME!r}, float32 [1, height, width, {_CHANNELS}], "
            f"found {_told(inputs)}"
        )
    if len(outputs) != 1 or any(len(size) != 2 or size[0] != 1 or size[1] < 1 for size in outputs.values()):
        raise UsageError(f"the features must be one output, float32 [1, F], found {_told(outputs)}")
    return model


def _require_names(features: Any, ensembles: Mapping[str, Ensemble]) -> None:  # noqa: ANN401
    if not ensembles:
        raise UsageError("there is no ensemble to join with the features")
    graph = features.graph
    taken = {item.name for item in (*graph.input, *graph.initializer)}
    taken |= {name for node in graph.node for name in node.output}
    for name in ensembles:
        if not _MEMBER_NAME.fullmatch(name):
            raise UsageError(
                f"ensemble {name!r} cannot be the name of an output",
                hint="take letters, digits and underscores, no digit first",
            )
        if name in taken:
            raise UsageError(f"ensemble {name!r} has the name of a tensor of the features", hint="choose another")


def _require_same_classes(ensembles: Mapping[str, Ensemble]) -> None:
    classes = {name: class_names(ensemble) for name, ensemble in ensembles.items()}
    (first, expected), *others = classes.items()
    for name, found in others:
        if found != expected:
            raise UsageError(
                f"ensembles {first!r} and {name!r} have other classes: {_listed(expected)} and {_listed(found)}",
                hint="fit all of them with the same labels",
            )


def _named(part: Any, name: str) -> Any:  # noqa: ANN401
    """The ensemble with its own names behind `name/`, and its output called `name`."""
    from onnx import compose

    prefixed = compose.add_prefix(part, f"{name}/")
    written = f"{name}/{PROBABILITIES_NAME}"
    for node in prefixed.graph.node:
        node.output[:] = [name if output == written else output for output in node.output]
    prefixed.graph.output[0].name = name
    return prefixed


def _join(joined: Any, part: Any, source: str) -> Any:  # noqa: ANN401
    """Adds an ensemble to the model; the features stay an output, for the next one."""
    from onnx import compose

    name = part.graph.output[0].name
    joined.ir_version = part.ir_version = max(joined.ir_version, part.ir_version)
    outputs = [*(output.name for output in joined.graph.output), name]
    try:
        return compose.merge_models(joined, part, io_map=[(source, f"{name}/{FEATURES_NAME}")], outputs=outputs)
    except Exception as cause:  # compose and the checker it calls raise their own kinds of error
        lines = str(cause).strip().splitlines() or [type(cause).__name__]
        raise EdgeloopError(f"ensemble {name!r} cannot be joined with the features: {lines[0]}") from cause


def _opset(model: Any) -> int:  # noqa: ANN401
    return max(int(item.version) for item in model.opset_import if item.domain in ("", "ai.onnx"))


def _shapes(values: Any) -> dict[str, tuple[int, ...]]:  # noqa: ANN401
    return {value.name: _shape(value) for value in values}


def _shape(value: Any) -> tuple[int, ...]:  # noqa: ANN401  (onnx.ValueInfoProto)
    """Sizes of a float32 tensor, 0 for those that are not fixed; nothing for any other type."""
    import onnx

    tensor = value.type.tensor_type
    if tensor.elem_type != onnx.TensorProto.FLOAT:
        return ()
    return tuple(int(size.dim_value) for size in tensor.shape.dim)


def _told(shapes: Mapping[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name!r} {list(shape)}" for name, shape in shapes.items()) or "none"


def _listed(names: tuple[str, ...]) -> str:
    return ", ".join(names[:5]) + (", …" if len(names) > 5 else "")

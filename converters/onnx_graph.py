"""What an ONNX graph looks like, as far as calibration and quantization have to know it."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from converters.calibrate import PICTURE_RANGE, watched_ranges
from converters.quiet import quiet_libraries
from converters.ranges import Ranges
from converters.types import CalibrationRange
from edge.errors import EdgeloopError, MissingExtraError

if TYPE_CHECKING:
    from edge.types import ByteArray, FloatArray

# Operations that move pixels without changing them.
_MOVING_OPS = ("Concat", "Pad", "Transpose", "Reshape", "Identity")


def read_onnx(model: bytes) -> Any:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    """A model with the shapes and types of all its tensors.

    Raises:
        MissingExtraError: onnx is not installed.
    """
    try:
        import onnx
    except ImportError as cause:
        raise MissingExtraError("onnx", "convert") from cause
    return onnx.shape_inference.infer_shapes(onnx.load_from_string(model))


def picture_tensors(model: Any) -> frozenset[str]:  # noqa: ANN401
    """Names of the tensors that hold the picture as it came in, or with a border around it."""
    held = {item.name for item in model.graph.input}
    for node in model.graph.node:
        if node.op_type in _MOVING_OPS and held & set(node.input):
            held |= set(node.output)
    return frozenset(held)


def matching_nodes(model: Any, patterns: Sequence[str]) -> tuple[str, ...]:  # noqa: ANN401
    """Names of the nodes that one of these regular expressions is found in."""
    return tuple(node.name for node in model.graph.node if any(re.search(one, node.name) for one in patterns))


def observe_onnx(
    model: bytes,
    pictures: Sequence[ByteArray],
    kinds: Collection[CalibrationRange],
    *,
    tick: Callable[[], None] = lambda: None,
) -> dict[CalibrationRange, Ranges]:
    """`converters.calibrate.observe` for a float32 ONNX model.

    Raises:
        EdgeloopError: No pictures, or a value is not a finite number; the tensor is named.
        MissingExtraError: onnx or onnxruntime is not installed.
    """
    if not pictures:
        raise EdgeloopError("activation ranges need at least one calibration picture")
    graph = read_onnx(model)
    found = watched_ranges(_watch(graph, pictures, tick), len(pictures), kinds)
    fixed = dict.fromkeys(picture_tensors(graph), PICTURE_RANGE)
    return {kind: {**ranges, **fixed} for kind, ranges in found.items()}


def _watch(
    graph: Any,  # noqa: ANN401
    pictures: Sequence[ByteArray],
    tick: Callable[[], None],
) -> Iterator[Mapping[str, FloatArray]]:
    from edge.preprocess import to_input

    session, names = _watching_session(graph)
    feed = session.get_inputs()[0].name
    for picture in pictures:
        yield dict(zip(names, session.run(names, {feed: to_input(picture)}), strict=True))
        tick()


def _watching_session(graph: Any) -> tuple[Any, list[str]]:  # noqa: ANN401
    """The model with every float tensor as an output."""
    try:
        import onnx
        import onnxruntime as ort
    except ImportError as cause:
        raise MissingExtraError("onnxruntime", "onnx") from cause
    watched = onnx.ModelProto()
    watched.CopyFrom(graph)
    known = {item.name for item in watched.graph.output}
    floats = [item for item in watched.graph.value_info if item.type.tensor_type.elem_type == onnx.TensorProto.FLOAT]
    watched.graph.output.extend([item for item in floats if item.name not in known])
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    with quiet_libraries():
        session = ort.InferenceSession(watched.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session, [*known, *(item.name for item in floats if item.name not in known)]

"""What a TFLite graph looks like, as far as calibration and quantization have to know it."""

from __future__ import annotations

from typing import Any

from edge.errors import MissingExtraError

# Operations that move pixels without changing them.
_MOVING_OPS = ("CONCATENATION", "PAD", "PADV2", "MIRROR_PAD", "TRANSPOSE", "RESHAPE")


def read_graph(model: bytes) -> Any:  # noqa: ANN401  (a library without types)
    """A model opened to look at, not to run."""
    try:
        from ai_edge_litert.interpreter import Interpreter, OpResolverType
    except ImportError as cause:
        raise MissingExtraError("ai-edge-litert", "convert") from cause
    resolver = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    return Interpreter(model_content=model, experimental_op_resolver_type=resolver)


def activations(interpreter: Any) -> dict[str, dict[str, Any]]:  # noqa: ANN401
    """Float tensors that operations write, by name; all others are weights."""
    written = {int(index) for op in interpreter._get_ops_details() for index in op["outputs"]}
    details = _details(interpreter)
    chosen = [details[index] for index in sorted(written) if index in details]
    return {str(detail["name"]): detail for detail in chosen if detail["dtype"].__name__ == "float32"}


def operations(interpreter: Any) -> tuple[tuple[str, str], ...]:  # noqa: ANN401
    """Output tensor and kind of every operation with a float or int8 output, in the order of execution."""
    details = _details(interpreter)
    found = []
    for op in interpreter._get_ops_details():
        detail = details.get(int(op["outputs"][0])) if len(op["outputs"]) else None
        if detail is not None and op["op_name"] != "DELEGATE" and detail["dtype"].__name__ in ("float32", "int8"):
            found.append((str(detail["name"]), str(op["op_name"])))
    return tuple(dict(found).items())


def picture_tensors(interpreter: Any) -> frozenset[str]:  # noqa: ANN401
    """Names of the tensors that hold the picture as it came in, or with a border around it."""
    details = _details(interpreter)
    return frozenset(str(details[index]["name"]) for index in _pictures(interpreter))


def first_layers(interpreter: Any) -> tuple[str, ...]:  # noqa: ANN401
    """Names of the tensors that are computed from the picture itself."""
    pictures, details = _pictures(interpreter), _details(interpreter)
    operations = [op for op in interpreter._get_ops_details() if op["op_name"] != "DELEGATE"]
    readers = [op for op in operations if pictures & {int(index) for index in op["inputs"]}]
    computed = {int(index) for op in readers for index in op["outputs"]} - pictures
    return tuple(sorted(str(details[index]["name"]) for index in computed if index in details))


def _pictures(interpreter: Any) -> set[int]:  # noqa: ANN401
    held = {int(detail["index"]) for detail in interpreter.get_input_details()}
    for op in interpreter._get_ops_details():
        if op["op_name"] in _MOVING_OPS and held & {int(index) for index in op["inputs"]}:
            held |= {int(index) for index in op["outputs"]}
    return held


def _details(interpreter: Any) -> dict[int, dict[str, Any]]:  # noqa: ANN401
    return {int(detail["index"]): detail for detail in interpreter.get_tensor_details()}


def float_parts(interpreter: Any) -> tuple[bool, bool]:  # noqa: ANN401
    """Where a quantized model computes in float.

    Returns:
        Whether any operation does; and whether what one computes is quantized again further on.
    """
    details = _details(interpreter)
    computed: set[int] = set()
    again = False
    for op in interpreter._get_ops_details():
        sources = {int(index) for index in op["inputs"]}
        kind, outputs = op["op_name"], {int(index) for index in op["outputs"]}
        if kind == "QUANTIZE":
            again |= bool(sources & computed)
        elif kind not in ("DEQUANTIZE", "DELEGATE"):
            computed |= {i for i in outputs if i in details and details[i]["dtype"].__name__ == "float32"}
    return bool(computed), again

"""Models that their runtimes refuse, or that are not what a manifest says; written here, a few hundred bytes each."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tiny_tflite import Operator, Tensor, write_model

SHAPE = (1, 32, 32, 3)


def tflite_model(code: str = "RELU", *, dtype: str = "float32", inputs: int = 1) -> bytes:
    """One operator; the output is `answer_0`."""
    scale = 1.0 if dtype == "uint8" else 0.0
    images = [Tensor(name=f"image {number}", dtype=dtype, shape=SHAPE, scale=scale) for number in range(inputs)]
    operator = Operator(code=code, inputs=tuple(range(inputs)), outputs=(inputs,))
    with tempfile.TemporaryDirectory() as folder:
        return write_model(
            Path(folder) / "model.tflite",
            [*images, Tensor(name="logits", dtype=dtype, shape=SHAPE, scale=scale)],
            [operator],
            inputs=list(range(inputs)),
            outputs=[inputs],
            signatures=("serving_default",),
        ).read_bytes()


def tflite_with_code(number: int, custom: str = "") -> bytes:
    """A model whose only operator has another number, or a name of its own."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT.InitFromObj(schema.Model.GetRootAs(bytearray(tflite_model()), 0))
    code = model.operatorCodes[0]
    code.builtinCode, code.deprecatedBuiltinCode = number, min(127, number)
    code.customCode = custom or None
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


def onnx_model(
    operator: str = "Relu", *, domain: str = "", shape: tuple[Any, ...] = SHAPE, kind: str = "FLOAT", outside: str = ""
) -> bytes:
    """One operator; the output is `logits`, of the input's shape.

    Args:
        operator: Its name.
        domain: Whose operator it is; empty for ONNX's own.
        shape: Of the input.
        kind: Of the numbers.
        outside: A file that holds the operator's second input.
    """
    from onnx import TensorProto, helper

    values = [
        helper.make_tensor_value_info(name, TensorProto.DataType.Value(kind), shape) for name in ("image", "logits")
    ]
    node = helper.make_node(operator, ["image", "weights"] if outside else ["image"], ["logits"], domain=domain)
    graph = helper.make_graph([node], "graph", values[:1], values[1:])
    if outside:
        weights = TensorProto(name="weights", data_type=TensorProto.FLOAT, dims=SHAPE)
        weights.data_location = TensorProto.EXTERNAL
        location = weights.external_data.add()
        location.key, location.value = "location", outside
        graph.initializer.append(weights)
    return _written(graph, domain)


def nan_model() -> bytes:
    """The logarithm of the mean colour: minus infinity for black."""
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, SHAPE)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 3))
    nodes = [
        helper.make_node("ReduceMean", ["image"], ["mean"], axes=[1, 2], keepdims=0),
        helper.make_node("Log", ["mean"], ["logits"]),
    ]
    return _written(helper.make_graph(nodes, "graph", [image], [logits]), "")


def _written(graph: Any, domain: str) -> bytes:
    from onnx import helper

    versions = [helper.make_opsetid("", 17), *([helper.make_opsetid(domain, 1)] if domain else [])]
    return bytes(helper.make_model(graph, opset_imports=versions, ir_version=9).SerializeToString())


Row = tuple[Callable[[], bytes], str]
TFLITE_MODELS: dict[str, Row] = {
    "an unknown built-in operator": (lambda: tflite_with_code(9999), "Op builtin_code out of range: 9999."),
    "an operator of somebody's own": (lambda: tflite_with_code(32, "FlyToTheMoon"), "custom op: FlyToTheMoon"),
    "another output": (tflite_model, "output 'logits' is missing, the model gives answer_0"),
    "input of whole numbers": (
        lambda: tflite_model(dtype="int32"),
        "needs exactly one input of float32, uint8, int8, found image 0 int32",
    ),
    "bytes for floats": (lambda: tflite_model(dtype="uint8"), "input is uint8, the manifest says float32"),
    "two inputs": (
        lambda: tflite_model("ADD", inputs=2),
        "needs exactly one input of float32, uint8, int8, found image 0 float32, image 1 float32",
    ),
}
ONNX_MODELS: dict[str, Row] = {
    "an unknown operator": (lambda: onnx_model("FlyToTheMoon"), "FlyToTheMoon"),
    "an operator of somebody's own": (
        lambda: onnx_model("Thing", domain="com.example"),
        "com.example:Thing(-1) is not a registered function/op",
    ),
    "weights outside of the bundle": (
        lambda: onnx_model("Add", outside="../../../../etc/passwd"),
        "External data path escapes model directory",
    ),
    "input of doubles": (
        lambda: onnx_model(kind="DOUBLE"),
        "needs exactly one input of float32, uint8, int8, found image tensor(double)",
    ),
    "bytes for floats": (lambda: onnx_model("Identity", kind="UINT8"), "input is uint8, the manifest says float32"),
    "an open size": (lambda: onnx_model(shape=("n", "h", "w", 3)), "input 'image' must have a fixed shape, found"),
    "another shape": (onnx_model, "output 'logits' is float32 [1, 32, 32, 3], the manifest says float32 [1, 3]"),
}

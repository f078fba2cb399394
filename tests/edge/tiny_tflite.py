"""TFLite files of one or two operators, written byte by byte, for what our converter never makes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

SHAPE = (1, 2, 2, 3)
_TYPES = {"float32": 0, "float16": 1, "int32": 2, "uint8": 3, "int64": 4, "string": 5, "bool": 6, "int8": 9}


@dataclass(frozen=True, slots=True, kw_only=True)
class Tensor:
    """One tensor.

    Attributes:
        name: As the file has it; may be empty.
        dtype: As numpy writes it, or `string`.
        shape: Its shape; may be wrong where the runtime finds it out anew.
        signature: The shape with -1 for what is open; empty for none.
        scale: Of a quantized tensor; 0 for none.
        zero_point: Of a quantized tensor.
        values: Of a constant.
    """

    name: str
    dtype: str = "float32"
    shape: tuple[int, ...] = SHAPE
    signature: tuple[int, ...] = ()
    scale: float = 0.0
    zero_point: int = 0
    values: np.ndarray | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Operator:
    """One operator.

    Attributes:
        code: Its name in the schema's `BuiltinOperator`.
        inputs: Positions of tensors.
        outputs: Positions of tensors.
    """

    code: str
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]


def write_model(
    path: Path,
    tensors: list[Tensor],
    operators: list[Operator],
    *,
    inputs: list[int],
    outputs: list[int],
    signatures: tuple[str, ...] = (),
) -> Path:
    """Writes a model with one graph; every signature names its outputs `answer_N`."""
    import flatbuffers
    from ai_edge_litert import schema_py_generated as schema

    model = schema.ModelT()
    model.version = 3
    model.buffers = [schema.BufferT()]
    graph = schema.SubGraphT()
    graph.tensors = [_tensor(schema, item, model.buffers) for item in tensors]
    graph.inputs, graph.outputs = inputs, outputs
    graph.operators = [_operator(schema, item, position) for position, item in enumerate(operators)]
    model.operatorCodes = [_code(schema, item) for item in operators]
    model.subgraphs = [graph]
    model.signatureDefs = [_signature(schema, key, inputs, outputs) for key in signatures]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    path.write_bytes(bytes(builder.Output()))
    return path


def _tensor(schema: object, item: Tensor, buffers: list) -> object:
    tensor = schema.TensorT()
    tensor.name, tensor.type, tensor.shape = item.name, _TYPES[item.dtype], list(item.shape)
    tensor.shapeSignature = list(item.signature) or None
    if item.scale:
        tensor.quantization = schema.QuantizationParametersT()
        tensor.quantization.scale, tensor.quantization.zeroPoint = [item.scale], [item.zero_point]
    if item.values is not None:
        tensor.buffer = len(buffers)
        buffers.append(schema.BufferT())
        buffers[-1].data = np.frombuffer(item.values.tobytes(), np.uint8)
    return tensor


def _operator(schema: object, item: Operator, position: int) -> object:
    operator = schema.OperatorT()
    operator.opcodeIndex, operator.inputs, operator.outputs = position, list(item.inputs), list(item.outputs)
    options = {"GATHER": "GatherOptions", "ADD": "AddOptions", "CAST": "CastOptions"}.get(item.code)
    if options:
        operator.builtinOptionsType = getattr(schema.BuiltinOptions, options)
        operator.builtinOptions = getattr(schema, f"{options}T")()
    return operator


def _code(schema: object, item: Operator) -> object:
    code = schema.OperatorCodeT()
    code.builtinCode = getattr(schema.BuiltinOperator, item.code)
    code.deprecatedBuiltinCode = min(127, code.builtinCode)
    code.version = 1
    return code


def _signature(schema: object, key: str, inputs: list[int], outputs: list[int]) -> object:
    signature = schema.SignatureDefT()
    signature.signatureKey, signature.subgraphIndex = key, 0
    signature.inputs = [_named(schema, f"image_{i}", index) for i, index in enumerate(inputs)]
    signature.outputs = [_named(schema, f"answer_{i}", index) for i, index in enumerate(outputs)]
    return signature


def _named(schema: object, name: str, index: int) -> object:
    entry = schema.TensorMapT()
    entry.name, entry.tensorIndex = name, index
    return entry

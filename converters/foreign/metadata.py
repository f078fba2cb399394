"""What authors write into model files beside the weights: TFLite metadata, packed label files, ONNX properties.

TFLite metadata is a flatbuffer with the identifier M001, stored under the name TFLITE_METADATA (metadata_schema.fbs of
TensorFlow Lite Support); files that it speaks of are appended to the model as a zip archive. Nothing here is needed:
damaged metadata counts as none.
"""

from __future__ import annotations

import ast
import io
import json
import struct
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edge.bundle.manifest import ChannelOrder

_MAX_LABEL_BYTES = 4_000_000
_IDENTIFIER = b"M001"
# Positions of fields in the tables of metadata_schema.fbs.
_SUBGRAPHS, _INPUTS, _CONTENT, _UNITS = 3, 2, 3, 4
_NORMALIZATION, _IMAGE = 1, 2
_GRAYSCALE = 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Metadata:
    """What a model file tells about itself.

    Attributes:
        mean: Subtracted from pixels (0 to 255), for one or three channels; empty where it says nothing.
        std: Then divides them; as many as `mean`.
        channels: Colours of the input, None where it says nothing.
        label_files: Name and content of each label file that is packed into the model.
        labels: Names by class number, where the file holds them itself; empty otherwise.
        author: Who made the file, for people and for the conventions of known exporters.
    """

    mean: tuple[float, ...] = ()
    std: tuple[float, ...] = ()
    channels: ChannelOrder | None = None
    label_files: tuple[tuple[str, bytes], ...] = ()
    labels: tuple[str, ...] = ()
    author: str = ""


def tflite_metadata(data: bytes) -> Metadata:
    """Reads the metadata of a TFLite file; what is missing or damaged is left at its default."""
    mean, std, channels = _input_metadata(data)
    files = _packed_files(data)
    properties = files.pop("metadata.json", b"")
    names, author = _names_and_author(_json_object(properties))
    texts = tuple((name, content) for name, content in files.items() if name.endswith(".txt"))
    return Metadata(mean=mean, std=std, channels=channels, label_files=texts, labels=names, author=author)


def onnx_metadata(properties: Mapping[str, str]) -> Metadata:
    """Reads the custom properties of an ONNX file, as onnxruntime gives them."""
    names, author = _names_and_author(properties)
    return Metadata(labels=names, author=author)


def _input_metadata(data: bytes) -> tuple[tuple[float, ...], tuple[float, ...], ChannelOrder | None]:
    try:
        buffer = _metadata_buffer(data)
        if buffer is None or buffer[4:8] != _IDENTIFIER:
            return (), (), None
        tensor = _first_input(buffer)
        mean, std = _normalisation(tensor)
        return mean, std, _colours(tensor)
    except (struct.error, IndexError, ValueError, TypeError, OverflowError, AttributeError):
        return (), (), None


def _metadata_buffer(data: bytes) -> bytes | None:
    from ai_edge_litert.schema_py_generated import Model

    model = Model.GetRootAs(data, 0)
    for position in range(model.MetadataLength()):
        entry = model.Metadata(position)
        if entry.Name() == b"TFLITE_METADATA":
            return bytes(model.Buffers(entry.Buffer()).DataAsNumpy().tobytes())
    return None


def _first_input(buffer: bytes) -> Any:  # noqa: ANN401  (a flatbuffer table has no type of its own)
    root = _at(buffer, struct.unpack_from("<I", buffer)[0])
    return _item(_item(root, _SUBGRAPHS), _INPUTS)


def _normalisation(tensor: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:  # noqa: ANN401
    for position in range(_length(tensor, _UNITS)):
        unit = _item(tensor, _UNITS, position)
        if _byte(unit, 0) == _NORMALIZATION:
            options = _union(unit, 1)
            mean, std = _floats(options, 0), _floats(options, 1)
            if len(mean) == len(std) and len(mean) in (1, 3) and min(std) > 0:
                return mean, std
    return (), ()


def _colours(tensor: Any) -> ChannelOrder | None:  # noqa: ANN401
    content = _table(tensor, _CONTENT)
    if content is None or _byte(content, 0) != _IMAGE:
        return None
    space = _byte(_union(content, 1), 0)
    return {1: ChannelOrder.RGB, _GRAYSCALE: ChannelOrder.GREY}.get(space)


def _at(data: bytes, position: int) -> Any:  # noqa: ANN401
    from flatbuffers import Table  # type: ignore[import-untyped]

    return Table(data, position)


def _offset(table: Any, field: int) -> int:  # noqa: ANN401
    return int(table.Offset(4 + 2 * field))


def _length(table: Any, field: int) -> int:  # noqa: ANN401
    offset = _offset(table, field)
    return int(table.VectorLen(offset)) if offset else 0


def _item(table: Any, field: int, position: int = 0) -> Any:  # noqa: ANN401
    if position >= _length(table, field):
        raise IndexError(field)
    start = table.Vector(_offset(table, field)) + 4 * position
    return _at(table.Bytes, table.Indirect(start))


def _table(table: Any, field: int) -> Any:  # noqa: ANN401
    offset = _offset(table, field)
    return _at(table.Bytes, table.Indirect(table.Pos + offset)) if offset else None


def _union(table: Any, field: int) -> Any:  # noqa: ANN401
    found = _at(table.Bytes, 0)
    table.Union(found, _offset(table, field))
    return found


def _byte(table: Any, field: int) -> int:  # noqa: ANN401
    offset = _offset(table, field)
    return int(table.Bytes[table.Pos + offset]) if offset else 0


def _floats(table: Any, field: int) -> tuple[float, ...]:  # noqa: ANN401
    count = min(3, _length(table, field))
    start = table.Vector(_offset(table, field)) if count else 0
    return tuple(float(value) for value in struct.unpack_from(f"<{count}f", table.Bytes, start))


def _packed_files(data: bytes) -> dict[str, bytes]:
    try:
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            wanted = [entry for entry in archive.infolist() if entry.filename.endswith((".txt", ".json"))]
            return {entry.filename: archive.read(entry) for entry in wanted[:10] if entry.file_size <= _MAX_LABEL_BYTES}
    except (zipfile.BadZipFile, OSError, ValueError, RuntimeError, NotImplementedError, EOFError):
        return {}


def _json_object(data: bytes) -> dict[str, str]:
    try:
        value = json.loads(data) if data else {}
    except ValueError:
        return {}
    return {key: str(item) for key, item in value.items()} if isinstance(value, dict) else {}


def _names_and_author(properties: Mapping[str, str]) -> tuple[tuple[str, ...], str]:
    """Ultralytics writes `names` as a Python dictionary from class number to name."""
    author = properties.get("author", "")
    try:
        names = ast.literal_eval(properties.get("names", "{}"))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return (), author
    if not isinstance(names, dict) or [str(key) for key in names] != [str(index) for index in range(len(names))]:
        return (), author
    return tuple(str(name) for name in names.values()), author

"""ONNX models whose weights lie in files of their own: a bundle wants one file."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edge.errors import UsageError

_HINT = "put it beside the model, or save the model as one file"


def require_external_data(path: Path) -> None:
    """Refuses a model whose weights are not there, by the names of their files.

    Args:
        path: An ONNX file. One that cannot be read is left to the runtime, which says why.

    Raises:
        UsageError: Names the first file that is missing.
    """
    for location in _locations(_read(path)):
        place = (path.parent / location).resolve()
        if path.parent.resolve() not in place.parents:
            raise UsageError(f"{path.name}: it wants weights from {location[:100]!r}, outside its folder", hint=_HINT)
        if not place.is_file():
            raise UsageError(f"{path.name}: its weights lie in {location[:100]!r}, which is not there", hint=_HINT)


def as_one_file(path: Path) -> bytes:
    """The bytes of a model, with weights from files of their own taken in.

    Args:
        path: A model file of any format.
    """
    if path.suffix.lower() != ".onnx" or next(_locations(_read(path)), None) is None:
        return path.read_bytes()
    import onnx

    return bytes(onnx.load(path, load_external_data=True).SerializeToString(deterministic=True))


def _read(path: Path) -> Any:  # noqa: ANN401  (onnx.ModelProto; onnx is optional)
    try:
        import onnx
        from google.protobuf.message import DecodeError
    except ImportError:
        return None
    try:
        return onnx.load(path, load_external_data=False)
    except (DecodeError, OSError, ValueError):
        return None


def _locations(model: Any) -> Iterator[str]:  # noqa: ANN401
    if model is None:
        return
    for tensor in (*model.graph.initializer, *_constants(model)):
        if tensor.data_location == tensor.EXTERNAL:
            yield next((item.value for item in tensor.external_data if item.key == "location"), "")


def _constants(model: Any) -> Iterator[Any]:  # noqa: ANN401
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t

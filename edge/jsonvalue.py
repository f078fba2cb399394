"""Frozen dataclasses to JSON and back, strictly, with the standard library only.

One codec serves every JSON format of edgeloop (manifest, snapshot, proof, slot state). Reading checks every type and
names the field that is wrong; unknown fields are ignored, so that a newer writer does not break an older reader.
Canonical bytes (sorted keys, no spaces, UTF-8, no NaN) are what digests are taken over.
"""

from __future__ import annotations

import dataclasses
import enum
import functools
import hashlib
import json
import math
import reprlib
import types
import typing
from typing import TypeVar, cast

from edge.errors import FormatError

Json = None | bool | int | float | str | list["Json"] | dict[str, "Json"]
T = TypeVar("T")


def to_json(value: object) -> Json:
    """Turns dataclasses, enums, tuples, mappings and plain values into JSON values."""
    if isinstance(value, enum.Enum):
        return to_json(value.value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {field.name: to_json(getattr(value, field.name)) for field in dataclasses.fields(value)}
    if isinstance(value, (list, tuple)):
        return [to_json(item) for item in value]
    if isinstance(value, dict):
        return {str(key): to_json(item) for key, item in value.items()}
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{type(value).__name__} has no JSON form")


def canonical_bytes(value: object) -> bytes:
    """The one byte string of a value: sorted keys, no spaces, UTF-8, finite numbers only."""
    return canonical_json(to_json(value))


def canonical_json(value: Json) -> bytes:
    """`canonical_bytes` of what is JSON already, without going over it once more."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()


def pretty_bytes(value: object) -> bytes:
    """Sorted and indented, for files that people open."""
    return (json.dumps(to_json(value), sort_keys=True, indent=2, ensure_ascii=False, allow_nan=False) + "\n").encode()


def digest_of(value: object) -> str:
    """SHA-256 of the canonical bytes, in hex."""
    return hashlib.sha256(canonical_bytes(value)).hexdigest()


def parse(data: bytes, *, where: str, max_bytes: int = 16_000_000) -> Json:
    """Reads JSON bytes.

    Args:
        data: UTF-8 JSON.
        where: Name of the file or message, for errors.
        max_bytes: More than this is refused unread.

    Raises:
        FormatError: Not JSON, or too large.
    """
    if len(data) > max_bytes:
        raise FormatError(f"{where}: {len(data)} bytes of JSON, at most {max_bytes} are read")
    try:
        return cast(Json, json.loads(data))
    except (ValueError, RecursionError) as cause:
        raise FormatError(f"{where}: not valid JSON: {_short(str(cause))}") from cause


def from_json(cls: type[T], value: Json, *, where: str) -> T:
    """Builds `cls` from a JSON value.

    Args:
        cls: A dataclass whose fields are dataclasses, enums, tuples, dicts with string keys, optionals or plain types.
        value: The JSON value.
        where: Path of the value so far, for errors (`manifest.json`).

    Raises:
        FormatError: A field is missing or has the wrong type; the message names it.
    """
    return cast(T, _build(cls, value, where))


def load(cls: type[T], data: bytes, *, where: str) -> T:
    """`parse`, then `from_json`."""
    return from_json(cls, parse(data, where=where), where=where)


def _build(kind: object, value: Json, where: str) -> object:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _build_union(kind, value, where)
    if origin in (tuple, list, dict):
        return _build_container(kind, value, where)
    if isinstance(kind, type) and dataclasses.is_dataclass(kind):
        return _build_dataclass(kind, value, where)
    if isinstance(kind, type) and issubclass(kind, enum.Enum):
        return _build_enum(kind, value, where)
    return _build_plain(kind, value, where)


def _build_union(kind: object, value: Json, where: str) -> object:
    arms = typing.get_args(kind)
    if value is None and type(None) in arms:
        return None
    real = [arm for arm in arms if arm is not type(None)]
    if len(real) != 1:
        raise TypeError(f"{where}: unions other than X | None are not supported")
    return _build(real[0], value, where)


def _build_container(kind: object, value: Json, where: str) -> object:
    origin, args = typing.get_origin(kind), typing.get_args(kind)
    if origin is dict:
        if not isinstance(value, dict):
            raise FormatError(f"{where}: expected an object, found {_name(value)}")
        return {key: _build(args[1], item, f"{where}.{key}") for key, item in value.items()}
    if not isinstance(value, list):
        raise FormatError(f"{where}: expected a list, found {_name(value)}")
    if origin is tuple and args[-1:] != (Ellipsis,):
        if len(args) != len(value):
            raise FormatError(f"{where}: expected {len(args)} items, found {len(value)}")
        return tuple(_build(arg, item, f"{where}[{i}]") for i, (arg, item) in enumerate(zip(args, value, strict=True)))
    if args[0] is str and all(type(item) is str for item in value):
        return list(value) if origin is list else tuple(value)  # a thousand labels, one by one, cost milliseconds
    items = [_build(args[0], item, f"{where}[{i}]") for i, item in enumerate(value)]
    return items if origin is list else tuple(items)


def _build_dataclass(kind: type, value: Json, where: str) -> object:
    if not isinstance(value, dict):
        raise FormatError(f"{where}: expected an object, found {_name(value)}")
    hints = _hints(kind)
    arguments = {}
    for field in dataclasses.fields(kind):
        if field.name in value:
            arguments[field.name] = _build(hints[field.name], value[field.name], f"{where}.{field.name}")
        elif field.default is dataclasses.MISSING and field.default_factory is dataclasses.MISSING:
            raise FormatError(f"{where}: field {field.name!r} is missing")
    try:
        return kind(**arguments)
    except ValueError as cause:
        raise FormatError(f"{where}: {_short(str(cause))}") from cause


@functools.cache
def _hints(kind: type) -> dict[str, object]:
    """Types of a dataclass's fields; resolving them anew for every value would take most of the time."""
    return typing.get_type_hints(kind)


def _build_enum(kind: type[enum.Enum], value: Json, where: str) -> object:
    try:
        return kind(value)
    except ValueError as cause:
        known = ", ".join(str(member.value) for member in kind)
        raise FormatError(f"{where}: {_short(reprlib.repr(value))} is not one of {known}") from cause


def _build_plain(kind: object, value: Json, where: str) -> object:
    if kind is float and isinstance(value, int) and not isinstance(value, bool):
        value = float(value) if abs(value) < 2**1023 else math.inf
    if not isinstance(kind, type) or type(value) is not kind:
        raise FormatError(f"{where}: expected {getattr(kind, '__name__', kind)}, found {_name(value)}")
    if isinstance(value, float) and not math.isfinite(value):
        raise FormatError(f"{where}: {value} is not a finite number")
    return value


def _name(value: Json) -> str:
    return "null" if value is None else type(value).__name__


def _short(text: str) -> str:
    """A message that hostile input cannot make longer than a few lines of a terminal."""
    return text if len(text) <= 300 else f"{text[:300]}…"

"""The bytes that the first edgeloop of a fleet sent are still understood, and still sent."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2 as wire

sys.path.insert(0, str(Path(__file__).resolve().parent))

from make_wire_v2 import VALUES, to_message

HERE = Path(__file__).resolve().parent
BYTES = {name: bytes.fromhex(text) for name, text in json.loads((HERE / "wire_v2.json").read_text()).items()}


def message_class(name: str) -> type:
    return getattr(wire, "".join(word.capitalize() for word in name.split("_")))


def test_every_message_is_there() -> None:
    assert set(BYTES) == set(VALUES)


@pytest.mark.parametrize("name", sorted(BYTES))
def test_old_bytes_are_understood(name: str) -> None:
    value = getattr(convert, f"{name}_from_message")(message_class(name).FromString(BYTES[name]))
    assert (value if isinstance(value, tuple) and len(VALUES[name]) > 1 else (value,)) == VALUES[name]


@pytest.mark.parametrize("name", sorted(BYTES))
def test_the_same_bytes_are_sent(name: str) -> None:
    assert to_message(name)(*VALUES[name]).SerializeToString(deterministic=True) == BYTES[name]

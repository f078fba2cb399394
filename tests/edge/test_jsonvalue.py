from __future__ import annotations

import enum
import hashlib
import json
from dataclasses import dataclass

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge import jsonvalue
from edge.errors import FormatError


class Colour(enum.Enum):
    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    size: int

    def __post_init__(self) -> None:
        if self.size < 0:
            raise ValueError(f"size is negative: {self.size}")


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    name: str
    ratio: float
    colour: Colour
    inner: Inner
    many: tuple[Inner, ...]
    pair: tuple[int, str]
    listed: list[int]
    table: dict[str, Inner]
    maybe: int | None
    note: str = "none"


VALUE = Outer(
    name="grün",
    ratio=0.5,
    colour=Colour.BLUE,
    inner=Inner(size=1),
    many=(Inner(size=2), Inner(size=3)),
    pair=(4, "five"),
    listed=[6],
    table={"b": Inner(size=7), "a": Inner(size=8)},
    maybe=None,
)


def test_round_trip() -> None:
    assert jsonvalue.load(Outer, jsonvalue.canonical_bytes(VALUE), where="v") == VALUE
    assert jsonvalue.load(Outer, jsonvalue.pretty_bytes(VALUE), where="v") == VALUE


def test_canonical_bytes_are_sorted_dense_utf8() -> None:
    data = jsonvalue.canonical_bytes(VALUE)
    assert data.startswith(
        b'{"colour":"blue","inner":{"size":1},"listed":[6],"many":[{"size":2},{"size":3}],"maybe":null'
    )
    assert '"name":"grün"'.encode() in data
    assert b": " not in data
    assert jsonvalue.digest_of(VALUE) == hashlib.sha256(data).hexdigest()
    assert jsonvalue.pretty_bytes(VALUE).endswith(b"}\n")


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_numbers_that_json_does_not_have(value: float) -> None:
    with pytest.raises(ValueError, match="JSON"):
        jsonvalue.canonical_bytes({"x": value})


def test_values_that_have_no_json_form() -> None:
    with pytest.raises(TypeError, match="set has no JSON form"):
        jsonvalue.to_json({1, 2})


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ({"name": 1}, r"v\.name: expected str, found int"),
        ({"ratio": "half"}, r"v\.ratio: expected float, found str"),
        ({"ratio": True}, r"v\.ratio: expected float, found bool"),
        ({"ratio": 10**400}, r"v\.ratio: inf is not a finite number"),
        ({"inner": {"size": True}}, r"v\.inner\.size: expected int, found bool"),
        ({"inner": {"size": 1.0}}, r"v\.inner\.size: expected int, found float"),
        ({"inner": {"size": -1}}, r"v\.inner: size is negative: -1"),
        ({"inner": {}}, r"v\.inner: field 'size' is missing"),
        ({"inner": [1]}, r"v\.inner: expected an object, found list"),
        ({"inner": None}, r"v\.inner: expected an object, found null"),
        ({"colour": "green"}, r"v\.colour: 'green' is not one of red, blue"),
        ({"colour": ["red"]}, r"v\.colour: \['red'\] is not one of red, blue"),
        ({"many": {}}, r"v\.many: expected a list, found dict"),
        ({"many": [{"size": 1}, {"size": "x"}]}, r"v\.many\[1\]\.size: expected int, found str"),
        ({"pair": [1]}, r"v\.pair: expected 2 items, found 1"),
        ({"pair": ["x", "y"]}, r"v\.pair\[0\]: expected int, found str"),
        ({"listed": [1, None]}, r"v\.listed\[1\]: expected int, found null"),
        ({"table": []}, r"v\.table: expected an object, found list"),
        ({"table": {"k": {"size": "x"}}}, r"v\.table\.k\.size: expected int, found str"),
        ({"maybe": "x"}, r"v\.maybe: expected int, found str"),
    ],
)
def test_wrong_field_is_named(change: dict, expected: str) -> None:
    value = json.loads(jsonvalue.canonical_bytes(VALUE)) | change
    with pytest.raises(FormatError, match=expected):
        jsonvalue.from_json(Outer, value, where="v")


def test_whole_numbers_serve_as_floats_and_defaults_fill_in() -> None:
    value = json.loads(jsonvalue.canonical_bytes(VALUE)) | {"ratio": 2, "maybe": 3}
    del value["note"]
    outer = jsonvalue.from_json(Outer, value, where="v")
    assert (outer.ratio, type(outer.ratio), outer.maybe, outer.note) == (2.0, float, 3, "none")


def test_unknown_fields_are_ignored() -> None:
    value = json.loads(jsonvalue.canonical_bytes(VALUE)) | {"later": {"x": 1}}
    assert jsonvalue.from_json(Outer, value, where="v") == VALUE


def test_hostile_values_do_not_make_long_messages() -> None:
    value = json.loads(jsonvalue.canonical_bytes(VALUE)) | {"colour": "x" * 1_000_000}
    with pytest.raises(FormatError) as caught:
        jsonvalue.from_json(Outer, value, where="v")
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("data", [b"", b"{", b"\xff", b"[" * 100_000, b"1" * 5000])
def test_bytes_that_are_no_json(data: bytes) -> None:
    with pytest.raises(FormatError, match="file: not valid JSON"):
        jsonvalue.parse(data, where="file")


def test_too_many_bytes_are_not_parsed() -> None:
    with pytest.raises(FormatError, match="11 bytes of JSON, at most 10"):
        jsonvalue.parse(b"[" * 11, where="file", max_bytes=10)


def test_unions_of_two_types_are_a_programming_error() -> None:
    @dataclass(frozen=True, slots=True, kw_only=True)
    class Odd:
        value: int | str

    with pytest.raises(TypeError, match="unions other than"):
        jsonvalue.from_json(Odd, {"value": 1}, where="v")


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(value=_JSON)
def test_any_json_value_builds_or_is_refused(value: object) -> None:
    try:
        jsonvalue.from_json(Outer, value, where="v")
    except FormatError as error:
        names_the_value = str(error).startswith("v")
    else:
        names_the_value = True
    assert names_the_value


@given(value=_JSON)
def test_canonical_bytes_do_not_depend_on_the_order_of_keys(value: object) -> None:
    try:
        data = jsonvalue.canonical_bytes(value)
    except UnicodeEncodeError:
        return
    again = json.loads(data, object_pairs_hook=lambda pairs: dict(reversed(pairs)))
    assert jsonvalue.canonical_bytes(again) == data

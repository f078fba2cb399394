from __future__ import annotations

import json
import struct
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import reference_answers as reference
from hypothesis import given, settings
from hypothesis import strategies as st

from edge.bundle import gallery as module
from edge.bundle.gallery import MAGIC, gallery_bytes, make_gallery, read_gallery
from edge.errors import EdgeloopError, FormatError

UNIT = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8]]


def test_bytes_are_those_of_the_format_page() -> None:
    labels, rows = ["milk", "crème"], [0, 1, 1]
    for dtype in ("float32", "float16"):
        made = gallery_bytes(labels, rows, UNIT, dtype=dtype)
        assert made == reference.part_bytes(labels, rows, UNIT, dtype)
        assert made[:8] == b"ELGALRY\x01"


def test_a_written_part_reads_back() -> None:
    found = read_gallery([("a.bin", gallery_bytes(["milk", "butter"], [0, 1, 1], UNIT))])
    assert found.labels == ("milk", "butter")
    assert found.vectors.dtype == np.float32
    assert found.vectors.tolist() == np.float32(UNIT).tolist()
    assert found.rows.tolist() == [0, 1, 1]
    assert found.starts.tolist() == [0, 1]
    assert found.dimension == 2
    assert found.vectors.flags.c_contiguous
    assert not any(array.flags.writeable for array in (found.vectors, found.rows, found.starts))


def test_vectors_of_any_length_are_written_at_length_one() -> None:
    found = read_gallery([("a.bin", gallery_bytes(["milk"], [0, 0], [[3.0, 4.0], [0.0, 1e-30]]))])
    assert found.vectors.tolist() == np.float32([[0.6, 0.8], [0.0, 1.0]]).tolist()
    huge = make_gallery(["milk"], [0], [[3e38, 3e38]])
    assert huge.vectors[0].tolist() == pytest.approx([2**-0.5] * 2)


def test_float16_is_half_the_size_and_brought_back_to_length_one() -> None:
    vectors = np.random.default_rng(0).normal(size=(20, 64))
    labels, rows = [str(at) for at in range(20)], range(20)
    small, large = (gallery_bytes(labels, list(rows), vectors, dtype=name) for name in ("float16", "float32"))
    assert len(large) - len(small) == 20 * 64 * 2
    coarse, fine = (read_gallery([("a", data)]).vectors for data in (small, large))
    assert np.abs((coarse.astype(np.float64) ** 2).sum(axis=1) - 1).max() < 1e-6
    assert np.abs((coarse * fine).sum(axis=1) - 1).max() < 1e-5


def test_parts_are_one_gallery_and_a_class_may_be_in_several() -> None:
    first = ("1.bin", gallery_bytes(["milk", "butter"], [1, 0, 1], UNIT))
    second = ("2.bin", gallery_bytes(["cheese", "milk"], [0, 1], [[-1.0, 0.0], [0.0, -1.0]]))
    found = read_gallery([first, second])
    assert found.labels == ("milk", "butter", "cheese")
    assert found.rows.tolist() == [0, 0, 1, 1, 2]
    assert found.starts.tolist() == [0, 2, 4]
    assert found.vectors.tolist() == np.float32([[0, 1], [0, -1], [1, 0], [0.6, 0.8], [-1, 0]]).tolist()


def test_the_callers_arrays_are_left_alone() -> None:
    vectors, rows = np.array([[3.0, 4.0]], dtype=np.float32), np.array([0])
    make_gallery(["a"], rows, vectors)
    assert vectors.tolist() == [[3.0, 4.0]]
    assert vectors.flags.writeable
    assert rows.flags.writeable


def test_a_new_product_is_a_small_file() -> None:
    rng = np.random.default_rng(0)
    old = gallery_bytes([str(at) for at in range(300)], [at % 300 for at in range(900)], rng.normal(size=(900, 128)))
    new = gallery_bytes(["new product"], [0, 0, 0], rng.normal(size=(3, 128)))
    assert len(new) < 2_000 < len(old) / 200
    assert read_gallery([("old", old), ("new", new)]).labels[-1] == "new product"


def part(**changes: object) -> bytes:
    """A part with two rows of two numbers, and other header fields, indices or values where asked."""
    indices = changes.pop("indices", [0, 1])
    values = changes.pop("values", [1.0, 0.0, 0.0, 1.0])
    width = "e" if changes.get("dtype") == "float16" else "f"
    fields = {"dimension": 2, "dtype": "float32", "labels": ["a", "b"], "rows": 2} | changes
    header = json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    body = struct.pack(f"<{len(indices)}I", *indices) + struct.pack(f"<{len(values)}{width}", *values)
    return MAGIC + struct.pack("<I", len(header)) + header + b"\0" * (-(12 + len(header)) % 4) + body


def respaced(data: bytes) -> bytes:
    size = struct.unpack("<I", data[8:12])[0]
    header = data[12 : 12 + size].replace(b":2,", b": 2,", 1)
    body = data[12 + size + (-(12 + size) % 4) :]
    return MAGIC + struct.pack("<I", len(header)) + header + b"\0" * (-(12 + len(header)) % 4) + body


NAN, INFINITY = float("nan"), float("inf")
BAD_PARTS = {
    "empty": (b"", "g.bin: not a gallery file"),
    "only magic": (MAGIC, "g.bin: not a gallery file"),
    "pickle": (b"\x80\x04\x95" + b"\0" * 60, "g.bin: not a gallery file"),
    "numpy file": (b"\x93NUMPY\x01\x00" + b"\0" * 120, "g.bin: not a gallery file"),
    "newer version": (b"ELGALRY\x02" + part()[8:], "g.bin: gallery version 2 is unknown (update edgeloop)"),
    "header larger than file": (part()[:8] + b"\xff\xff\xff\x7f" + part()[12:], "g.bin: a header of 2147483647 bytes"),
    "header past the end": (part()[:8] + b"\xff\x00\x00\x00" + part()[12:], "g.bin: a header of 255 bytes"),
    "header cut short": (part()[:8] + b"\x10\x00\x00\x00" + part()[12:], "g.bin: header: not valid JSON"),
    "header with spaces": (respaced(part()), "g.bin: header is not canonical JSON of its four fields"),
    "header with another field": (part(more=1), "g.bin: header is not canonical JSON of its four fields"),
    "no dimension": (part(dimension=None), "g.bin: header.dimension: expected int, found null"),
    "dimension 0": (part(dimension=0), "g.bin: header: needs dimension 1 to 8192"),
    "dimension negative": (part(dimension=-2), "g.bin: header: needs dimension 1 to 8192"),
    "dimension too large": (part(dimension=8193), "g.bin: header: needs dimension 1 to 8192"),
    "dimension of text": (part(dimension="2"), "g.bin: header.dimension: expected int, found str"),
    "rows 0": (part(rows=0), "g.bin: header: needs dimension 1 to 8192 and rows 1 to 1000000"),
    "rows too many": (part(rows=10**12), "g.bin: header: needs dimension 1 to 8192 and rows 1 to 1000000"),
    "rows more than the file": (part(rows=3), "bytes, its header makes"),
    "dtype": (part(dtype="float64"), "g.bin: header: dtype must be float32 or float16, found 'float64'"),
    "dtype object": (part(dtype="O"), "g.bin: header: dtype must be float32 or float16, found 'O'"),
    "no labels": (part(labels=[]), "g.bin: header: labels must be at least one, all different"),
    "double label": (part(labels=["a", "a"]), "g.bin: header: labels must be at least one, all different"),
    "more labels than rows": (part(labels=["a", "b", "c"]), "and no more than rows"),
    "blank label": (part(labels=["a", " "]), "g.bin: header: labels must be printable names, found ' '"),
    "label with a newline": (part(labels=["a", "b\nc"]), "g.bin: header: labels must be printable names"),
    "label of 2000 letters": (part(labels=["a", "b" * 2000]), "g.bin: header: labels must be printable names"),
    "one byte short": (part()[:-1], "bytes, its header makes"),
    "one byte more": (part() + b"\0", "bytes, its header makes"),
    "index too large": (part(indices=[0, 2]), "g.bin: row 1 is of class 2, there are 2 labels"),
    "index huge": (part(indices=[0, 2**32 - 1]), "g.bin: row 1 is of class 4294967295, there are 2 labels"),
    "label without a row": (part(indices=[0, 0]), "g.bin: label 'b' has no row"),
    "zero vector": (part(values=[1, 0, 0, 0]), "g.bin: row 1 is zero"),
    "NaN": (part(values=[NAN, 0, 0, 1]), "g.bin: row 0 holds NaN or infinity"),
    "infinity": (part(values=[1, 0, 0, INFINITY]), "g.bin: row 1 holds NaN or infinity"),
    "float16 NaN": (part(dtype="float16", values=[1, 0, NAN, 1]), "g.bin: row 1 holds NaN or infinity"),
    "not of length one": (part(values=[1, 0, 0.5, 0.5]), "g.bin: row 1 has length 0.7071, embeddings have length 1"),
    "a little too long": (part(values=[1.002, 0, 0, 1]), "g.bin: row 0 has length 1.002, embeddings have length 1"),
}


@pytest.mark.parametrize("case", BAD_PARTS)
def test_a_bad_part_is_refused_by_name(case: str) -> None:
    data, message = BAD_PARTS[case]
    with pytest.raises(FormatError) as caught:
        read_gallery([("good.bin", part()), ("g.bin", data)])
    assert message in str(caught.value)
    assert str(caught.value).startswith("g.bin: ")
    assert "\n" not in str(caught.value)


def test_padding_must_be_zero() -> None:
    data = next(
        part(labels=["a", "b" * n]) for n in range(1, 5) if (12 + _header_size(part(labels=["a", "b" * n]))) % 4
    )
    at = 12 + _header_size(data)
    with pytest.raises(FormatError, match="with zeros as padding"):
        read_gallery([("g.bin", data[:at] + b"\1" + data[at + 1 :])])


def _header_size(data: bytes) -> int:
    return struct.unpack("<I", data[8:12])[0]


def test_no_parts_and_parts_that_do_not_fit_together() -> None:
    with pytest.raises(FormatError, match="at least one part"):
        read_gallery([])
    other = gallery_bytes(["c"], [0], [[1.0, 0.0, 0.0]])
    with pytest.raises(FormatError, match=r"b.bin: dimension is 3, expected 2 as in a.bin"):
        read_gallery([("a.bin", part()), ("b.bin", other)])


def test_a_part_that_is_too_large_is_refused_unread(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_PART_BYTES", 50)
    with pytest.raises(FormatError, match=r"g\.bin: [0-9]+ bytes, at most 50 are read"):
        read_gallery([("g.bin", part())])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: gallery_bytes(["a"], [0], [[0.0, 0.0]]), "gallery: row 0 is zero"),
        (lambda: gallery_bytes(["a"], [0, 0], [[1.0, 0.0], [NAN, 0.0]]), "gallery: row 1 holds NaN or infinity"),
        (lambda: gallery_bytes(["a"], [1], [[1.0, 0.0]]), "gallery: row 0 is of class 1, there are 1 labels"),
        (lambda: gallery_bytes(["a"], [-1], [[1.0, 0.0]]), "gallery: row 0 is of class -1, there are 1 labels"),
        (lambda: gallery_bytes(["a"], [0, 0], [[1.0, 0.0]]), "gallery: 2 class indices for 1 rows"),
        (lambda: gallery_bytes(["a", "a"], [0, 1], UNIT[:2]), "gallery: labels must be at least one, all different"),
        (lambda: gallery_bytes(["a", "b"], [0, 0], UNIT[:2]), "gallery: label 'b' has no row"),
        (lambda: gallery_bytes(["a"], [0], [1.0, 0.0]), "gallery: vectors must be rows of equal length"),
        (lambda: gallery_bytes(["a"], [0], [[1.0, 0.0]], dtype="float64"), "gallery: dtype must be float32 or float16"),
        (lambda: make_gallery([], [], np.zeros((0, 4)), name="crops"), "crops: needs dimension 1 to 8192 and rows"),
    ],
)
def test_what_is_no_gallery_is_not_written(make: Callable[[], object], message: str) -> None:
    with pytest.raises(FormatError, match=message):
        make()


@given(st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes_never_pass_as_anything_but_an_error(data: st.DataObject) -> None:
    good = part(labels=["a", "bb"])
    kind = data.draw(st.sampled_from(["flip", "cut", "insert"]))
    at = data.draw(st.integers(0, len(good) - 1))
    if kind == "cut":
        damaged = good[:at]
    else:
        more = bytes([data.draw(st.integers(0, 255))])
        damaged = good[:at] + more + good[at + (kind == "flip") :]
    found, message = None, ""
    try:
        found = read_gallery([("g.bin", damaged)])
    except EdgeloopError as error:
        message = str(error)
    if found is None:
        assert message.startswith("g.bin: ")
        return
    assert np.abs(np.linalg.norm(found.vectors, axis=1) - 1).max() < 1e-6
    assert len(found.rows) == len(found.vectors)


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_any_bytes_after_the_magic(noise: bytes) -> None:
    with pytest.raises(FormatError):
        read_gallery([("g.bin", MAGIC + noise)])


def test_the_page_names_the_magic_and_the_limits(repository: Path) -> None:
    page = (repository / "docs" / "formats" / "gallery.md").read_text()
    for value in ("ELGALRY", f"{module.MAX_DIMENSION:,}", f"{module.MAX_ROWS:,}", f"{module.MAX_HEADER_BYTES:,}"):
        assert value in page

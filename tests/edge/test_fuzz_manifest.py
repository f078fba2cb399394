"""Damaged manifests and archives: `FormatError` or `BundleError` in one line, or a value; nothing else, ever."""

from __future__ import annotations

import copy
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edge import jsonvalue
from edge.bundle.archive import pack, unpack
from edge.bundle.manifest import BundleManifest
from edge.bundle.reader import open_bundle, read_manifest
from edge.errors import BundleError, FormatError

Json = jsonvalue.Json
Place = tuple[str | int, ...]

DETECTOR = {
    "name": "detect",
    "task": "detect",
    "preprocess": {"width": 64, "height": 64, "crop": "letterbox", "layout": "nchw", "mean": [1.0, 2, 3.5]},
    "outputs": [
        {"name": "boxes", "kind": "boxes", "shape": [1, 9, 4]},
        {"name": "scores", "kind": "scores", "shape": [1, 9, 4]},
    ],
    "artifacts": [{"file": "detect.tflite", "format": "tflite", "recipe": "fp32", "tolerance": 0.0}],
    "detect": {"decoder": "yolo", "score_threshold": 0.3},
}  # fmt: skip
MATCHER = {
    "name": "match",
    "task": "match",
    "reads": "crops",
    "preprocess": {"width": 32, "height": 32},
    "outputs": [{"name": "embedding", "kind": "embedding", "shape": [1, 16]}],
    "artifacts": [{"file": "match.onnx", "format": "onnx", "recipe": "fp32", "tolerance": 0.0}],
    "match": {"gallery": ["a.gallery"], "class_thresholds": [{"label": "x", "value": 0.25}]},
    "text": {"charset": "abc", "beam_width": 3},
}
NUMBERS = st.sampled_from([0, -1, 1, 2**31, 2**63, -(2**63), 10**40, 1e308, -0.0, 0.5, float("nan"), float("inf")])
WORDS = st.sampled_from(["", "../up", "a/b", "\n", "\0", "é", "\ud800", "x" * 500, "classify", "detect", "yolo"])
VALUES = st.recursive(
    st.none() | st.booleans() | NUMBERS | WORDS | st.text(max_size=6),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)


@pytest.fixture(scope="module")
def folder(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("fuzz") / "bundle")


@pytest.fixture(scope="module")
def manifest(folder: Path) -> dict[str, Json]:
    return json.loads((folder / "manifest.json").read_bytes())


def pipeline_of(manifest: dict[str, Json]) -> dict[str, Json]:
    """The same bundle with a detector and a matcher of its crops."""
    names = ("detect.tflite", "match.onnx", "a.gallery")
    entries = [{"name": name, "sha256": "0" * 64, "size_bytes": 1} for name in names]
    stages, files = copy.deepcopy([DETECTOR, MATCHER]), copy.deepcopy(manifest["files"]) + entries
    return {**copy.deepcopy(manifest), "task": "count", "stages": stages, "files": files}


def places(value: Json, at: Place = ()) -> Iterator[Place]:
    """Every place in a JSON value but its root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


def damage(draw: st.DrawFn, value: dict[str, Json]) -> dict[str, Json]:
    """One accident somewhere in it."""
    place = draw(st.sampled_from(list(places(value)) or [("format_version",)]))
    parent: Json = value
    for key in place[:-1]:
        parent = parent[key]
    match draw(st.sampled_from(["value", "remove", "move", "double"])):
        case "value":
            parent[place[-1]] = draw(VALUES)
        case "remove" if isinstance(parent, (dict, list)) and len(value) > 1:
            parent.pop(place[-1], None) if isinstance(parent, dict) else parent.pop(place[-1])
        case "move":
            other = draw(st.sampled_from(list(places(value))))
            found: Json = value
            for key in other:
                found = found[key]
            parent[place[-1]] = copy.deepcopy(found)
        case "double" if isinstance(parent, list):
            parent.extend(copy.deepcopy(parent))
    return value


def assert_clear(error: Exception, name: str) -> None:
    assert str(error).startswith(name)
    assert "\n" not in str(error)
    assert len(str(error)) < 1000


def check(data: bytes) -> None:
    try:
        manifest = read_manifest(data, where="manifest.json")
    except (FormatError, BundleError) as error:
        assert_clear(error, "manifest.json")
        return
    assert isinstance(manifest, BundleManifest)


@given(data=st.data())
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_damaged_fields(data: st.DataObject, manifest: dict[str, Json]) -> None:
    value = pipeline_of(manifest) if data.draw(st.booleans()) else copy.deepcopy(manifest)
    for _ in range(data.draw(st.integers(1, 3))):
        value = damage(data.draw, value)
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    check(text.encode("utf-8", "surrogatepass"))


@given(data=st.data())
@settings(max_examples=300, deadline=None)
def test_damaged_bytes(data: st.DataObject, manifest: dict[str, Json]) -> None:
    raw = bytearray(jsonvalue.canonical_bytes(manifest))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["byte", "cut", "insert", "drop"])):
            case "byte":
                raw[at] = data.draw(st.integers(0, 255))
            case "cut" if at:
                del raw[at:]
            case "insert":
                raw[at:at] = data.draw(st.sampled_from([b"[" * 5000, b"1" * 5000, b'"', b"\\u0000", b"\xff", b"NaN"]))
            case "drop" if len(raw) > 50:
                del raw[at : at + 20]
    check(bytes(raw))


@given(value=VALUES)
@settings(max_examples=200, deadline=None)
def test_any_json(value: Json) -> None:
    check(json.dumps(value).encode("utf-8", "surrogatepass"))


def test_undamaged_manifests_are_read(manifest: dict[str, Json]) -> None:
    assert read_manifest(jsonvalue.canonical_bytes(manifest)).name == manifest["name"]
    assert len(read_manifest(jsonvalue.canonical_bytes(pipeline_of(manifest))).stages) == 2


@pytest.fixture(scope="module")
def archive(folder: Path, tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("fuzz") / "bundle.edgebundle"
    pack(folder, path)
    return path.read_bytes()


def assert_nothing_left(scratch: Path) -> None:
    assert [path.name for path in scratch.iterdir()] == ["a.edgebundle"]


def check_archive(raw: bytes, scratch: Path) -> None:
    """Nothing but the bundle itself may be left behind, and that only where it is whole."""
    shutil.rmtree(scratch, ignore_errors=True)
    scratch.mkdir()
    (scratch / "a.edgebundle").write_bytes(raw)
    try:
        unpack(scratch / "a.edgebundle", scratch / "bundle")
    except (FormatError, BundleError) as error:
        assert_clear(error, str(scratch))
        assert_nothing_left(scratch)
        return
    open_bundle(scratch / "bundle")


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_damaged_archives(data: st.DataObject, archive: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    raw = bytearray(archive)
    # Half of the accidents hit the directory at the end, a small part of the file.
    for _ in range(data.draw(st.integers(1, 3))):
        low = data.draw(st.sampled_from([0, max(0, len(raw) - 700)]))
        at = data.draw(st.integers(low, len(raw) - 1))
        match data.draw(st.sampled_from(["byte", "bit", "number", "cut", "drop"])):
            case "byte":
                raw[at] = data.draw(st.integers(0, 255))
            case "bit":
                raw[at] ^= 1 << data.draw(st.integers(0, 7))
            case "number":
                raw[at : at + 4] = data.draw(st.sampled_from([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"]))
            case "cut" if at > 100:
                del raw[at:]
            case "drop" if len(raw) > 2000:
                del raw[at : at + data.draw(st.integers(1, 40))]
    check_archive(bytes(raw), tmp_path_factory.getbasetemp() / "damaged-archive")


@pytest.mark.parametrize(
    "names",
    [["../manifest.json"], ["/etc/passwd"], ["manifest.json/x"], ["manifest.json", "manifest.json"], ["a" * 300]],
)
@pytest.mark.filterwarnings("ignore:Duplicate name:UserWarning")
def test_archives_with_names_that_are_none(names: list[str], manifest: dict[str, Json], tmp_path: Path) -> None:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as target:
        for name in names:
            target.writestr(name, jsonvalue.canonical_bytes(manifest))
    check_archive(buffer.getvalue(), tmp_path / "x")
    assert not (tmp_path / "x" / "bundle").exists()

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edge import jsonvalue
from edge.bundle.golden import unpack_values
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import FORMAT_VERSION, BundleManifest, Verdict
from edge.bundle.reader import bundle_digest, open_bundle, read_manifest
from edge.errors import BundleError, EdgeloopError, FormatError

Edit = Callable[[dict], None]


def assert_one_line(error: Exception) -> None:
    assert "\n" not in str(error)
    assert str(error)


def rewrite(folder: Path, edit: Edit) -> None:
    """Changes the manifest and keeps it canonical."""
    path = folder / "manifest.json"
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_bytes(jsonvalue.canonical_bytes(value))


def rewrite_golden(folder: Path, edit: Edit) -> None:
    """Changes the golden index and its entry in the manifest."""
    path = folder / "golden.json"
    value = json.loads(path.read_bytes())
    edit(value)
    path.write_bytes(jsonvalue.canonical_bytes(value))

    def refresh(manifest: dict) -> None:
        entry = next(entry for entry in manifest["files"] if entry["name"] == "golden.json")
        entry["sha256"], entry["size_bytes"] = hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_size

    rewrite(folder, refresh)


def setting(path: str, value: object) -> Edit:
    """An edit: `stages.0.name` becomes the value."""

    def edit(manifest: dict) -> None:
        *parents, last = path.split(".")
        target = manifest
        for key in parents:
            target = target[int(key) if key.isdigit() else key]
        target[int(last) if last.isdigit() else last] = value

    return edit


def deleting(path: str) -> Edit:
    def edit(manifest: dict) -> None:
        *parents, last = path.split(".")
        target = manifest
        for key in parents:
            target = target[int(key) if key.isdigit() else key]
        del target[last]

    return edit


def duplicating_file(manifest: dict) -> None:
    manifest["files"].append(dict(manifest["files"][0]))


def differing_by_case(manifest: dict) -> None:
    manifest["files"].append(manifest["files"][0] | {"name": manifest["files"][0]["name"].upper()})


def listing_the_manifest(manifest: dict) -> None:
    manifest["files"][0]["name"] = "Manifest.json"


def test_bundle_opens_with_its_digest(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    assert bundle.manifest.format_version == FORMAT_VERSION
    assert bundle.manifest.labels == ("red", "green", "blue")
    assert bundle.digest == hashlib.sha256((tiny_bundle / "manifest.json").read_bytes()).hexdigest()
    assert bundle.digest == bundle_digest(bundle.manifest)
    assert bundle.path("proof.json") == tiny_bundle / "proof.json"
    assert bundle.read("proof.json") == (tiny_bundle / "proof.json").read_bytes()


def test_digest_depends_on_every_file_and_field(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    changes = ({}, {"version": 2}, {"name": "other"}, {"flavour": 1}, {"flavour": 2}, {"labels": ("a", "b", "c")})
    digests = [
        open_bundle(make_bundle(tmp_path / str(number), **change)).digest for number, change in enumerate(changes)
    ]
    assert len(set(digests)) == len(changes)
    assert open_bundle(make_bundle(tmp_path / "again")).digest == digests[0]


def test_files_beside_the_bundle_are_ignored(tiny_bundle: Path) -> None:
    digest = open_bundle(tiny_bundle).digest
    (tiny_bundle / "measurements.json").write_text("{}")
    (tiny_bundle / "notes.txt").write_text("hello")
    bundle = open_bundle(tiny_bundle)
    assert bundle.digest == digest
    for name in ("notes.txt", "manifest.json", "../manifest.json"):
        with pytest.raises(BundleError, match="the bundle has no file"):
            bundle.path(name)


def test_unknown_fields_are_ignored_and_count_for_the_digest(tiny_bundle: Path) -> None:
    digest = open_bundle(tiny_bundle).digest
    rewrite(tiny_bundle, setting("colour_of_the_box", "blue"))
    bundle = open_bundle(tiny_bundle)
    assert bundle.digest == hashlib.sha256((tiny_bundle / "manifest.json").read_bytes()).hexdigest() != digest


def test_file_that_vanishes_later(tiny_bundle: Path) -> None:
    bundle = open_bundle(tiny_bundle)
    (tiny_bundle / "proof.json").unlink()
    with pytest.raises(BundleError, match=r"proof\.json: cannot be read"):
        bundle.read("proof.json")


@pytest.mark.parametrize("name", ["tiny_fp32.tflite", "tiny_fp32.onnx", "golden.json", "golden-0.png", "proof.json"])
def test_one_flipped_bit_anywhere_is_found(name: str, tiny_bundle: Path) -> None:
    path = tiny_bundle / name
    data = path.read_bytes()
    for position in range(0, len(data), max(1, len(data) // 40)):
        damaged = bytearray(data)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        with pytest.raises(BundleError, match=f"{name}: its SHA-256 is not the manifest's"):
            open_bundle(tiny_bundle)
    path.write_bytes(data)
    open_bundle(tiny_bundle)


def test_missing_short_linked_and_special_files(tiny_bundle: Path, tmp_path: Path) -> None:
    path = tiny_bundle / "golden-0.png"
    data = path.read_bytes()
    path.unlink()
    with pytest.raises(BundleError, match=r"golden-0\.png: cannot be read: no such file"):
        open_bundle(tiny_bundle)
    path.write_bytes(data[:-1])
    with pytest.raises(BundleError, match=rf"golden-0\.png: {len(data) - 1} bytes, the manifest says {len(data)}"):
        open_bundle(tiny_bundle)
    path.unlink()
    (tmp_path / "outside.png").write_bytes(data)
    path.symlink_to(tmp_path / "outside.png")
    with pytest.raises(BundleError, match=r"golden-0\.png: not a regular file"):
        open_bundle(tiny_bundle)
    path.unlink()
    os.mkfifo(path)
    with pytest.raises(BundleError, match=r"golden-0\.png: not a regular file"):
        open_bundle(tiny_bundle)


def test_folder_that_is_no_bundle(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"nowhere: not a bundle: manifest\.json: no such file"):
        open_bundle(tmp_path / "nowhere")
    (tmp_path / "manifest.json").mkdir()
    with pytest.raises(BundleError, match=r"not a bundle: manifest\.json: is a directory"):
        open_bundle(tmp_path)


def test_manifest_above_four_megabytes_is_refused_unparsed(tiny_bundle: Path) -> None:
    (tiny_bundle / "manifest.json").write_bytes(b"[" * 4_000_001)
    with pytest.raises(BundleError, match="larger than 4000000 bytes"):
        open_bundle(tiny_bundle)


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (setting("format_version", 2), "format version 2 is not known, this edgeloop reads 1"),
        (setting("format_version", "1"), "'format_version' is missing or no number"),
        (setting("format_version", True), "'format_version' is missing or no number"),
        (deleting("format_version"), "'format_version' is missing or no number"),
        (deleting("labels"), "field 'labels' is missing"),
        (deleting("stages.0.preprocess"), r"stages\[0\]: field 'preprocess' is missing"),
        (setting("stages.0.preprocess.width", "32"), r"stages\[0\]\.preprocess\.width: expected int, found str"),
        (setting("stages.0.preprocess.width", 0), "width and height must be 1 to 4096"),
        (setting("stages.0.preprocess.crop", "fit"), "'fit' is not one of stretch, center, letterbox"),
        (setting("stages.0.outputs.0.temperature", 0), "temperature of output 'logits' must be 0.01 to 100"),
        (setting("stages.0.outputs.0.shape", [1, 4]), r"output 'logits' has shape \[1, 4\] for 3 labels"),
        (setting("stages.0.artifacts.0.file", "gone.tflite"), "'gone.tflite' is not in files"),
        (setting("stages.0.artifacts.0.tolerance", -1), "tolerance of 'tiny_fp32.tflite' is negative"),
        (setting("stages.0.artifacts.0.file", "tiny_fp32.onnx"), "file 'tiny_fp32.onnx' appears 2 times"),
        (setting("stages.0.artifacts", []), "needs at least one artifact"),
        (setting("stages", []), "stages must hold at least one"),
        (setting("golden_file", "gone.json"), "golden_file 'gone.json' is not in files"),
        (setting("golden_file", ""), "golden_file '' is not in files"),
        (setting("proof.file", "gone.json"), "proof.file 'gone.json' is not in files"),
        (setting("proof.verdict", "maybe"), "'maybe' is not one of pass, undecided, fail, none"),
        (setting("labels", []), "labels must not be empty"),
        (setting("labels", ["a", "b", "a"]), "label 'a' appears 2 times"),
        (setting("labels", ["a", "b", " "]), "labels must be printable names"),
        (setting("labels", ["a", "b", "c\n"]), "labels must be printable names"),
        (setting("name", "../up"), "name must be letters"),
        (setting("version", 0), "version must be at least 1"),
        (setting("decision.confirm_confidence", 0.9), "confirm_confidence <= accept_confidence"),
        (setting("keep.random_fraction", 2), "random_fraction must be 0 to 1"),
        (setting("keep.random_fraction", 10**400), "is not a finite number"),
        (setting("files.0.name", "../golden.json"), "must be a flat name"),
        (setting("files.0.name", "/etc/passwd"), "must be a flat name"),
        (setting("files.0.name", ".hidden"), "must be a flat name"),
        (setting("files.0.name", "a\nb"), "must be a flat name"),
        (setting("files.0.name", "golden.json\n"), "must be a flat name"),
        (setting("files.0.sha256", "00"), "is not 64 hex digits"),
        (setting("files.0.sha256", "0" * 64 + "\n"), "is not 64 hex digits"),
        (setting("files.0.size_bytes", -1), "is negative"),
        (duplicating_file, "name 'golden-0.png' appears 2 times"),
        (differing_by_case, "name 'golden-0.png' appears 2 times"),
        (listing_the_manifest, "files must not list 'Manifest.json'"),
    ],
)
def test_bad_manifest_is_one_line_that_names_the_field(edit: Edit, expected: str, tiny_bundle: Path) -> None:
    rewrite(tiny_bundle, edit)
    with pytest.raises((BundleError, FormatError), match=expected) as caught:
        open_bundle(tiny_bundle)
    assert str(tiny_bundle / "manifest.json") in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"", "not valid JSON"),
        (b"\xff\xfe", "not valid JSON"),
        (b"[1]", "expected an object"),
        (b"[" * 100_000, "not valid JSON"),
        (b'{"format_version":1}', "is missing"),
    ],
)
def test_manifest_that_is_no_manifest(data: bytes, expected: str) -> None:
    with pytest.raises(FormatError, match=expected):
        read_manifest(data)


def test_manifest_that_is_not_canonical_is_refused(tiny_bundle: Path) -> None:
    data = (tiny_bundle / "manifest.json").read_bytes()
    value = json.loads(data)
    variants = (
        jsonvalue.pretty_bytes(value),
        data + b"\n",
        data[:-1] + b',"version":1}',
        data[:-1] + b',"zzz":NaN}',
        data[:-1] + b',"zzz":"\\ud800"}',
    )
    for variant in variants:
        with pytest.raises(FormatError, match="not canonical JSON"):
            read_manifest(variant)


def test_what_a_newer_writer_adds_may_be_deep(tiny_bundle: Path) -> None:
    data = (tiny_bundle / "manifest.json").read_bytes()
    assert read_manifest(data[:-1] + b',"zzz":' + b"[" * 600 + b"]" * 600 + b"}") == read_manifest(data)


def test_unproven_bundle_may_lack_proof_and_golden(make_bundle: Callable[..., Path], tmp_path: Path) -> None:
    folder = make_bundle(tmp_path / "foreign", verdict=Verdict.NONE, golden_file="")
    bundle = open_bundle(folder)
    with pytest.raises(BundleError, match="has no golden vectors"):
        load_golden(bundle)


def test_golden_set_is_complete(tiny_bundle: Path) -> None:
    golden = load_golden(open_bundle(tiny_bundle))
    assert len(golden.vectors) == 4
    assert [unpack_values(output).shape for output in golden.vectors[0].outputs] == [(1, 3), (1, 3)]


@pytest.mark.parametrize(
    ("edit", "expected"),
    [
        (setting("vectors", []), "at least one vector"),
        (setting("vectors.0.input_file", "gone.png"), r"vectors\[0\]: input_file 'gone.png' is not in"),
        (setting("vectors.1.outputs", []), r"vectors\[1\]: outputs are not those"),
        (setting("vectors.1.outputs.0.artifact", "x.onnx"), r"vectors\[1\]: outputs are not those"),
        (setting("vectors.2.outputs.0.label", "pink"), r"vectors\[2\]: shape or label"),
        (setting("vectors.2.outputs.0.shape", [3, 1]), r"vectors\[2\]: shape or label"),
        (setting("vectors.2.outputs.0.values", "###"), "are not base64"),
        (setting("vectors.2.outputs.0.values", "AAAA"), "hold 0 numbers for shape"),
        (setting("vectors.2.outputs.0.outcome", "yes"), "'yes' is not one of accept"),
    ],
)
def test_bad_golden_index(edit: Edit, expected: str, tiny_bundle: Path) -> None:
    rewrite_golden(tiny_bundle, edit)
    with pytest.raises(FormatError, match=expected):
        load_golden(open_bundle(tiny_bundle))


def test_golden_output_twice(tiny_bundle: Path) -> None:
    def edit(golden: dict) -> None:
        golden["vectors"][0]["outputs"].append(golden["vectors"][0]["outputs"][0])

    rewrite_golden(tiny_bundle, edit)
    with pytest.raises(FormatError, match="appears more than once"):
        load_golden(open_bundle(tiny_bundle))


_PLAIN = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
_JSON = st.recursive(_PLAIN, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner))


def places(value: object, path: tuple = ()) -> list[tuple]:
    """Every place in a JSON value."""
    found = [path]
    children = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, child in children:
        found += places(child, (*path, key))
    return found


@pytest.fixture(scope="module")
def manifest_value(make_bundle: Callable[..., Path], tmp_path_factory: pytest.TempPathFactory) -> dict:
    folder = make_bundle(tmp_path_factory.mktemp("mutated") / "bundle")
    return json.loads((folder / "manifest.json").read_bytes())


@given(data=st.data())
@settings(max_examples=150, deadline=None)
def test_random_mutations_raise_nothing_but_our_errors(data: st.DataObject, manifest_value: dict) -> None:
    value = json.loads(json.dumps(manifest_value))
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.sampled_from(places(value)))
        replacement = data.draw(_JSON)
        if not place:
            value = replacement
            continue
        target = value
        for key in place[:-1]:
            target = target[key]
        target[place[-1]] = replacement
    try:
        manifest = read_manifest(json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode())
    except EdgeloopError as error:
        assert_one_line(error)
    else:
        assert isinstance(manifest, BundleManifest)


@given(data=st.data())
@settings(max_examples=200, deadline=None)
def test_random_byte_changes_raise_nothing_but_our_errors(data: st.DataObject, manifest_value: dict) -> None:
    raw = bytearray(jsonvalue.canonical_bytes(manifest_value))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    try:
        read_manifest(bytes(raw))
    except EdgeloopError as error:
        assert_one_line(error)

"""Bundles damaged at random, digests put right: an answer or one line, nothing else, in bounded time.

`test_fuzz_manifest` reads manifests and archives; here whole bundles are opened, loaded, tested and asked.
"""

from __future__ import annotations

import copy
import json
import math
import shutil
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from damaged_bundles import edit_manifest, replace_file, setting
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_bundles import COLOURS, GALLERY, build_pipeline, squares
from tiny_bundles import build_bundle

from edge import jsonvalue
from edge.bundle.golden_reader import load_golden
from edge.bundle.reader import Bundle, open_bundle
from edge.engine import open_engine
from edge.errors import BundleError, EdgeloopError, FormatError
from edge.types import Inference
from edge.update.selftest import self_test

Json = jsonvalue.Json
Place = tuple[str | int, ...]

# No example may hang; an honest one takes milliseconds.
PATIENCE = timedelta(seconds=20)
QUIET = [HealthCheck.too_slow, HealthCheck.function_scoped_fixture]
PICTURE = squares((2, 3, COLOURS["red"]), (6, 1, COLOURS["blue"]))
NUMBERS = st.sampled_from(
    [0, -1, 1, 2, 3, 7, 64, 255, 4096, 10_000, 2**31, 2**63, 10**40, 0.01, 0.5, 1e-9, 1e9, 1e-300, 1e300, math.nan]
)
WORDS = st.sampled_from(
    [
        "nhwc",
        "nchw",
        "rgb",
        "bgr",
        "grey",
        "float32",
        "uint8",
        "int8",
        "stretch",
        "center",
        "letterbox",
        "logits",
        "probabilities",
        "embedding",
        "steps",
        "boxes",
        "scores",
        "classes",
        "count",
        "boxes_scores",
        "detections",
        "grid",
        "sigmoid",
        "softmax",
        "none",
        "yolo",
        "end_to_end",
        "ssd",
        "xyxy",
        "yxyx",
        "cxcywh",
        "classify",
        "attributes",
        "detect",
        "match",
        "text",
        "tabular",
        "picture",
        "crops",
        "tflite",
        "onnx",
        "red",
        "../up",
        "gallery.egl",
        "words.txt",
    ]
)
PLAIN = st.none() | st.booleans() | NUMBERS | WORDS
VALUES = PLAIN | st.lists(PLAIN, max_size=4)


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A classifier, a pipeline, and a reader of text with a lexicon, all of the tiny models."""
    folder = tmp_path_factory.mktemp("fuzz")
    made = {
        "classifier": build_bundle(folder / "classifier"),
        "pipeline": build_pipeline(folder / "pipeline"),
        "reader": build_bundle(folder / "reader"),
    }
    replace_file(made["reader"], "words.txt", b"a\nab\n")
    text = {"charset": "ab", "lexicon": "words.txt", "lexicon_only": True, "beam_width": 4}
    for path, value in {
        "task": "text",
        "stages.0.task": "text",
        "stages.0.outputs.0.kind": "steps",
        "stages.0.text": text,
    }.items():
        edit_manifest(made["reader"], setting(path, value))
    for bundle in made.values():
        spell_out(bundle)
    return made


def spell_out(folder: Path) -> None:
    """Writes every field with a default, so that each can be damaged."""
    manifest = open_bundle(folder).manifest
    (folder / "manifest.json").write_bytes(jsonvalue.canonical_bytes(manifest))


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.getbasetemp() / "damaged-bundle"


def places(value: Json, at: Place = ()) -> Iterator[Place]:
    """Every place in a JSON value but its root."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, item in items:
        yield (*at, key)
        yield from places(item, (*at, key))


def found(value: Json, place: Place) -> Json:
    for key in place:
        value = value[key]
    return value


def alike(value: Json) -> st.SearchStrategy[Json]:
    """Values of the same type, for what gets past the check of types."""
    match value:
        case bool():
            return st.booleans()
        case int():
            return NUMBERS.filter(lambda number: isinstance(number, int))
        case float():
            return NUMBERS.map(lambda number: float(number) if number < 1e300 else number)
        case str():
            return WORDS
        case _:
            return VALUES


def damage(draw: st.DrawFn, value: Json, *, but: frozenset[str] = frozenset()) -> None:
    """One accident, where no name of the place is in `but`; none where nothing is left."""
    known = [place for place in places(value) if not but.intersection(map(str, place))]
    if not known:
        return
    place = draw(st.sampled_from(known))
    parent, last = found(value, place[:-1]), place[-1]
    match draw(st.sampled_from(["alike", "alike", "alike", "alike", "value", "remove", "move", "double"])):
        case "alike":
            parent[last] = draw(alike(parent[last]))
        case "remove":
            parent.pop(last)
        case "move":
            parent[last] = copy.deepcopy(found(value, draw(st.sampled_from(known))))
        case "double" if isinstance(parent, list):
            parent.extend(copy.deepcopy(parent))
        case _:
            parent[last] = draw(VALUES)


def assert_clear(error: EdgeloopError, *, about: Path | None = None) -> None:
    assert str(error).startswith(str(about or ""))
    assert "\n" not in str(error)
    assert 10 < len(str(error)) < 2000
    assert error.exit_code == 1


def assert_sane(inference: Inference) -> None:
    headline = inference.prediction.headline
    for value in (headline.confidence, headline.margin, inference.decision.confidence):
        assert -1e-6 <= value <= 1 + 1e-6
    jsonvalue.canonical_bytes(inference)  # no NaN anywhere


def copied(source: Path, scratch: Path) -> Path:
    shutil.rmtree(scratch, ignore_errors=True)
    shutil.copytree(source, scratch)
    return scratch


def ask(folder: Path) -> None:
    """Opens a bundle, loads it, asks it: an answer or one line."""
    try:
        with open_engine(folder, allow_unproven=True, workers=1) as engine:
            assert_sane(engine.infer(PICTURE))
    except EdgeloopError as error:
        assert_clear(error)


@pytest.mark.parametrize("kind", ["classifier", "pipeline", "reader"])
def test_whole_ones_answer(kind: str, folders: dict[str, Path]) -> None:
    with open_engine(folders[kind]) as engine:
        assert_sane(engine.infer(PICTURE))


@pytest.mark.parametrize("kind", ["classifier", "pipeline", "reader"])
@given(data=st.data())
@settings(max_examples=150, deadline=PATIENCE, suppress_health_check=QUIET)
@pytest.mark.filterwarnings("error")
def test_a_damaged_manifest_over_good_files(
    kind: str, data: st.DataObject, folders: dict[str, Path], scratch: Path
) -> None:
    folder = copied(folders[kind], scratch)
    value = json.loads((folder / "manifest.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        damage(data.draw, value, but=frozenset({"files", "provenance", "proof", "format_version"}))
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    (folder / "manifest.json").write_bytes(text.encode())
    ask(folder)


@pytest.mark.parametrize("name", [GALLERY, "words.txt"])
@given(data=st.data())
@settings(max_examples=120, deadline=PATIENCE, suppress_health_check=QUIET)
@pytest.mark.filterwarnings("error")
def test_damaged_files_of_a_stage(name: str, data: st.DataObject, folders: dict[str, Path], scratch: Path) -> None:
    folder = copied(folders["pipeline" if name == GALLERY else "reader"], scratch)
    raw = bytearray((folder / name).read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, max(0, len(raw) - 1)))
        match data.draw(st.sampled_from(["byte", "cut", "insert", "number"])):
            case "byte":
                raw[at : at + 1] = bytes([data.draw(st.integers(0, 255))])
            case "cut":
                del raw[at:]
            case "insert":
                raw[at:at] = data.draw(st.sampled_from([b"\n", b"\xff", bytes(4), b"a" * 2000, b"\0\0\xc0\x7f"]))
            case "number":
                raw[at : at + 4] = data.draw(st.sampled_from([b"\xff" * 4, b"\0\0\x80\x7f", b"\xff\xff\xff\x7f"]))
    replace_file(folder, name, bytes(raw))
    ask(folder)


@pytest.fixture(scope="module")
def opened(folders: dict[str, Path]) -> dict[str, Bundle]:
    return {kind: open_bundle(folder) for kind, folder in folders.items()}


@pytest.mark.parametrize("kind", ["classifier", "pipeline"])
@given(data=st.data())
@settings(max_examples=200, deadline=PATIENCE, suppress_health_check=QUIET)
@pytest.mark.filterwarnings("error")
def test_damaged_golden_vectors(kind: str, data: st.DataObject, opened: dict[str, Bundle], scratch: Path) -> None:
    """None is believed that is not whole, and what is whole is tested: passed, or refused in one line."""
    folder = copied(opened[kind].folder, scratch)
    value = json.loads((folder / "golden.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 2))):
        damage(data.draw, value)
    replace_file(folder, "golden.json", json.dumps(value).encode())
    try:
        bundle = open_bundle(folder)
        load_golden(bundle)
        self_test(bundle)
    except EdgeloopError as error:
        assert_clear(error)


@given(data=st.data())
@settings(max_examples=150, deadline=PATIENCE, suppress_health_check=QUIET)
def test_golden_vectors_of_damaged_bytes(data: st.DataObject, opened: dict[str, Bundle], scratch: Path) -> None:
    folder = copied(opened["classifier"].folder, scratch)
    raw = bytearray((folder / "golden.json").read_bytes())
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(raw) - 1))
        match data.draw(st.sampled_from(["byte", "cut", "insert"])):
            case "byte":
                raw[at] = data.draw(st.integers(0, 255))
            case "cut" if at:
                del raw[at:]
            case "insert":
                raw[at:at] = data.draw(st.sampled_from([b"[" * 5000, b"9" * 5000, b'"', b"NaN", b"\xff", b"\\ud800"]))
    replace_file(folder, "golden.json", bytes(raw))
    try:
        load_golden(open_bundle(folder))
    except (FormatError, BundleError) as error:
        assert_clear(error, about=folder / "golden.json")


@given(data=st.data())
@settings(max_examples=150, deadline=PATIENCE, suppress_health_check=QUIET)
def test_any_flipped_byte_of_any_file_is_found(data: st.DataObject, folders: dict[str, Path], scratch: Path) -> None:
    """Models, golden vectors, gallery, proof: with the digests of the manifest no accident goes unseen."""
    folder = copied(folders["pipeline"], scratch)
    name = data.draw(st.sampled_from([entry.name for entry in open_bundle(folder).manifest.files]))
    raw = bytearray((folder / name).read_bytes())
    raw[data.draw(st.integers(0, len(raw) - 1))] ^= data.draw(st.integers(1, 255))
    (folder / name).write_bytes(raw)
    with pytest.raises(BundleError) as caught:
        open_bundle(folder)
    assert_clear(caught.value)
    assert str(caught.value).startswith(f"{folder / name}: its SHA-256 is not the manifest's")

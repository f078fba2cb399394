"""Manifests that are wrong: one line that names the field, in Python and on the command line; nothing left behind."""

from __future__ import annotations

import copy
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from damaged_bundles import Edit, deleting, doubling, edit_manifest, every, setting
from pipeline_bundles import build_pipeline
from refusals import Commands, content_of
from tiny_bundles import build_bundle, picture_bytes

from edge.bundle.reader import open_bundle
from edge.engine import open_engine
from edge.errors import BackendError, BundleError, EdgeloopError, FormatError

Row = tuple[Edit, str]
MANY = 10**30


def decided(label: str, accept: float = 0.5, confirm: float = 0.1) -> dict[str, object]:
    return {"label": label, "accept_confidence": accept, "confirm_confidence": confirm}


def reading(**fields: object) -> Edit:
    """The classifier becomes a reader of text with two characters."""
    stage = {"task": "text", "text": {"charset": "ab"} | fields}
    return every(
        setting("task", "text"),
        setting("stages.0.outputs.0.kind", "steps"),
        *(setting(f"stages.0.{name}", value) for name, value in stage.items()),
    )


def of_heads(edit: Edit) -> Edit:
    """The classifier becomes one head."""
    return every(setting("task", "attributes"), setting("stages.0.task", "attributes"), edit)


def of_stage(path: str, value: object) -> Edit:
    return setting(f"stages.0.{path}", value)


def many_stages(manifest: dict) -> None:
    last = manifest["stages"][-1]
    manifest["stages"] += [copy.deepcopy(last) | {"name": f"again {number}"} for number in range(20)]


# What stands behind the manifest's path in the error.
OF_A_CLASSIFIER: dict[str, Row] = {
    # The whole.
    "no format version": (
        deleting("format_version"),
        ": field 'format_version' is missing or no number (it must be 1, an integer)",
    ),
    "format version 1.0": (
        setting("format_version", 1.0),
        ": field 'format_version' is missing or no number (it must be 1, an integer)",
    ),
    "missing field": (deleting("decision"), ": field 'decision' is missing"),
    "missing field of a stage": (
        deleting("stages.0.preprocess.width"),
        ".stages[0].preprocess: field 'width' is missing",
    ),
    "null for a list": (setting("labels", None), ".labels: expected a list, found null"),
    "name with a path": (setting("name", "../x"), ": name must be letters, digits, '.', '_' and '-', found '../x'"),
    "version 0": (setting("version", 0), ": version must be at least 1 and below 2^63, found 0"),
    "version of 400 digits": (
        setting("version", 10**400),
        f": version must be at least 1 and below 2^63, found 1{'0' * 29}",
    ),
    "unknown task": (
        setting("task", "fly"),
        ".task: 'fly' is not one of classify, attributes, detect, match, text, tabular, count",
    ),
    "task of another stage": (setting("task", "detect"), ": task is 'detect', the stages give 'classify'"),
    "seed of letters": (setting("provenance.seed", "x"), ".provenance.seed: expected int, found str"),
    "unknown verdict": (
        setting("proof.verdict", "sure"),
        ".proof.verdict: 'sure' is not one of pass, undecided, fail, none",
    ),
    # Files.
    "file outside of the bundle": (
        setting("files.0.name", "../golden-0.png"),
        ".files[0]: file name '../golden-0.png' must be a flat name of letters, digits, '.', '_' and '-'",
    ),
    "file of the system": (
        setting("files.0.name", "/etc/passwd"),
        ".files[0]: file name '/etc/passwd' must be a flat name of letters, digits, '.', '_' and '-'",
    ),
    "file name with NUL": (
        setting("files.0.name", "a\0b"),
        ".files[0]: file name 'a\\x00b' must be a flat name of letters, digits, '.', '_' and '-'",
    ),
    "short digest": (setting("files.0.sha256", "0" * 63), ".files[0]: sha256 of 'golden-0.png' is not 64 hex digits"),
    "negative size": (setting("files.0.size_bytes", -1), ".files[0]: size_bytes of 'golden-0.png' is negative"),
    "file listed twice": (doubling("files"), ": files: name 'tiny_fp32.tflite' appears 2 times"),
    "model not listed": (
        of_stage("artifacts.0.file", "missing.tflite"),
        ": stages[0].artifacts: 'missing.tflite' is not in files",
    ),
    "model outside of the bundle": (
        of_stage("artifacts.0.file", "../x.tflite"),
        ": stages[0].artifacts: '../x.tflite' is not in files",
    ),
    "golden vectors not listed": (setting("golden_file", "x.json"), ": golden_file 'x.json' is not in files"),
    "proof not listed": (setting("proof.file", "x.json"), ": proof.file 'x.json' is not in files"),
    # Labels.
    "no labels": (setting("labels", []), ": labels must not be empty"),
    "four labels for three scores": (
        setting("labels", ["a", "b", "c", "d"]),
        ": stages[0]: output 'logits' has shape [1, 3] for 4 labels",
    ),
    "a label twice": (setting("labels", ["a", "b", "b"]), ": labels: label 'b' appears 2 times"),
    "a label of two lines": (
        setting("labels", ["a", "b", "c\nd"]),
        ": labels must be printable names of at most 1000 characters, found 'c\\nd'",
    ),
    "a label of a megabyte": (
        setting("labels", ["a", "b", "c" * 1_000_000]),
        f": labels must be printable names of at most 1000 characters, found '{'c' * 100}'",
    ),
    "too few labels of a head": (
        of_heads(of_stage("outputs.0.labels", ["a"])),
        ": stages[0]: output 'logits' has shape [1, 3] for 1 labels",
    ),
    # The stage.
    "no stages": (setting("stages", []), ": stages must hold at least one stage and at most 16, found 0"),
    "no artifacts": (of_stage("artifacts", []), ": stages[0]: needs at least one artifact and one output"),
    "no outputs": (of_stage("outputs", []), ": stages[0]: needs at least one artifact and one output"),
    "nameless stage": (of_stage("name", " "), ": stages[0]: name must be printable, of 1 to 100 characters, found ' '"),
    "stage that counts": (
        of_stage("task", "count"),
        ".stages[0]: stage 'classify': count is the task of a whole pipeline",
    ),
    "detector without its field": (
        of_stage("task", "detect"),
        ".stages[0]: stage 'classify': task detect needs the field 'detect'",
    ),
    "matcher without its field": (
        of_stage("task", "match"),
        ".stages[0]: stage 'classify': task match needs the field 'match'",
    ),
    "reader without its field": (
        of_stage("task", "text"),
        ".stages[0]: stage 'classify': task text needs the field 'text'",
    ),
    "crops of nothing": (of_stage("reads", "crops"), ": the first stage 'classify' must read the picture"),
    "wide margin": (
        of_stage("crop_margin", 1.5),
        ".stages[0]: stage 'classify': crop_margin must be 0 to 1, found 1.5",
    ),
    # Its input.
    "negative width": (
        of_stage("preprocess.width", -1),
        ".stages[0].preprocess: width and height must be 1 to 4096, found -1x32",
    ),
    "huge width": (
        of_stage("preprocess.width", MANY),
        f".stages[0].preprocess: width and height must be 1 to 4096, found {MANY}x32",
    ),
    "fill 256": (of_stage("preprocess.fill", 256), ".stages[0].preprocess: fill must be 0 to 255, found 256"),
    "std 0": (
        of_stage("preprocess.std", [0, 1, 1]),
        ".stages[0].preprocess: std must be above 0 (1e-9 to 1e9), found 0.0, 1.0, 1.0",
    ),
    "std that overflows": (
        of_stage("preprocess.std", [1, 1, 1e-308]),
        ".stages[0].preprocess: std must be above 0 (1e-9 to 1e9), found 1.0, 1.0, 1e-308",
    ),
    "std of two channels": (of_stage("preprocess.std", [1, 1]), ".stages[0].preprocess.std: expected 3 items, found 2"),
    "mean that overflows": (
        of_stage("preprocess.mean", [1e308, 0, 0]),
        ".stages[0].preprocess: mean must be -1e9 to 1e9, found 1e+308, 0.0, 0.0",
    ),
    "input scale 0": (
        of_stage("preprocess.input_scale", 0),
        ".stages[0].preprocess: input_scale must be above 0 (1e-9 to 1e9), found 0.0",
    ),
    "huge zero point": (
        of_stage("preprocess.input_zero_point", MANY),
        f".stages[0].preprocess: input_zero_point must be -128 to 255, found {MANY}",
    ),
    "unknown input type": (
        of_stage("preprocess.dtype", "float16"),
        ".stages[0].preprocess.dtype: 'float16' is not one of float32, uint8, int8",
    ),
    # Its outputs.
    "negative shape": (
        of_stage("outputs.0.shape", [1, -3]),
        ".stages[0].outputs[0]: shape of output 'logits' must be positive and below 2^31, found [1, -3]",
    ),
    "huge shape": (
        of_stage("outputs.0.shape", [2**40, 3]),
        ".stages[0].outputs[0]: shape of output 'logits' must be positive and below 2^31, found [1099511627776, 3]",
    ),
    "shape of 100,000 sizes": (
        of_stage("outputs.0.shape", [1] * 100_000),
        ".stages[0].outputs[0]: shape of output 'logits' must have 1 to 8 sizes, found 100000",
    ),
    "empty shape": (
        of_stage("outputs.0.shape", []),
        ".stages[0].outputs[0]: shape of output 'logits' must have 1 to 8 sizes, found 0",
    ),
    "shape of halves": (
        of_stage("outputs.0.shape", [1, 3.5]),
        ".stages[0].outputs[0].shape[1]: expected int, found float",
    ),
    "temperature NaN": (
        of_stage("outputs.0.temperature", float("nan")),
        ".stages[0].outputs[0].temperature: nan is not a finite number",
    ),
    "temperature infinite": (
        of_stage("outputs.0.temperature", float("inf")),
        ".stages[0].outputs[0].temperature: inf is not a finite number",
    ),
    "temperature 0": (
        of_stage("outputs.0.temperature", 0),
        ".stages[0].outputs[0]: temperature of output 'logits' must be 0.01 to 100, found 0.0",
    ),
    "weight 0": (
        of_stage("outputs.0.weight", 0),
        ".stages[0].outputs[0]: weight of output 'logits' must be above 0 (1e-9 to 1e9), found 0.0",
    ),
    "weight that overflows": (
        of_stage("outputs.0.weight", 1e308),
        ".stages[0].outputs[0]: weight of output 'logits' must be above 0 (1e-9 to 1e9), found 1e+308",
    ),
    "unknown activation": (
        of_stage("outputs.0.activation", "relu"),
        ".stages[0].outputs[0].activation: 'relu' is not one of none, sigmoid, softmax",
    ),
    "no scores": (
        of_stage("outputs.0.kind", "embedding"),
        ": stages[0]: task 'classify' needs an output of kind logits or probabilities",
    ),
    "an output twice": (doubling("stages.0.outputs"), ": stages[0].outputs: name 'logits' appears 2 times"),
    # Its models.
    "a model twice": (doubling("stages.0.artifacts"), ": stages[0].artifacts: file 'tiny_fp32.onnx' appears 2 times"),
    "unknown format": (
        of_stage("artifacts.0.format", "torch"),
        ".stages[0].artifacts[0].format: 'torch' is not one of tflite, onnx",
    ),
    "negative tolerance": (
        of_stage("artifacts.0.tolerance", -1),
        ": stages[0].artifacts: tolerance of 'tiny_fp32.tflite' is negative",
    ),
    "tolerance of anything": (
        of_stage("artifacts.0.tolerance", 1e300),
        ": stages[0].artifacts: tolerance of 'tiny_fp32.tflite' is above 1, the output's whole range",
    ),
    # Text.
    "no characters": (
        reading(charset=""),
        ".stages[0].text: charset must hold at least one character, none of them twice",
    ),
    "a character twice": (
        reading(charset="aa"),
        ".stages[0].text: charset must hold at least one character, none of them twice",
    ),
    "a line break as a character": (reading(charset="a\n"), ".stages[0].text: charset must hold no control characters"),
    "too many characters": (
        reading(charset="abc"),
        ": stages[0]: output 'logits' has 3 classes for 3 characters and the blank",
    ),
    "blank beyond the classes": (reading(blank=3), ".stages[0].text: blank must be 0 to 2, found 3"),
    "negative blank": (reading(blank=-1), ".stages[0].text: blank must be 0 to 2, found -1"),
    "huge beam": (reading(beam_width=MANY), f".stages[0].text: beam_width must be 1 to 1000, found {MANY}"),
    "beam that is true": (reading(beam_width=True), ".stages[0].text.beam_width: expected int, found bool"),
    "lexicon not listed": (reading(lexicon="words.txt"), ": stages[0]: 'words.txt' is not in files"),
    "lexicon outside of the bundle": (reading(lexicon="../words.txt"), ": stages[0]: '../words.txt' is not in files"),
    "only words of no lexicon": (
        reading(lexicon_only=True),
        ".stages[0].text: lexicon_only needs a lexicon and a beam_width of at least 2",
    ),
    # Policies.
    "thresholds out of order": (
        setting("decision.confirm_confidence", 0.9),
        ".decision: needs 0 <= confirm_confidence <= accept_confidence <= 1",
    ),
    "margin of nothing": (setting("decision.accept_margin", -3), ": decision.accept_margin must be 0 to 1, found -3.0"),
    "thresholds of an unknown label": (
        setting("decision.class_thresholds", [decided("red"), decided("pink")]),
        ": decision.class_thresholds: 'pink' is not one of the labels",
    ),
    "thresholds of a joint label of one head": (
        setting("decision.class_thresholds", [decided("red / green")]),
        ": decision.class_thresholds: 'red / green' is not one of the labels",
    ),
    "thresholds of a class out of order": (
        setting("decision.class_thresholds", [decided("red", 0.5, 0.7)]),
        ".decision.class_thresholds[0]: class 'red' needs 0 <= confirm_confidence <= accept_confidence <= 1",
    ),
    "thresholds of a class twice": (
        setting("decision.class_thresholds", [decided("red"), decided("red")]),
        ": decision.class_thresholds: label 'red' appears 2 times",
    ),
    "a rare class that is none": (
        setting("keep.rare_classes", ["pink"]),
        ": keep.rare_classes: 'pink' is not one of the labels",
    ),
    "a share above 1": (setting("keep.random_fraction", 1.5), ".keep: random_fraction must be 0 to 1, found 1.5"),
    "a negative budget": (
        setting("keep.budget", {"per_day": -1}),
        ".keep.budget: per_day must not be negative, found -1",
    ),
    "65 of 64 bits": (
        setting("keep.duplicate_bits", 65),
        ".keep: rare_per_day must not be negative and duplicate_bits must be -1 to 64",
    ),
    "a negative limit": (
        setting("limits.max_drop_points", -1),
        ": limits.max_drop_points must not be negative, found -1.0",
    ),
    "a metric that nobody knows": (
        setting("limits.metric", "bleu"),
        ".limits: metric must be one of top1, macro_f1, ap50, count, attributes, text, found 'bleu'",
    ),
    "a cosine above 1": (setting("limits.min_cosine", 1.5), ".limits: min_cosine must be -1 to 1, found 1.5"),
    "an agreement below 0": (
        setting("limits.min_agreement", -0.1),
        ".limits: min_agreement must be 0 to 1, found -0.1",
    ),
    "a negative latency": (
        setting("limits.max_latency_ms", -1),
        ".limits: max_latency_ms must not be negative, found -1.0",
    ),
}
OF_A_PIPELINE: dict[str, Row] = {
    "task of a stage": (setting("task", "detect"), ": task is 'detect', the stages give 'count'"),
    "stages the wrong way round": (
        lambda manifest: manifest["stages"].reverse(),
        ": the first stage 'name' must read the picture",
    ),
    "a pipeline of one": (lambda manifest: manifest["stages"].pop(), ": task is 'count', the stages give 'detect'"),
    "too many stages": (many_stages, ": stages must hold at least one stage and at most 16, found 22"),
    "a name twice": (setting("stages.1.name", "find"), ": stages: stage 'find' appears 2 times"),
    "two that read the picture": (
        setting("stages.1.reads", "picture"),
        ": stage 'name' must read crops and not detect",
    ),
    "detector without labels": (setting("stages.0.labels", []), ": labels must not be empty"),
    "detector without its field": (
        setting("stages.0.detect", None),
        ".stages[0]: stage 'find': task detect needs the field 'detect'",
    ),
    "decoder of other outputs": (
        setting("stages.0.detect.decoder", "ssd"),
        ": stages[0]: decoder 'ssd' needs the outputs boxes, classes, scores",
    ),
    "unknown decoder": (
        setting("stages.0.detect.decoder", "retina"),
        ".stages[0].detect.decoder: 'retina' is not one of yolo, end_to_end, ssd, grid",
    ),
    "unknown boxes": (
        setting("stages.0.detect.box_format", "xywh"),
        ".stages[0].detect.box_format: 'xywh' is not one of xyxy, yxyx, cxcywh",
    ),
    "score threshold 1.5": (
        setting("stages.0.detect.score_threshold", 1.5),
        ".stages[0].detect: score_threshold must be 0 to 1, found 1.5",
    ),
    "overlap -0.1": (
        setting("stages.0.detect.iou_threshold", -0.1),
        ".stages[0].detect: iou_threshold must be 0 to 1, found -0.1",
    ),
    "no detections": (
        setting("stages.0.detect.max_detections", 0),
        ".stages[0].detect: max_detections must be 1 to 10000, found 0",
    ),
    "huge first class": (
        setting("stages.0.detect.first_class", MANY),
        f".stages[0].detect: first_class must be 0 to 10000, found {MANY}",
    ),
    "no gallery": (setting("stages.1.match.gallery", []), ".stages[1].match: gallery must name at least one file"),
    "nameless gallery": (setting("stages.1.match.gallery", [""]), ": stages[1]: '' is not in files"),
    "gallery not listed": (setting("stages.1.match.gallery", ["x.egl"]), ": stages[1]: 'x.egl' is not in files"),
    "gallery outside of the bundle": (
        setting("stages.1.match.gallery", ["../x"]),
        ": stages[1]: '../x' is not in files",
    ),
    "gallery twice": (
        doubling("stages.1.match.gallery"),
        ": stages[1].match.gallery: file 'gallery.egl' appears 2 times",
    ),
    "cosine 2": (
        setting("stages.1.match.threshold", 2),
        ".stages[1].match: threshold must be -1 to 1, in class_thresholds too, found 2.0",
    ),
    "cosine -2 of a class": (
        setting("stages.1.match.class_thresholds", [{"label": "red", "value": -2}]),
        ".stages[1].match: threshold must be -1 to 1, in class_thresholds too, found -2.0",
    ),
    "two cosines of a class": (
        setting("stages.1.match.class_thresholds", [{"label": "red", "value": 0.1}] * 2),
        ": stages[1].match: label 'red' appears 2 times",
    ),
    "slope 0": (setting("stages.1.match.slope", 0), ".stages[1].match: slope must be above 0, found 0.0"),
    "margin 3": (setting("stages.1.match.min_margin", 3), ".stages[1].match: min_margin must be 0 to 2, found 3.0"),
    "top 0": (setting("stages.1.match.top_k", 0), ".stages[1].match: top_k must be 1 to 1000, found 0"),
    "matcher without an embedding": (
        setting("stages.1.outputs.0.kind", "logits"),
        ": stages[1]: task 'match' needs an output of kind embedding",
    ),
}
ROWS = [("classifier", name) for name in OF_A_CLASSIFIER] + [("pipeline", name) for name in OF_A_PIPELINE]


def raw(text: str) -> Callable[[bytes], bytes]:
    return lambda good: text.encode()


# Manifests that are no JSON, or more of it than is read.
BYTES: dict[str, tuple[Callable[[bytes], bytes], str]] = {
    "empty": (raw(""), ": not valid JSON: Expecting value: line 1 column 1 (char 0)"),
    "truncated": (lambda good: good[:-20], ": not valid JSON: "),
    "not UTF-8": (lambda good: b"\xff\xfe" + good, ": not valid JSON: "),
    "a byte order mark": (lambda good: b"\xef\xbb\xbf" + good, ": not canonical JSON (sorted keys, no spaces, UTF-8)"),
    "a list": (raw("[]"), ": expected an object"),
    "nested 100,000 deep": (raw('{"format_version":1,"x":' + "[" * 100_000), ": not valid JSON: "),
    "a number of 5,000 digits": (raw('{"format_version":1' + "0" * 5000 + "}"), ": not valid JSON: "),
    "four megabytes and one": (lambda good: good + b" " * 4_000_001, ": larger than 4000000 bytes"),
    "spaces": (lambda good: json.dumps(json.loads(good), sort_keys=True).encode(), ": not canonical JSON"),
    "a field twice": (lambda good: b'{"name":"x",' + good[1:], ": not canonical JSON"),
    "version 2": (
        lambda good: good.replace(b'"format_version":1', b'"format_version":2'),
        ": format version 2 is not known, this edgeloop reads 1 (update edgeloop on this machine)",
    ),
}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("whole")
    return {"classifier": build_bundle(folder / "classifier"), "pipeline": build_pipeline(folder / "pipeline")}


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "red.png"
    path.write_bytes(picture_bytes("red"))
    return path


@pytest.fixture
def commands(
    tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Commands:
    return Commands(tmp_path_factory.mktemp("scratch"), monkeypatch, capfd)


def assert_refused(bundle: Path, picture: Path, commands: Commands, message: str, kinds: tuple[type, ...]) -> None:
    """The same line from Python and from the command, whose exit code is 1; nothing changed, nothing new."""
    before = content_of(picture.parent)
    with pytest.raises(EdgeloopError) as caught:
        open_engine(bundle).infer(picture)
    assert type(caught.value) in kinds
    said = str(caught.value)
    assert "\n" not in said
    assert said.startswith(message)
    refusal = commands.refused("predict", picture, "--bundle", bundle, "--annotated", picture.parent / "drawn.png")
    assert (refusal.code, refusal.line) == (1, " ".join(said.split()))
    assert content_of(picture.parent) == before


@pytest.mark.parametrize(("base", "name"), ROWS, ids=lambda value: str(value))
def test_a_wrong_field(
    base: str, name: str, whole: dict[str, Path], picture: Path, commands: Commands, tmp_path: Path
) -> None:
    edit, message = {"classifier": OF_A_CLASSIFIER, "pipeline": OF_A_PIPELINE}[base][name]
    bundle = tmp_path / "bundle"
    shutil.copytree(whole[base], bundle)
    edit_manifest(bundle, edit)
    with pytest.raises(FormatError) as caught:
        open_bundle(bundle)
    assert str(caught.value) == f"{bundle / 'manifest.json'}{message}"
    assert_refused(bundle, picture, commands, f"{bundle / 'manifest.json'}{message}", (FormatError,))


@pytest.mark.parametrize("name", BYTES)
def test_bytes_that_are_no_manifest(
    name: str, whole: dict[str, Path], picture: Path, commands: Commands, tmp_path: Path
) -> None:
    make, message = BYTES[name]
    bundle = tmp_path / "bundle"
    shutil.copytree(whole["classifier"], bundle)
    path = bundle / "manifest.json"
    path.write_bytes(make(path.read_bytes()))
    assert_refused(bundle, picture, commands, f"{path}{message}", (FormatError, BundleError))


@pytest.mark.parametrize("base", ["classifier", "pipeline"])
def test_the_whole_ones_are_read(base: str, whole: dict[str, Path], picture: Path, commands: Commands) -> None:
    assert open_bundle(whole[base]).digest
    assert str(picture) in commands.answered("predict", picture, "--bundle", whole[base])


def test_labels_that_policies_may_name(whole: dict[str, Path], tmp_path: Path) -> None:
    """Those of the stages; joint ones where there are heads; any where a gallery names the classes."""
    heads = [
        {"name": name, "kind": "logits", "shape": [1, 2], "labels": [f"{name} 1", f"{name} / 2"]} for name in "abc"
    ]
    joint = ["a / 2", "a 1 / b 1 / c / 2", "a / 2 / b / 2 / c 1"]
    several = of_heads(every(of_stage("outputs", heads), setting("keep.rare_classes", joint)))
    wrong = every(several, setting("keep.rare_classes", ["a 1 / b 1 / d"]))
    shutil.copytree(whole["classifier"], tmp_path / "heads")
    edit_manifest(tmp_path / "heads", several)
    assert open_bundle(tmp_path / "heads").manifest.keep.rare_classes == tuple(joint)
    edit_manifest(tmp_path / "heads", wrong)
    with pytest.raises(FormatError, match=r"keep\.rare_classes: 'a 1 / b 1 / d' is not one of the labels$"):
        open_bundle(tmp_path / "heads")
    shutil.copytree(whole["pipeline"], tmp_path / "gallery")
    edit_manifest(tmp_path / "gallery", setting("keep.rare_classes", ["what the gallery knows"]))
    assert open_bundle(tmp_path / "gallery")


# What only the model can tell: the manifest makes sense, but is not the model's.
NOT_THE_MODELS: dict[str, Row] = {
    "width": (of_stage("preprocess.width", 31), "input has shape [1, 32, 32, 3], the manifest says [1, 32, 31, 3]"),
    "layout": (
        of_stage("preprocess.layout", "nchw"),
        "input has shape [1, 32, 32, 3], the manifest says [1, 3, 32, 32]",
    ),
    "channels": (
        of_stage("preprocess.channels", "grey"),
        "input has shape [1, 32, 32, 3], the manifest says [1, 32, 32, 1]",
    ),
    "input type": (of_stage("preprocess.dtype", "int8"), "input is float32, the manifest says int8"),
    "output name": (of_stage("outputs.0.name", "other"), "output 'other' is missing, the model gives logits"),
    "output shape": (
        of_stage("outputs.0.shape", [3]),
        "output 'logits' is float32 [1, 3], the manifest says float32 [3]",
    ),
    "output kind": (
        of_stage("outputs.0.kind", "probabilities"),
        "output 'logits' holds -1.13065, probabilities are 0 to 1 (if these are logits, the output's kind is 'logits')",
    ),
}


@pytest.mark.parametrize("name", NOT_THE_MODELS)
def test_a_manifest_that_is_not_the_models(
    name: str, whole: dict[str, Path], picture: Path, commands: Commands, tmp_path: Path
) -> None:
    edit, message = NOT_THE_MODELS[name]
    bundle = tmp_path / "bundle"
    shutil.copytree(whole["classifier"], bundle)
    edit_manifest(bundle, edit)
    assert_refused(bundle, picture, commands, f"tiny_fp32.tflite: {message}", (BackendError,))

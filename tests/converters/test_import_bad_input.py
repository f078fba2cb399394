"""Every bad model, flag and label file ends in one line that names it, and leaves nothing behind."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from foreign_models import colour_model, fixed_model, write_labels
from onnx import TensorProto

from converters.cli import bundle as bundle_command
from edge.errors import EdgeloopError

RAW = ("--input-range", "0..255")
Make = Callable[[Path], Path]


def plain(folder: Path) -> Path:
    return colour_model(folder / "m.onnx")


def truncated(folder: Path) -> Path:
    path = plain(folder)
    path.write_bytes(path.read_bytes()[:100])
    return path


def damaged_tflite(folder: Path) -> Path:
    source = Path(__file__).parents[1] / "models" / "tiny_fp32.tflite"
    (folder / "m.tflite").write_bytes(source.read_bytes()[:700])
    return folder / "m.tflite"


def fixed(**shapes: tuple[int, ...]) -> Make:
    return lambda folder: fixed_model(folder / "m.onnx", {name: np.zeros(shape) for name, shape in shapes.items()})


def made(**how: object) -> Make:
    return lambda folder: colour_model(folder / "m.onnx", **how)


ROWS = [
    pytest.param(truncated, RAW, "m.onnx: not a usable ONNX model", id="truncated onnx"),
    pytest.param(damaged_tflite, RAW, "m.tflite: not a usable TFLite model", id="truncated tflite"),
    pytest.param(lambda folder: folder / "gone.onnx", RAW, "gone.onnx: cannot be read", id="no such model"),
    pytest.param(lambda folder: folder / "m.pt", RAW, "m.pt: not a model that can be imported", id="other format"),
    pytest.param(made(inputs=2), RAW, "needs exactly one input", id="several inputs"),
    pytest.param(made(dtype=TensorProto.FLOAT16), RAW, "needs exactly one input of float32", id="float16 input"),
    pytest.param(made(shape=("n", 3, "h", "w")), RAW, "must have a fixed shape", id="dynamic shape"),
    pytest.param(made(shape=(2, 3, 16, 16)), RAW, "input must be one picture", id="batch of two"),
    pytest.param(made(shape=(1, 4, 16, 16)), RAW, "has neither 1 nor 3 channels", id="four channels"),
    pytest.param(made(shape=(1, 3, 16, 3)), RAW, "may be either layout (add --layout nhwc or nchw)", id="layout open"),
    pytest.param(plain, (), "does not say how pixels become its float32 input (add --input-range", id="no scaling"),
    pytest.param(plain, (*RAW, "--mean", "1"), "say the same thing", id="scaling told twice"),
    pytest.param(plain, ("--mean", "a,b"), "is not a list of numbers", id="mean is no number"),
    pytest.param(plain, ("--mean", "1,2"), "take one number, or three", id="two means"),
    pytest.param(plain, ("--std", "0"), "--std above 0", id="std of zero"),
    pytest.param(plain, ("--mean", "nan"), "must be numbers", id="mean of nan"),
    pytest.param(made(shape=(1, 3, 5000, 8)), RAW, "width and height must be 1 to 4096", id="too large"),
    pytest.param(plain, (*RAW, "--layout", "nhwc"), "has neither 1 nor 3 channels where", id="wrong layout"),
    pytest.param(plain, (*RAW, "--channels", "grey"), "not those of grey", id="wrong channels"),
    pytest.param(plain, (*RAW, "--dtype", "uint8"), "input is float32, not uint8", id="wrong type"),
    pytest.param(
        made(dtype=TensorProto.UINT8), ("--mean", "5"), "does not tell the scale of its uint8 input", id="no scale"
    ),
    pytest.param(plain, (*RAW, "--output", "x=logits"), "no output 'x' (it has 'scores' [1, 3])", id="wrong output"),
    pytest.param(plain, (*RAW, "--output", "scores"), "--output scores: say NAME=KIND", id="output without kind"),
    pytest.param(plain, (*RAW, "--output", "scores=boxes"), "gives logits or probabilities", id="wrong kind"),
    pytest.param(fixed(a=(1, 3), b=(1, 3)), RAW, "which output holds the class scores?", id="two outputs"),
    pytest.param(fixed(a=(1, 3, 2)), RAW, "which output holds the class scores?", id="output of no scores"),
    pytest.param(fixed(a=(1, 3)), RAW, "does not sum to 1 (add --output a=logits", id="logits or probabilities"),
    pytest.param(plain, (*RAW, "--task", "guess"), "'guess' is not one of", id="unknown task"),
    pytest.param(plain, (*RAW, "--task", "text"), "'text' is not one of 'classify'", id="other task"),
    pytest.param(plain, (*RAW, "--name", "../x"), "name must be letters, digits", id="bad name"),
    pytest.param(plain, (*RAW, "--confirm", "0.9"), "--confirm must not be above --accept", id="thresholds"),
    pytest.param(plain, (*RAW, "--golden", "nowhere"), "no folder nowhere", id="no golden pictures"),
    pytest.param(plain, (*RAW, "--temperature", "0"), "temperature of output 'scores' must be", id="temperature"),
]

DETECTORS = [
    pytest.param(plain, RAW, "output [1, 3] is not that of a detector", id="classifier"),
    pytest.param(fixed(a=(1, 3, 9), b=(1, 2), c=(1, 1)), RAW, "not those of a detector", id="three outputs"),
    pytest.param(fixed(a=(1, 40, 8)), RAW, "has no side of 4 and 3 classes", id="objectness"),
    pytest.param(fixed(a=(1, 8, 4, 4)), (*RAW, "--labels", "short.txt"), "2 labels for the 3 classes", id="grid"),
    pytest.param(
        fixed(a=(1, 30, 6)), (*RAW, "--labels", "short.txt"), "(add --decoder end_to_end or --decoder yolo)", id="six"
    ),
    pytest.param(fixed(a=(1, 40, 4), b=(1, 40, 4)), RAW, "which output holds the boxes?", id="four classes"),
    pytest.param(fixed(a=(1, 40, 4), b=(1, 40, 5)), RAW, "3 labels for the 5 classes", id="labels too few"),
    pytest.param(
        fixed(a=(1, 40, 7)), (*RAW, "--output", "a=embedding"), "boxes do not come from embedding", id="wrong kind"
    ),
    pytest.param(
        fixed(a=(1, 40, 7)), (*RAW, "--decoder", "ssd"), "decoder 'ssd' needs the outputs", id="wrong decoder"
    ),
]

LABELS = [
    pytest.param(("red", "green"), "labels.txt: 2 labels for the 3 classes of the model (add --background", id="short"),
    pytest.param(("a", "b", "c", "d", "e"), "labels.txt: 5 labels for the 3 classes", id="long"),
    pytest.param(("", ""), "labels.txt: holds no labels", id="empty"),
    pytest.param(("0 red", "0 green", "1 blue"), "labels.txt: class number 0 stands 2 times", id="duplicate number"),
    pytest.param(("red", "red", "red (1)"), "label 'red (1)' stands for two classes", id="duplicate name"),
    pytest.param(("red", "gr\x1been", "blue"), "labels.txt: line 2 is not printable", id="unprintable"),
]


def refused(tmp_path: Path, model: Path, *words: object) -> str:
    """The one line that the command ends with; nothing but the inputs is there afterwards."""
    write_labels(tmp_path / "short.txt", ("red", "green"))
    before = sorted(tmp_path.rglob("*"))
    words = tuple(str(tmp_path / word) if word == "short.txt" else str(word) for word in words)
    done = CliRunner().invoke(bundle_command, ["import", str(model), *words, "--out", str(tmp_path / "deep" / "out")])
    assert done.exit_code != 0
    assert done.stdout == ""
    left = [path for path in sorted(tmp_path.rglob("*")) if path not in before and path != tmp_path / "deep"]
    assert left == []
    if isinstance(done.exception, EdgeloopError):
        line = str(done.exception)
        assert "\n" not in line
        return line
    assert isinstance(done.exception, SystemExit), done.exception
    return done.stderr


@pytest.mark.parametrize(("make", "words", "message"), ROWS)
def test_bad_classifiers_and_flags(tmp_path, make, words, message):
    labels = write_labels(tmp_path / "labels.txt")
    task = () if "--task" in words else ("--task", "classify")
    assert message in refused(tmp_path, make(tmp_path), "--labels", labels, *task, *words)


@pytest.mark.parametrize(("make", "words", "message"), DETECTORS)
def test_bad_detectors(tmp_path, make, words, message):
    labels = write_labels(tmp_path / "labels.txt")
    assert message in refused(tmp_path, make(tmp_path), "--labels", labels, "--task", "detect", *words)


@pytest.mark.parametrize(("lines", "message"), LABELS)
def test_bad_labels(tmp_path, lines, message):
    labels = write_labels(tmp_path / "labels.txt", lines)
    assert message in refused(tmp_path, plain(tmp_path), "--labels", labels, "--task", "classify", *RAW)


def test_no_labels_anywhere(tmp_path):
    line = refused(tmp_path, plain(tmp_path), "--task", "classify", *RAW)
    assert line == "m.onnx: the file holds no labels (add --labels FILE, one name a line)"


def test_labels_that_are_not_there(tmp_path):
    line = refused(tmp_path, plain(tmp_path), "--task", "classify", "--labels", tmp_path / "gone.txt", *RAW)
    assert "gone.txt: cannot be read" in line


def test_a_folder_in_the_way_stays(tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "notes.txt").write_text("mine")
    labels = write_labels(tmp_path / "labels.txt")
    words = ["import", str(plain(tmp_path)), "--labels", str(labels), "--task", "classify", *RAW]
    done = CliRunner().invoke(bundle_command, [*words, "--out", str(tmp_path / "out")])
    assert "is in the way: it is not a bundle" in str(done.exception)
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["notes.txt"]


def test_a_bundle_that_stands_there_survives_a_failed_import(tmp_path):
    labels = write_labels(tmp_path / "labels.txt")
    words = ["import", str(plain(tmp_path)), "--labels", str(labels), "--task", "classify", *RAW]
    words += ["--out", str(tmp_path / "out")]
    assert CliRunner().invoke(bundle_command, words).exit_code == 0
    before = {path: path.read_bytes() for path in (tmp_path / "out").iterdir()}
    assert CliRunner().invoke(bundle_command, [*words, "--output", "x=logits"]).exit_code != 0
    assert {path: path.read_bytes() for path in (tmp_path / "out").iterdir()} == before

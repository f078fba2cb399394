from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from foreign_models import COLOURS, LABELS, colour_model, fixed_model, write_colours, write_labels
from onnx import TensorProto

from converters.cli import bundle as bundle_command
from converters.foreign.job import ImportJob, bundle_name
from converters.foreign.told import InputRange, Source, Told
from converters.importing import import_model
from edge.bundle.manifest import (
    Activation,
    BoxFormat,
    ChannelOrder,
    CropPolicy,
    Decoder,
    InputType,
    Origin,
    OutputKind,
    Task,
    TensorLayout,
    Verdict,
)
from edge.engine import open_engine
from edge.errors import BundleError, UsageError
from edge.update.selftest import self_test

BYTES = Told(input_range=InputRange.BYTES)


def job(tmp_path: Path, model: Path, told: Told = BYTES, **changes: object) -> ImportJob:
    labels = write_labels(tmp_path / "labels.txt")
    fields: dict[str, object] = {"task": Task.CLASSIFY, "labels": labels, "told": told} | changes
    return ImportJob(model=model, out=tmp_path / "out", **fields)


def array_of(colour: str) -> np.ndarray:
    return np.full((20, 30, 3), COLOURS[colour], dtype=np.uint8)


def named(folder: Path) -> list[str]:
    with open_engine(folder, allow_unproven=True) as engine:
        return [engine.infer(array_of(colour)).prediction.headline.label for colour in LABELS]


@pytest.mark.parametrize("layout", ["nchw", "nhwc"])
@pytest.mark.parametrize(
    ("dtype", "kind"),
    [(TensorProto.FLOAT, InputType.FLOAT32), (TensorProto.UINT8, InputType.UINT8), (TensorProto.INT8, InputType.INT8)],
)
def test_any_layout_and_type_is_found_and_answers_right(tmp_path, layout, dtype, kind):
    done = import_model(job(tmp_path, colour_model(tmp_path / "m.onnx", layout=layout, dtype=dtype)))
    spec = done.bundle.manifest.stages[0].preprocess
    assert (spec.layout, spec.dtype, spec.channels) == (TensorLayout(layout), kind, ChannelOrder.RGB)
    assert named(done.bundle.folder) == list(LABELS)


def test_an_imported_bundle_is_imported_and_unproven(tmp_path):
    manifest = import_model(job(tmp_path, colour_model(tmp_path / "m.onnx"))).bundle.manifest
    assert (manifest.origin, manifest.proof.verdict, manifest.golden_file) == (Origin.IMPORTED, Verdict.NONE, "")
    assert (manifest.name, manifest.version, manifest.labels) == ("m", 1, LABELS)
    assert [entry.name for entry in manifest.files] == ["m.onnx"]


def test_an_imported_bundle_runs_only_when_that_is_allowed(tmp_path):
    folder = import_model(job(tmp_path, colour_model(tmp_path / "m.onnx"))).bundle.folder
    with pytest.raises(BundleError, match=r"is not proven \(verdict none\)"):
        open_engine(folder)


def test_bgr_is_believed(tmp_path):
    told = Told(input_range=InputRange.BYTES, channels=ChannelOrder.BGR)
    done = import_model(job(tmp_path, colour_model(tmp_path / "m.onnx"), told))
    assert named(done.bundle.folder) == ["blue", "green", "red"]


@pytest.mark.parametrize(("end", "kind"), [("", OutputKind.LOGITS), ("Softmax", OutputKind.PROBABILITIES)])
def test_a_softmax_is_seen_in_the_outputs(tmp_path, end, kind):
    done = import_model(job(tmp_path, colour_model(tmp_path / "m.onnx", end=end)))
    assert done.bundle.manifest.stages[0].outputs[0].kind is kind
    assert next(item.source for item in done.findings if item.what == "output") is Source.RUN


@pytest.mark.parametrize(
    ("told", "mean", "std"),
    [
        (Told(input_range=InputRange.UNIT), (0, 0, 0), (255, 255, 255)),
        (Told(input_range=InputRange.SIGNED), (127.5,) * 3, (127.5,) * 3),
        (Told(mean=(127.5,), std=(127.5,)), (127.5,) * 3, (127.5,) * 3),
        (Told(mean=(1.0, 2.0, 3.0)), (1, 2, 3), (1, 1, 1)),
        # Written for pixels of 0 to 1, as torchvision does.
        (Told(mean=(0.5,), std=(0.25,)), (127.5,) * 3, (63.75,) * 3),
        (Told(input_range=InputRange.IMAGENET), (123.675, 116.28, 103.53), (58.395, 57.12, 57.375)),
        (
            Told(input_range=InputRange.IMAGENET, channels=ChannelOrder.BGR),
            (103.53, 116.28, 123.675),
            (57.375, 57.12, 58.395),
        ),
    ],
)
def test_normalisation_that_is_told(tmp_path, told, mean, std):
    model = colour_model(tmp_path / "m.onnx", end="Softmax")
    spec = import_model(job(tmp_path, model, told)).bundle.manifest.stages[0].preprocess
    assert spec.mean == pytest.approx(mean)
    assert spec.std == pytest.approx(std)


def test_int8_bytes_are_moved_down_by_128(tmp_path):
    model = colour_model(tmp_path / "m.onnx", dtype=TensorProto.INT8)
    spec = import_model(job(tmp_path, model, Told())).bundle.manifest.stages[0].preprocess
    assert (spec.input_scale, spec.input_zero_point) == (1.0, -128)


def test_names_and_scaling_that_ultralytics_writes_are_found(tmp_path):
    properties = {"author": "Ultralytics", "names": "{0: 'red', 1: 'green', 2: 'blue'}"}
    model = colour_model(tmp_path / "m.onnx", end="Softmax", metadata=properties)
    done = import_model(job(tmp_path, model, Told(), labels=None))
    assert done.bundle.manifest.labels == LABELS
    assert done.bundle.manifest.stages[0].preprocess.std == (255.0, 255.0, 255.0)
    assert {item.what: item.source for item in done.findings}["labels"] is Source.FILE


def test_a_tflite_model_with_a_signature(tmp_path):
    model = Path(__file__).parents[1] / "models" / "tiny_fp32.tflite"
    done = import_model(job(tmp_path, model))
    assert done.bundle.manifest.stages[0].outputs[0].name == "logits"
    assert [entry.name for entry in done.bundle.manifest.files] == ["tiny_fp32.tflite"]
    assert named(done.bundle.folder) == list(LABELS)


def test_tasks_that_cannot_be_imported(tmp_path):
    with pytest.raises(UsageError, match="a model with task 'text' cannot be imported"):
        import_model(job(tmp_path, colour_model(tmp_path / "m.onnx"), task=Task.TEXT))


def test_golden_vectors_come_from_given_pictures(tmp_path):
    pictures = write_colours(tmp_path / "pictures")
    (pictures / "notes.txt").write_text("no picture")
    done = import_model(job(tmp_path, colour_model(tmp_path / "m.onnx"), golden=pictures))
    assert done.bundle.manifest.golden_file == "golden.json"
    self_test(done.bundle)


def detector(tmp_path: Path, outputs: dict[str, np.ndarray], told: Told = BYTES) -> tuple[Path, object, object]:
    model = fixed_model(tmp_path / "d.onnx", outputs)
    done = import_model(job(tmp_path, model, told, task=Task.DETECT))
    return done.bundle.folder, done.bundle.manifest.stages[0].detect, done.bundle.manifest.stages[0]


def found(folder: Path) -> list[tuple[str, list[float]]]:
    with open_engine(folder, allow_unproven=True) as engine:
        items = engine.infer(np.zeros((32, 32, 3), dtype=np.uint8)).prediction.items
    return [(item.label, [item.box.left, item.box.top, item.box.right, item.box.bottom]) for item in items]


def test_a_yolo_head_in_one_tensor_is_found(tmp_path):
    places = np.zeros((1, 7, 40), dtype=np.float32)
    places[0, :, 0] = [8, 8, 4, 8, 0.1, 0.9, 0.2]
    folder, detect, stage = detector(tmp_path, {"out": places})
    assert (detect.decoder, detect.box_format, detect.normalised) == (Decoder.YOLO, BoxFormat.CXCYWH, False)
    assert (stage.outputs[0].kind, stage.outputs[0].activation) == (OutputKind.BOXES_SCORES, Activation.NONE)
    assert stage.preprocess.crop is CropPolicy.LETTERBOX
    assert found(folder) == [("green", [12.0, 8.0, 20.0, 24.0])]


def test_a_yolo_head_in_two_tensors_with_logits_is_found(tmp_path):
    boxes, scores = np.zeros((1, 40, 4), dtype=np.float32), np.full((1, 40, 3), -9.0, dtype=np.float32)
    boxes[0, :, 2:] = 0.01
    boxes[0, 3] = [0.25, 0.5, 0.5, 0.75]
    scores[0, 3, 2] = 3.0
    folder, detect, stage = detector(tmp_path, {"b": boxes, "s": scores})
    assert (detect.box_format, detect.normalised) == (BoxFormat.XYXY, True)
    assert {output.name: output.activation for output in stage.outputs} == {
        "b": Activation.NONE,
        "s": Activation.SIGMOID,
    }
    assert found(folder) == [("blue", [8.0, 16.0, 16.0, 24.0])]


def test_chosen_boxes_are_found(tmp_path):
    rows = np.zeros((1, 30, 6), dtype=np.float32)
    rows[0, 0] = [2, 3, 10, 12, 0.8, 1]
    folder, detect, _ = detector(tmp_path, {"out": rows})
    assert detect.decoder is Decoder.END_TO_END
    assert found(folder) == [("green", [4.0, 6.0, 20.0, 24.0])]


def test_ssd_outputs_in_any_order_are_told_apart(tmp_path):
    outputs = {
        "d": np.array([[0.9, 0.6]]),
        "a": np.array([[[0.0, 0.0, 0.5, 0.5], [0.5, 0.25, 1.0, 0.75]]]),
        "c": np.array([2.0]),
        "b": np.array([[0.0, 2.0]]),
    }
    folder, detect, stage = detector(tmp_path, outputs)
    assert (detect.decoder, detect.box_format, detect.normalised) == (Decoder.SSD, BoxFormat.YXYX, True)
    kinds = {output.name: output.kind.value for output in stage.outputs}
    assert kinds == {"a": "boxes", "b": "classes", "d": "scores", "c": "count"}
    assert found(folder) == [("red", [0.0, 0.0, 16.0, 16.0]), ("blue", [8.0, 16.0, 24.0, 32.0])]


def test_flags_win_over_what_is_seen(tmp_path):
    places = np.zeros((1, 7, 40), dtype=np.float32)
    told = Told(
        input_range=InputRange.BYTES,
        outputs=(("out", OutputKind.BOXES_SCORES),),
        decoder=Decoder.YOLO,
        box_format=BoxFormat.XYXY,
        normalised=False,
        activation=Activation.SIGMOID,
        score_threshold=0.75,
        crop=CropPolicy.STRETCH,
    )
    _, detect, stage = detector(tmp_path, {"out": places}, told)
    assert (detect.box_format, detect.normalised, detect.score_threshold) == (BoxFormat.XYXY, False, 0.75)
    assert (stage.outputs[0].activation, stage.preprocess.crop) == (Activation.SIGMOID, CropPolicy.STRETCH)


@pytest.mark.parametrize(
    ("file", "name"),
    [("a model (1).tflite", "a-model-1-"), ("_x.onnx", "x"), ("....onnx", "imported"), ("é.onnx", "imported")],
)
def test_names_of_files_become_names_of_bundles(file, name):
    assert bundle_name(Path(file)).rstrip("-") == name.rstrip("-")


def test_the_command_says_what_it_believes_and_why(tmp_path):
    model, labels = colour_model(tmp_path / "m.onnx"), write_labels(tmp_path / "labels.txt")
    words = ["import", model, "--labels", labels, "--task", "classify", "--out", tmp_path / "out", "--mean", "0"]
    words += ["--std", "255", "--channels", "bgr", "--output", "scores=logits", "--accept", "0.3"]
    done = CliRunner().invoke(bundle_command, [str(word) for word in words])
    assert done.exit_code == 0, done.exception
    assert "channels        bgr (as told)" in done.stderr
    assert "crop            center (assumed)" in done.stderr
    assert done.stdout == f"wrote {tmp_path / 'out'} (not proven: run it with --allow-unproven, or prove it)\n"
    shown = CliRunner().invoke(bundle_command, ["show", str(tmp_path / "out")]).stdout
    assert "proof      none" in shown
    assert "trained    elsewhere (imported)" in shown
    manifest = json.loads((tmp_path / "out" / "manifest.json").read_bytes())
    assert (manifest["decision"]["accept_confidence"], manifest["decision"]["confirm_confidence"]) == (0.3, 0.3)


def test_the_command_has_json(tmp_path):
    model, labels = colour_model(tmp_path / "m.onnx"), write_labels(tmp_path / "labels.txt")
    words = ["import", model, "--labels", labels, "--task", "classify", "--out", tmp_path / "out", "--json"]
    done = CliRunner().invoke(bundle_command, [str(word) for word in [*words, "--input-range", "0..255"]])
    value = json.loads(done.stdout)
    assert value["folder"] == str(tmp_path / "out")
    assert {"what": "channels", "value": "rgb", "source": "assumed"} in value["found"]

"""Whatever cannot become a bundle ends in one line that names the layer or the file, and leaves nothing behind."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from foreign_models import write_labels
from torch import nn

from converters import recipes
from converters.cli import bundle as bundle_command
from converters.examples import TrueBox
from converters.job import ConversionJob
from converters.pipeline import convert
from edge.bundle.manifest import (
    Decoder,
    DetectSpec,
    OutputKind,
    OutputSpec,
    QualityLimits,
    Task,
    TextSpec,
)
from edge.errors import EdgeloopError, ImageError, StorageError, UsageError
from edge.types import Box

MODELS = Path(__file__).resolve().parents[1] / "models"
Spoil = Callable[[ConversionJob, Path], ConversionJob]


class Layer(nn.Module):
    """A layer that does whatever the test says."""

    def __init__(self, work: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.work = work

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.work(x)


class Small(nn.Module):
    """A classifier of four classes with a layer `odd` in its middle."""

    def __init__(self, work: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU())
        self.odd = Layer(work)
        self.head = nn.Linear(4, 4)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.odd(self.stem(x)).mean(dim=(2, 3)))


def odd(work: Callable[[torch.Tensor], torch.Tensor]) -> Spoil:
    return lambda job, folder: replace(job, network=Small(work))


def shaped_by_the_picture(x: torch.Tensor) -> torch.Tensor:
    return x[:, :, x.mean(dim=(0, 1, 3)) > 0.1]


def branching_on_the_picture(x: torch.Tensor) -> torch.Tensor:
    return x if x.sum() > 3 else -x


def nan_weights(job: ConversionJob, folder: Path) -> ConversionJob:
    network = copy.deepcopy(job.network)
    network.pointwise[0].weight.data[3, 0, 0, 0] = float("nan")
    return replace(job, network=network)


def never_trained(job: ConversionJob, folder: Path) -> ConversionJob:
    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm = nn.Conv2d(4, 4, 3, padding=1), nn.BatchNorm2d(4)
            nn.init.zeros_(self.norm.weight)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return x + self.norm(self.conv(x))

    network = Small(nn.Identity())
    network.odd = Block()
    return replace(job, network=network)


def few_calibration(job: ConversionJob, folder: Path) -> ConversionJob:
    return replace(job, calibration=job.calibration[:3])


def labels_too_many(job: ConversionJob, folder: Path) -> ConversionJob:
    return replace(job, labels=(*job.labels, "fifth"))


def with_label(label: str) -> Spoil:
    return lambda job, folder: replace(job, validation=(replace(job.validation[0], label=label), *job.validation[1:]))


def torn_picture(job: ConversionJob, folder: Path) -> ConversionJob:
    path = folder / "torn.png"
    path.write_bytes(job.calibration[0].path.read_bytes()[:150])
    return replace(job, calibration=(*job.calibration[1:], replace(job.calibration[0], path=path)))


def file_in_the_way(job: ConversionJob, folder: Path) -> ConversionJob:
    (folder / "file").write_text("x")
    return replace(job, out=folder / "file" / "bundle")


def gone_picture(job: ConversionJob, folder: Path) -> ConversionJob:
    gone = replace(job.validation[3], path=folder / "gone.png")
    return replace(job, validation=(*job.validation[:3], gone))


def heads(*outputs: tuple[str, int, tuple[str, ...]], truths: tuple[tuple[str, str], ...]) -> Spoil:
    """A network with two heads, `colour` of three classes and `size` of two, and what the job says of it."""

    class Heads(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = nn.Conv2d(3, 5, 3)

        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            found = self.body(x).mean(dim=(2, 3))
            return {"colour": found[:, :3], "size": found[:, 3:]}

    specs = tuple(
        OutputSpec(name=name, kind=OutputKind.LOGITS, shape=(1, num), labels=labels) for name, num, labels in outputs
    )
    return lambda job, folder: replace(
        job,
        network=Heads(),
        task=Task.ATTRIBUTES,
        labels=(),
        outputs=specs,
        validation=(replace(job.validation[0], label="", attributes=truths),),
    )


COLOUR, SIZE = ("colour", 3, ("red", "green", "blue")), ("size", 2, ("small", "large"))


def boxes(*truths: TrueBox) -> Spoil:
    outputs = (
        OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=(1, 4, 4)),
        OutputSpec(name="scores", kind=OutputKind.SCORES, shape=(1, 4, 4)),
    )
    return lambda job, folder: replace(
        job,
        task=Task.DETECT,
        outputs=outputs,
        detect=DetectSpec(decoder=Decoder.YOLO),
        validation=(replace(job.validation[0], label="", boxes=truths),),
    )


def other_charset(job: ConversionJob, folder: Path) -> ConversionJob:
    class Reader(nn.Module):
        def forward(self, x: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"steps": x.mean(dim=2).permute(0, 2, 1)}

    return replace(
        job,
        network=Reader(),
        task=Task.TEXT,
        labels=(),
        outputs=(OutputSpec(name="steps", kind=OutputKind.STEPS, shape=(1, 32, 3)),),
        text=TextSpec(charset="abcd"),
    )


PLACE = Box(left=0, top=0, right=9, bottom=9)
ROWS = [
    pytest.param(
        odd(torch.digamma),
        EdgeloopError,
        "cannot be written as ONNX: operation prims.digamma in layer 'odd' has no ONNX form",
        "replace it by convolutions",
        id="no ONNX form",
    ),
    pytest.param(
        odd(lambda x: torch.logcumsumexp(x, 2)),
        EdgeloopError,
        "cannot be written as TFLite: operation aten.logcumsumexp in layer 'odd' has no TFLite form",
        "replace it by convolutions",
        id="no TFLite form",
    ),
    pytest.param(
        odd(shaped_by_the_picture),
        EdgeloopError,
        "cannot be written as TFLite: operation aten.index in layer 'odd' has no TFLite form",
        "replace it by convolutions",
        id="data-dependent shape",
    ),
    pytest.param(
        odd(branching_on_the_picture),
        EdgeloopError,
        "the network cannot be exported at 32x32 in layer 'odd'",
        "fixed input size alone",
        id="data-dependent branch",
    ),
    pytest.param(
        lambda job, folder: replace(job, network=nn.Sequential(nn.Flatten(), nn.Linear(99, 4))),
        EdgeloopError,
        "the network cannot be run at 32x32: mat1 and mat2 shapes cannot be multiplied",
        "",
        id="another input size",
    ),
    pytest.param(
        nan_weights, EdgeloopError, "weights of 'pointwise.0.weight' hold 1 values", "the training diverged", id="nan"
    ),
    pytest.param(
        never_trained, EdgeloopError, "layer 'odd.norm' multiplies everything by zero", "trained weights", id="dead"
    ),
    pytest.param(
        few_calibration,
        UsageError,
        "3 calibration pictures are fewer than the 4 classes",
        "at least one training picture of each class",
        id="few calibration pictures",
    ),
    pytest.param(
        labels_too_many,
        UsageError,
        "the network has 4 outputs, but there are 5 labels",
        "the labels the network was trained on",
        id="labels",
    ),
    pytest.param(
        lambda job, folder: replace(job, labels=(*job.labels[:3], job.labels[0])),
        UsageError,
        "label 'disc' appears more than once",
        "",
        id="doubled label",
    ),
    pytest.param(
        with_label("cat"), UsageError, "validation pictures have label 'cat', which the network", "", id="stranger"
    ),
    pytest.param(with_label(""), UsageError, "validation pictures have label ''", "", id="no label"),
    pytest.param(
        lambda job, folder: replace(job, limits=QualityLimits(metric="ap50")),
        UsageError,
        "metric 'ap50' does not fit a bundle with task 'classify'",
        "there are top1, macro_f1",
        id="metric",
    ),
    pytest.param(
        lambda job, folder: replace(job, recipes=recipes.find_recipes(("static_wi8_ai8", "int4"))),
        UsageError,
        "no quantization recipe 'int4'",
        "there are static_wi8_ai8, ",
        id="unknown recipe",
    ),
    pytest.param(
        lambda job, folder: replace(job, recipes=(recipes.ONNX_INT8,)),
        UsageError,
        "the preferred model is a TFLite one",
        "name ONNX recipes among the further models",
        id="preferred ONNX",
    ),
    pytest.param(
        lambda job, folder: replace(job, recipes=()),
        UsageError,
        "at least one quantization recipe",
        "",
        id="no recipes",
    ),
    pytest.param(
        lambda job, folder: replace(job, calibration=()),
        UsageError,
        "at least one calibration picture",
        "about 200 training pictures",
        id="no calibration pictures",
    ),
    pytest.param(
        lambda job, folder: replace(job, validation=()),
        UsageError,
        "at least one validation picture",
        "about 200 of them",
        id="no validation pictures",
    ),
    pytest.param(file_in_the_way, StorageError, "cannot write", "", id="file in the way"),
    pytest.param(torn_picture, ImageError, "torn.png", "", id="torn picture"),
    pytest.param(gone_picture, ImageError, "gone.png", "", id="gone picture"),
    pytest.param(
        boxes(), UsageError, "none of the validation pictures has a box", "whose boxes are known", id="no box"
    ),
    pytest.param(
        boxes(TrueBox(index=4, box=PLACE)),
        UsageError,
        "validation pictures have class 4, but there are 4 labels",
        "",
        id="class of a box",
    ),
    pytest.param(
        boxes(TrueBox(index=0, box=PLACE)),
        UsageError,
        "the network has no output 'boxes', it has logits",
        "name its outputs",
        id="no such output",
    ),
    pytest.param(
        lambda job, folder: replace(boxes(TrueBox(index=0, box=PLACE))(job, folder), detect=None),
        UsageError,
        "needs the field 'detect'",
        "",
        id="no decoder",
    ),
    pytest.param(
        heads(COLOUR, SIZE, truths=(("colour", "pink"),)),
        UsageError,
        "label 'pink', which the network does not know",
        "",
        id="label of a head",
    ),
    pytest.param(
        heads(COLOUR, SIZE, truths=(("shape", "disc"),)),
        UsageError,
        "a truth for 'shape', which is no head of the network",
        "",
        id="no such head",
    ),
    pytest.param(
        heads(COLOUR, SIZE, truths=()), UsageError, "none of the validation pictures says what", "", id="no attributes"
    ),
    pytest.param(
        heads(COLOUR, truths=(("colour", "red"),)),
        UsageError,
        "the job does not say what the network's output 'size' holds",
        "",
        id="unsaid head",
    ),
    pytest.param(
        heads(COLOUR, ("size", 2, ("s", "m", "l")), truths=(("colour", "red"),)),
        UsageError,
        "output 'size' of the network has 2 outputs, but there are 3 labels",
        "",
        id="labels of a head",
    ),
    pytest.param(
        other_charset,
        UsageError,
        "output 'steps' of the network has 3 classes, but the charset has 4 characters",
        "the charset the network was trained on",
        id="charset",
    ),
]


@pytest.mark.parametrize(("spoil", "kind", "words", "hint"), ROWS)
def test_bad_input_is_one_line_and_leaves_nothing(job, cache, tmp_path, capfd, spoil, kind, words, hint):
    torch.manual_seed(0)
    place = tmp_path / "place"
    place.mkdir()
    with pytest.raises(EdgeloopError) as caught:
        convert(spoil(replace(job, out=place / "out"), tmp_path), cache=cache, progress=False)
    assert type(caught.value) is kind
    assert words in str(caught.value)
    assert hint in caught.value.hint
    assert "\n" not in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert caught.value.exit_code == (2 if kind is UsageError else 1)
    assert list(place.iterdir()) == []
    said = capfd.readouterr()
    lines = [line for line in said.err.splitlines() if not line.startswith("INFO: Created TensorFlow Lite")]
    assert (said.out, lines) == ("", [])


def external(folder: Path) -> Path:
    from onnx import external_data_helper, load, save

    path, model = folder / "outside.onnx", load(MODELS / "tiny_fp32.onnx")
    external_data_helper.convert_model_to_external_data(model, location="gone.bin", size_threshold=64)
    save(model, path)
    (folder / "gone.bin").unlink()
    return path


def external_shapes(folder: Path) -> Path:
    """Also the small constants, which the runtime wants before it comes to the weights."""
    from onnx import external_data_helper, load, save

    path, model = folder / "outside.onnx", load(MODELS / "tiny_fp32.onnx")
    external_data_helper.convert_model_to_external_data(
        model, location="gone.bin", size_threshold=0, convert_attribute=True
    )
    save(model, path)
    (folder / "gone.bin").unlink()
    return path


def outside_its_folder(folder: Path) -> Path:
    from onnx import load, save

    path = external(folder)
    model = load(path, load_external_data=False)
    for tensor in model.graph.initializer:
        for item in tensor.external_data:
            if item.key == "location":
                item.value = "../../gone.bin"
    save(model, path)
    return path


def cut(name: str, share: float) -> Callable[[Path], Path]:
    def make(folder: Path) -> Path:
        data = (MODELS / name).read_bytes()
        path = folder / f"cut.{name.rpartition('.')[2]}"
        path.write_bytes(data[: int(share * len(data))])
        return path

    return make


@pytest.mark.parametrize(
    ("make", "message", "code"),
    [
        pytest.param(external, "outside.onnx: its weights lie in 'gone.bin', which is not there", 2, id="weights"),
        pytest.param(external_shapes, "outside.onnx: its weights lie in 'gone.bin'", 2, id="all constants"),
        pytest.param(outside_its_folder, "it wants weights from '../../gone.bin', outside", 2, id="outside"),
        pytest.param(cut("tiny_fp32.onnx", 0.5), "cut.onnx: not a usable ONNX model", 1, id="half an ONNX"),
        pytest.param(cut("tiny_fp32.tflite", 0.5), "cut.tflite: not a usable TFLite model", 1, id="half a TFLite"),
        pytest.param(cut("tiny_fp32.tflite", 0.9), "cut.tflite: not a usable TFLite model", 1, id="most of a TFLite"),
        pytest.param(cut("tiny_fp32.tflite", 0.0), "cut.tflite: ", 1, id="empty TFLite"),
    ],
)
def test_a_damaged_model_is_named_with_what_to_do(tmp_path, make, message, code):
    model = make(tmp_path)
    labels = str(write_labels(tmp_path / "labels.txt"))
    words = ["--task", "classify", "--input-range", "0..255", "--labels", labels]
    done = CliRunner().invoke(bundle_command, ["import", str(model), *words, "--out", str(tmp_path / "place" / "out")])
    assert isinstance(done.exception, EdgeloopError)
    line = str(done.exception)
    assert message in line
    assert "\n" not in line
    assert done.exception.hint
    assert done.exception.exit_code == code
    assert done.stdout == ""
    assert not (tmp_path / "place").exists() or list((tmp_path / "place").iterdir()) == []


def test_limits_that_nobody_knows_are_refused_where_they_are_born():
    for limits, words in (
        ({"metric": "bleu"}, "metric must be one of top1"),
        ({"min_cosine": 1.5}, "min_cosine must be -1 to 1"),
        ({"min_agreement": -0.1}, "min_agreement must be 0 to 1"),
        ({"max_latency_ms": -1.0}, "max_latency_ms must not be negative"),
    ):
        with pytest.raises(ValueError, match=words):
            QualityLimits(**limits)


def test_weights_from_a_file_of_their_own_come_into_the_bundle(tmp_path):
    from onnx import external_data_helper, load, save

    model, folder = load(MODELS / "tiny_fp32.onnx"), tmp_path / "model"
    folder.mkdir()
    external_data_helper.convert_model_to_external_data(model, location="weights.bin", size_threshold=64)
    save(model, folder / "outside.onnx")
    labels = str(write_labels(tmp_path / "labels.txt"))
    words = ["--task", "classify", "--input-range", "0..255", "--labels", labels, "--out", str(tmp_path / "out")]
    done = CliRunner().invoke(bundle_command, ["import", str(folder / "outside.onnx"), *words])
    assert done.exit_code == 0, done.output
    assert [path.name for path in (tmp_path / "out").glob("*.bin")] == []
    assert all(
        one.data_location == one.DEFAULT for one in load(next((tmp_path / "out").glob("*.onnx"))).graph.initializer
    )

"""YOLO under the model contract: the numbers of ultralytics, decoding in one named module, no pickle at the door."""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save

from converters.export import export_network
from converters.scopes import classes_of
from edge import jsonvalue
from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import FormatError, MissingExtraError, UsageError
from model_zoo.common import yolo
from model_zoo.common.statistics import settle_statistics
from model_zoo.common.yolo_run import RUN_FILE, WEIGHTS_FILE, YOLO_NAMES, YoloRun, read_run

needs_ultralytics = pytest.mark.skipif(
    importlib.util.find_spec("ultralytics") is None, reason="ultralytics is not installed (extra `detect`)"
)
SIZE = 64
MAY_IMPORT = {"model_zoo/common/yolo.py", "cloud_train/training/detect.py"}
IMPORTS = re.compile(r"^\s*(?:import|from)\s+ultralytics\b", re.MULTILINE)


@pytest.fixture
def pictures() -> torch.Tensor:
    return torch.rand(3, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1)) * 255


def settled(name: str, num_classes: int, pictures: torch.Tensor) -> torch.nn.Module:
    """ultralytics' own model with statistics and biases that make every place say something else."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        model = yolo.describe(name, num_classes)
        settle_statistics(model, pictures / 255)
        head = model.model[-1]
        for branch in (head.cv3, getattr(head, "one2one_cv3", None) or ()):
            for layers in branch:
                torch.nn.init.normal_(layers[-1].bias)
    return model.eval()


def decoded_by_ultralytics(model: torch.nn.Module, pictures: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    head = model.model[-1]
    with torch.no_grad():
        answer, raw = model(pictures / 255)
        if "one2one" in raw:  # its answer is cut to the best; what it is cut from has corners
            head.end2end = True
            places = head._inference(raw["one2one"]).permute(0, 2, 1)
            return places[..., :4], places[..., 4:]
    places = answer.permute(0, 2, 1)
    centres, sides = places[..., :2], places[..., 2:4]
    return torch.cat((centres - sides / 2, centres + sides / 2), dim=2), places[..., 4:]


@needs_ultralytics
@pytest.mark.parametrize("name", ["yolov8n", "yolo11n", "yolo26n"])
def test_boxes_and_scores_are_those_of_ultralytics(name: str, pictures: torch.Tensor) -> None:
    model = settled(name, 5, pictures)
    boxes, scores = decoded_by_ultralytics(model, pictures)
    with torch.no_grad():
        ours = yolo.YoloNetwork(model, size=SIZE).eval()(pictures)
    assert ours["boxes"].shape == (3, 84, 4)
    assert ours["scores"].shape == (3, 84, 5)
    assert (ours["boxes"] - boxes).abs().max() <= 1e-3
    assert (ours["scores"] - scores).abs().max() <= 1e-6
    assert scores.std() > 0.05, "scores that are all alike would prove nothing"


@needs_ultralytics
@pytest.mark.slow
@pytest.mark.parametrize("name", ["yolo11n", "yolo26n"])
def test_decoding_alone_lies_in_float_decode(name: str) -> None:
    exported = export_network(yolo.build_yolo(name, 3, 1, size=SIZE), height=SIZE, width=SIZE)
    assert exported.outputs == {"boxes": (1, 84, 4), "scores": (1, 84, 3)}
    inside = [node for node in exported.graph.graph.nodes if "FloatDecode" in classes_of(node)]
    assert inside
    assert not [node for node in inside if "conv" in str(node.target)]
    users = {user for node in inside for user in node.users}
    assert all(node in inside or node.op == "output" for node in users), "nothing comes after decoding"


@needs_ultralytics
def test_a_seed_gives_the_same_weights_and_leaves_the_generator() -> None:
    before = torch.random.get_rng_state()
    first, second, third = (yolo.build_yolo("yolo11n", 2, seed, size=SIZE).state_dict() for seed in (4, 4, 5))
    assert torch.equal(before, torch.random.get_rng_state())
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert any(not torch.equal(first[name], third[name]) for name in first)


@pytest.mark.parametrize(
    ("name", "num_classes", "size", "message"),
    [
        ("yolov5n", 2, 64, "'yolov5n' is no YOLO detector"),
        ("yolo11n", 0, 64, "at least 1 class, found 0"),
        ("yolo11n", 2, 100, "multiple of 32 pixels, found 100"),
    ],
)
def test_networks_that_there_are_not(name: str, num_classes: int, size: int, message: str) -> None:
    with pytest.raises(UsageError, match=re.escape(message)):
        yolo.build_yolo(name, num_classes, 0, size=size)


def test_fifteen_names() -> None:
    assert len(set(YOLO_NAMES)) == 15


def test_statistics_are_those_of_the_pictures(pictures: torch.Tensor) -> None:
    network = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4), torch.nn.Dropout(0.5)).eval()
    settle_statistics(network, pictures)
    norm = network[1]
    with torch.no_grad():
        values = network[0](pictures)
    assert torch.allclose(norm.running_mean, values.mean(dim=(0, 2, 3)), atol=1e-3)
    assert torch.allclose(norm.running_var, values.var(dim=(0, 2, 3)), rtol=1e-3)
    assert norm.momentum == 0.1
    assert not any(module.training for module in network.modules())


def write_run(folder: Path, model: torch.nn.Module) -> YoloRun:
    data = save(model.state_dict())
    run = YoloRun(
        architecture="yolo11n",
        classes=("cat", "dog"),
        preprocess=PreprocessSpec(width=SIZE, height=SIZE, crop=CropPolicy.LETTERBOX),
        recipe="r",
        recipe_digest="0" * 64,
        data="0" * 64,
        seed=7,
        weights=hashlib.sha256(data).hexdigest(),
        epochs=1,
        best_epoch=0,
        val_map50=50.0,
        finished=True,
    )
    (folder / WEIGHTS_FILE).write_bytes(data)
    (folder / RUN_FILE).write_bytes(jsonvalue.pretty_bytes(run))
    return run


@needs_ultralytics
def test_a_trained_network_comes_back(tmp_path: Path, pictures: torch.Tensor) -> None:
    model = settled("yolo11n", 2, pictures)
    run = write_run(tmp_path, model)
    found, network = yolo.load_yolo(tmp_path)
    assert found == run
    assert not network.training
    with torch.no_grad():
        assert torch.equal(network(pictures)["boxes"], yolo.YoloNetwork(model, size=SIZE).eval()(pictures)["boxes"])


@needs_ultralytics
def test_weights_of_another_run_are_refused(tmp_path: Path) -> None:
    write_run(tmp_path, yolo.describe("yolo11n", 2))
    (tmp_path / WEIGHTS_FILE).write_bytes(b"other")
    with pytest.raises(FormatError, match=r"model\.safetensors is not what run\.json names"):
        yolo.load_yolo(tmp_path)


def test_an_empty_folder_holds_no_detector(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no trained detector"):
        read_run(tmp_path)


@needs_ultralytics
def test_a_trusted_checkpoint_is_read(tmp_path: Path, pictures: torch.Tensor) -> None:
    model = settled("yolov8n", 2, pictures)
    model.names = {0: "cat", 1: "dog"}
    torch.save({"model": model, "train_args": {}}, tmp_path / "best.pt")
    names, network = yolo.load_trusted_checkpoint(tmp_path / "best.pt", size=SIZE)
    assert names == ("cat", "dog")
    with torch.no_grad():
        assert torch.equal(network(pictures)["scores"], yolo.YoloNetwork(model, size=SIZE).eval()(pictures)["scores"])


@needs_ultralytics
def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(b"no pickle at all")
    with pytest.raises(UsageError, match=r"best\.pt is no checkpoint of ultralytics"):
        yolo.load_trusted_checkpoint(tmp_path / "best.pt")
    with pytest.raises(UsageError, match=r"no file .*last\.pt"):
        yolo.load_trusted_checkpoint(tmp_path / "last.pt")


def test_two_files_alone_import_ultralytics(repository: Path) -> None:
    found = {
        path.relative_to(repository).as_posix()
        for folder in ("edge", "converters", "model_zoo", "cloud_train", "device_tests", "examples", "benchmarks")
        for path in (repository / folder).rglob("*.py")
        if IMPORTS.search(path.read_text(encoding="utf-8"))
    }
    # Programs that run in a peer's own environment are never imported.
    assert {name for name in found if not name.startswith(("benchmarks/peer/", "benchmarks/scripts/"))} == MAY_IMPORT


def test_without_it_the_error_says_how_to_install_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "ultralytics", raising=False)
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingExtraError) as caught:
        yolo.prepare_ultralytics()
    assert caught.value.hint == 'pip install "edgeloop[detect]"'


@needs_ultralytics
def test_importing_it_leaves_nothing_behind(tmp_path: Path, repository: Path) -> None:
    (tmp_path / "home").mkdir()
    (tmp_path / "temporary").mkdir()
    program = (
        "import torch; from PIL import Image; found = Image.open, torch.save; "
        "from model_zoo.common.yolo import prepare_ultralytics; prepare_ultralytics(); "
        "import timm, ultralytics.nn.tasks; from ultralytics.utils import ONLINE; assert not ONLINE; "
        "assert (Image.open, torch.save) == found"
    )
    places = {"HOME": str(tmp_path / "home"), "TMPDIR": str(tmp_path / "temporary"), "PYTHONPATH": str(repository)}
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("YOLO_")}
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={**inherited, **places, "MPLCONFIGDIR": str(tmp_path / "temporary")},
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert list((tmp_path / "home").rglob("*")) == []
    assert not list((tmp_path / "temporary").glob("edgeloop*"))

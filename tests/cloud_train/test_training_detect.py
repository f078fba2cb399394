"""A detector's training: fed as the device is fed, resumable, tidy, and clear about data it cannot use."""

from __future__ import annotations

import dataclasses
import hashlib
import importlib.util
import random
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from converters.examples import TrueBox
from converters.foreign.truth import KnownPicture
from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import EdgeloopError, ImageError, StorageError, UsageError
from edge.preprocess import preprocess_pixels
from edge.types import Box

if importlib.util.find_spec("ultralytics") is None:
    pytest.skip("ultralytics is not installed (extra `detect`)", allow_module_level=True)

from cloud_train.training import detect
from cloud_train.training.detect_data import DetectRecipe, fitted, shares
from model_zoo.common.yolo import load_yolo
from model_zoo.common.yolo_run import YoloRun

CLASSES = ("red", "blue")
SPEC = PreprocessSpec(width=64, height=64, crop=CropPolicy.LETTERBOX)
RECIPE = DetectRecipe(
    name="tiny", architecture="yolo11n", preprocess=SPEC, epochs=2, patience=9, plain_epochs=1, batch_size=4
)


def draw(path: Path, number: int, size: tuple[int, int] = (80, 60), *, orientation: int = 1) -> KnownPicture:
    """A red and a blue square on noise."""
    rng = random.Random(number)
    picture = Image.effect_noise(size, 40).convert("RGB")
    boxes = []
    for index, colour in enumerate(((220, 40, 40), (40, 40, 220))):
        left, top = rng.randrange(size[0] // 2), rng.randrange(size[1] // 2)
        side = rng.randrange(12, min(size) // 2)
        ImageDraw.Draw(picture).rectangle((left, top, left + side - 1, top + side - 1), fill=colour)
        boxes.append(TrueBox(index=index, box=Box(left=left, top=top, right=left + side, bottom=top + side)))
    exif = Image.Exif()
    exif[0x0112] = orientation
    picture.save(path, exif=exif)
    return KnownPicture(path=path, digest=hashlib.sha256(path.read_bytes()).hexdigest(), boxes=tuple(boxes))


@pytest.fixture
def data(tmp_path: Path) -> tuple[tuple[KnownPicture, ...], tuple[KnownPicture, ...]]:
    (tmp_path / "data").mkdir()
    pictures = tuple(draw(tmp_path / "data" / f"{number}.png", number) for number in range(6))
    return pictures[:4], pictures[4:]


@pytest.mark.parametrize(
    ("size", "orientation"), [((80, 60), 1), ((60, 81), 1), ((33, 97), 1), ((64, 64), 1), ((20, 9), 1), ((90, 61), 6)]
)
def test_validation_sees_what_the_device_sees(tmp_path: Path, size: tuple[int, int], orientation: int) -> None:
    picture = draw(tmp_path / "a.png", 1, (200, 200), orientation=orientation)
    Image.open(picture.path).crop((0, 0, *size)).save(picture.path, exif=Image.open(picture.path).getexif())
    from ultralytics.utils import DEFAULT_CFG

    dataset = detect._Pictures(
        spec=SPEC, img_path=(picture,), imgsz=64, cache="ram", augment=False, hyp=DEFAULT_CFG, data={"channels": 3}
    )
    expected, _ = preprocess_pixels(picture.path, SPEC)
    assert np.array_equal(dataset[0]["img"].numpy().transpose(1, 2, 0), expected)


def test_the_letterbox_is_left_out_before_augmentation(tmp_path: Path) -> None:
    picture = draw(tmp_path / "a.png", 1)
    pixels, original = fitted(picture.path, SPEC)
    assert (pixels.shape, original) == ((48, 64, 3), (60, 80))
    whole, _ = preprocess_pixels(picture.path, SPEC)
    assert np.array_equal(pixels, whole[8:56])


def test_boxes_are_shares_of_the_picture(tmp_path: Path) -> None:
    picture = draw(tmp_path / "a.png", 1)
    box = Box(left=20, top=15, right=100, bottom=45)
    difficult = TrueBox(index=0, box=box, difficult=True)
    empty = TrueBox(index=0, box=Box(left=80, top=0, right=90, bottom=9))
    picture = dataclasses.replace(picture, boxes=(TrueBox(index=1, box=box), difficult, empty))
    shape, indices, boxes = shares(picture)
    assert shape == (60, 80)
    assert indices.tolist() == [[1]]
    assert boxes.tolist() == [[0.625, 0.5, 0.75, 0.5]]  # cut at the picture's right edge


def test_a_run_is_whole_tidy_and_not_made_twice(tmp_path: Path, data: tuple[tuple[KnownPicture, ...], ...]) -> None:
    out, threads, state = tmp_path / "run", torch.get_num_threads(), torch.random.get_rng_state()
    run = detect.train_detector(*data, CLASSES, RECIPE, out)
    assert run.finished
    assert run.epochs == 2
    assert sorted(path.name for path in out.iterdir()) == ["model.safetensors", "run.json"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["data", "run"]
    assert (threads, True) == (torch.get_num_threads(), torch.equal(state, torch.random.get_rng_state()))
    found, network = load_yolo(out)
    assert found == run
    with torch.no_grad():
        assert network(torch.zeros(1, 3, 64, 64))["scores"].shape == (1, 84, 2)
    again: list[YoloRun] = []
    assert detect.train_detector(*data, CLASSES, RECIPE, out, on_epoch=again.append) == run
    assert again == []
    with pytest.raises(UsageError, match="run of other pictures, classes or recipe"):
        detect.train_detector(*data, CLASSES, dataclasses.replace(RECIPE, seed=8), out)


def test_a_stopped_run_goes_on_after_its_last_whole_pass(
    tmp_path: Path, data: tuple[tuple[KnownPicture, ...], ...]
) -> None:
    recipe = dataclasses.replace(RECIPE, epochs=3, small_epochs=1, small_side=32, epochs_per_check=2)
    passes: list[int] = []

    def stop_after_the_second(run: YoloRun) -> None:
        passes.append(run.epochs)
        if passes == [1, 2]:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        detect.train_detector(*data, CLASSES, recipe, tmp_path / "run", on_epoch=stop_after_the_second)
    run = detect.train_detector(*data, CLASSES, recipe, tmp_path / "run", on_epoch=stop_after_the_second)
    assert passes == [1, 2, 3]
    assert (run.epochs, run.finished) == (3, True)
    assert run.best_epoch in {1, 2}, "only passes that were measured can be the best"


@pytest.mark.parametrize(("cause", "error"), [(RuntimeError("NaN"), EdgeloopError), (OSError(28, ""), StorageError)])
def test_what_ultralytics_raises_is_ours(
    tmp_path: Path,
    data: tuple[tuple[KnownPicture, ...], ...],
    monkeypatch: pytest.MonkeyPatch,
    cause: Exception,
    error: type[EdgeloopError],
) -> None:
    def fail(training: object) -> None:
        raise cause

    monkeypatch.setattr(detect._Training, "_do_train", fail)
    with pytest.raises(error, match="run"):
        detect.train_detector(*data, CLASSES, RECIPE, tmp_path / "run")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"architecture": "yolov3"}, "'yolov3' is no YOLO detector"),
        ({"preprocess": PreprocessSpec(width=64, height=64)}, "must be a letterboxed square"),
        ({"preprocess": dataclasses.replace(SPEC, width=96)}, "must be a letterboxed square"),
        ({"preprocess": dataclasses.replace(SPEC, width=50, height=50)}, "must be a letterboxed square"),
        ({"preprocess": dataclasses.replace(SPEC, fill=0)}, "must be of grey 114, found 0"),
        ({"epochs": 0}, "epochs must be at least 1, found 0"),
        ({"small_epochs": 1, "small_side": 50}, "32 must divide small_side, found 50"),
    ],
)
def test_recipes_that_cannot_be_followed(
    tmp_path: Path, data: tuple[tuple[KnownPicture, ...], ...], changes: dict[str, object], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        detect.train_detector(*data, CLASSES, dataclasses.replace(RECIPE, **changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_data_that_cannot_be_learnt_from(tmp_path: Path, data: tuple[tuple[KnownPicture, ...], ...]) -> None:
    train, val = data
    bare = tuple(dataclasses.replace(picture, boxes=()) for picture in train)
    stray = dataclasses.replace(train[0], boxes=(TrueBox(index=2, box=train[0].boxes[0].box),))
    gone = dataclasses.replace(train[0], path=tmp_path / "gone.png")
    no_picture = tmp_path / "broken.png"
    no_picture.write_bytes(b"not a picture")
    broken = dataclasses.replace(train[0], path=no_picture)
    for pictures, checks, labels, error, message in (
        ((), val, CLASSES, UsageError, "no boxes in 0 training pictures"),
        (bare, val, CLASSES, UsageError, "no boxes in 4 training pictures"),
        (train, bare[:1], CLASSES, UsageError, "no boxes in 1 validation pictures"),
        ((*train, stray), val, CLASSES, UsageError, r"0\.png: class 2 is not among the 2 classes"),
        (train, val, (*CLASSES, "green"), UsageError, "no training boxes of green"),
        (train, train[:1], CLASSES, UsageError, r"0\.png is among the training and the validation pictures"),
        ((gone, *train), val, CLASSES, ImageError, r"gone\.png"),
        ((broken, *train), val, CLASSES, ImageError, r"broken\.png"),
    ):
        with pytest.raises(error, match=message):
            detect.train_detector(pictures, checks, labels, RECIPE, tmp_path / "run")
        assert not (tmp_path / "run").exists()

"""What a network is trained on, calibrated on, proven on and asked on the device are the same numbers, to the bit."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from drawn_pictures import encoded, exif_bytes, noise, quadrants, segment, smooth, with_segments
from PIL import Image
from tiny_bundles import bundle_fields, write_manifest

from cloud_train.evaluation.evaluate import evaluate_bundle
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.training.data import SnapshotData, load_split
from cloud_train.types import DatasetSnapshot, SnapshotItem, Split
from converters.answers import Reading, ask_file, see
from converters.cache import ConversionCache
from converters.examples import LabelledPicture, Picture
from converters.job import ConversionJob
from converters.parity import load_pixels
from converters.progress import Steps
from converters.workshop import Workshop
from edge.backends.base import InferenceBackend
from edge.backends.select import open_backend
from edge.bundle.manifest import (
    ArtifactFormat,
    ArtifactSpec,
    CropPolicy,
    DecisionPolicy,
    KeepPolicy,
    Origin,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    Provenance,
    QualityLimits,
    StageSpec,
    Verdict,
)
from edge.engine import open_engine
from edge.preprocess import to_input
from edge.types import RawOutputs
from model_zoo.registry import APPLICATIONS

LABELS = ("blue", "green", "red")
SPECS = {name: application.recipe.model.preprocess for name, application in APPLICATIONS.items()} | {
    "letterbox": PreprocessSpec(width=48, height=32, crop=CropPolicy.LETTERBOX, fill=30),
    "letterbox upright": PreprocessSpec(width=40, height=56, crop=CropPolicy.LETTERBOX),
    "center": PreprocessSpec(width=40, height=56, crop=CropPolicy.CENTER),
    "stretch": PreprocessSpec(width=33, height=21),
    "larger than most": PreprocessSpec(width=320, height=256, crop=CropPolicy.CENTER),
}


def turned(image: Image.Image, turn: int) -> bytes:
    return with_segments(encoded(image, "JPEG", quality=90), segment(0xE1, b"Exif\0\0" + exif_bytes(turn)))


PICTURES = {
    "photo.jpg": encoded(smooth(200, 130), "JPEG", quality=85),
    "large.jpg": encoded(noise(1400, 1000), "JPEG", quality=70),  # large enough to be decoded at a smaller scale
    "progressive.jpg": encoded(smooth(300, 500), "JPEG", progressive=True),
    "quarter.jpg": turned(quadrants(90, 60), 6),
    "mirrored.jpg": turned(smooth(61, 90), 7),
    "large-turned.jpg": turned(smooth(1200, 900), 8),
    "grey.jpg": encoded(smooth(120, 80).convert("L"), "JPEG"),
    "ink.jpg": encoded(smooth(120, 81).convert("CMYK"), "JPEG"),
    "photo.png": encoded(noise(77, 99)),
    "grey.png": encoded(smooth(50, 40).convert("L")),
    "glass.png": encoded(Image.merge("RGBA", (*smooth(64, 48).split(), smooth(64, 48).convert("L")))),
    "few.png": encoded(smooth(64, 64).quantize(16)),
    "small.png": encoded(noise(5, 3)),
    "photo.webp": encoded(smooth(99, 70), "WEBP", quality=80),
}


class Recording:
    """A backend that keeps a copy of every tensor it is fed."""

    def __init__(self, real: InferenceBackend, fed: list[np.ndarray]) -> None:
        self._real, self._fed = real, fed
        self.name, self.input_shape, self.input_dtype = real.name, real.input_shape, real.input_dtype

    def run(self, tensor: np.ndarray) -> RawOutputs:
        self._fed.append(np.array(tensor))
        return self._real.run(tensor)

    def close(self) -> None:
        self._real.close()


@dataclass(frozen=True)
class Place:
    """Everything that one spec needs.

    Attributes:
        spec: How input is made.
        paths: The pictures as files.
        model: A model of that input: the mean colour as logits.
        bundle: A bundle with it.
        blobs: Holds the pictures.
    """

    spec: PreprocessSpec
    paths: tuple[Path, ...]
    model: Path
    bundle: Path
    blobs: FolderBlobStore

    @property
    def stage(self) -> StageSpec:
        return stage_of(self.spec)


def stage_of(spec: PreprocessSpec) -> StageSpec:
    return StageSpec(
        name="classify",
        preprocess=spec,
        outputs=(OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, 3)),),
        artifacts=(ArtifactSpec(file="mean.onnx", format=ArtifactFormat.ONNX, recipe="onnx_fp32", tolerance=1e-4),),
    )


def mean_colour_model(spec: PreprocessSpec) -> bytes:
    from onnx import TensorProto, helper

    image = helper.make_tensor_value_info("image", TensorProto.FLOAT, spec.input_shape)
    logits = helper.make_tensor_value_info("logits", TensorProto.FLOAT, (1, 3))
    node = helper.make_node("ReduceMean", ["image"], ["logits"], axes=[1, 2], keepdims=0)
    graph = helper.make_graph([node], "mean", [image], [logits])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 13)], ir_version=8).SerializeToString()


@pytest.fixture(params=SPECS)
def place(request: pytest.FixtureRequest, tmp_path: Path) -> Place:
    spec = SPECS[request.param]
    (tmp_path / "pictures").mkdir()
    for name, data in PICTURES.items():
        (tmp_path / "pictures" / name).write_bytes(data)
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    (bundle / "mean.onnx").write_bytes(mean_colour_model(spec))
    fields = bundle_fields(labels=LABELS, origin=Origin.IMPORTED, verdict=Verdict.NONE)
    write_manifest(bundle, fields | {"stages": (stage_of(spec),), "golden_file": ""})
    blobs = FolderBlobStore(tmp_path / "blobs")
    for data in PICTURES.values():
        blobs.put(data)
    paths = tuple(tmp_path / "pictures" / name for name in PICTURES)
    return Place(spec=spec, paths=paths, model=bundle / "mean.onnx", bundle=bundle, blobs=blobs)


@pytest.fixture
def fed(monkeypatch: pytest.MonkeyPatch) -> list[np.ndarray]:
    """Every tensor that a backend of the engine or of the proof is fed, but for the zeros of its first check."""
    tensors: list[np.ndarray] = []

    def recorded(opener: Callable[..., InferenceBackend]) -> Callable[..., Any]:
        return lambda *what, **how: Recording(opener(*what, **how), tensors)

    monkeypatch.setattr("edge.loading.open_backend", recorded(open_backend))
    monkeypatch.setattr("converters.answers.open_backend", recorded(open_backend))
    return tensors


def on_device(place: Place, fed: list[np.ndarray]) -> dict[str, np.ndarray]:
    """What the engine feeds to its backend, by file name."""
    found = {}
    with open_engine(place.bundle, allow_unproven=True) as engine:
        engine.load()
        for path in place.paths:
            fed.clear()
            engine.infer(path)
            (found[path.name],) = fed
    fed.clear()
    return found


def require_equal(device: dict[str, np.ndarray], other: dict[str, np.ndarray]) -> None:
    assert device.keys() == other.keys() == PICTURES.keys()
    for name, tensor in device.items():
        assert tensor.dtype == other[name].dtype == np.float32
        np.testing.assert_array_equal(other[name], tensor, err_msg=name)


def test_the_pictures_are_all_different_and_none_is_blank(place, fed):
    device = on_device(place, fed)
    assert len({tensor.tobytes() for tensor in device.values()}) == len(PICTURES)
    assert all(tensor.shape == place.spec.input_shape and tensor.std() > 1 for tensor in device.values())
    assert all(0 <= tensor.min() < tensor.max() <= 255 for tensor in device.values())


def test_a_path_and_its_bytes_are_the_same_picture(place, fed):
    device = on_device(place, fed)
    with open_engine(place.bundle, allow_unproven=True) as engine:
        engine.load()
        fed.clear()
        for path in place.paths:
            engine.infer(path.read_bytes())
    require_equal(device, dict(zip(PICTURES, fed, strict=True)))


def test_calibration_sees_what_the_device_sees(place, fed, tmp_path):
    job = ConversionJob(
        network=torch.nn.Identity(),
        name="parity",
        version=1,
        labels=LABELS,
        preprocess=place.spec,
        calibration=tuple(Picture(digest="0" * 64, path=path) for path in place.paths),
        validation=tuple(LabelledPicture(digest="0" * 64, path=path) for path in place.paths),
        limits=QualityLimits(),
        decision=DecisionPolicy(),
        keep=KeepPolicy(),
        provenance=Provenance(run="", snapshot="", train_recipe="", seed=0, weights="", producer=""),
        out=tmp_path / "never",
    )
    shop = Workshop(job, tmp_path, ConversionCache(), Steps())
    device = on_device(place, fed)
    for pixels in (shop.calibration, [seen.pixels for seen in shop.validation], load_pixels(place.paths, place.spec)):
        require_equal(device, {name: to_input(one) for name, one in zip(PICTURES, pixels, strict=True)})


def test_the_proof_asks_what_the_device_is_asked(place, fed):
    device = on_device(place, fed)
    reading = Reading(stage=place.stage, labels=LABELS)
    found = ask_file(place.model, ArtifactFormat.ONNX, see(place.paths, place.spec), reading)
    assert found.broken == ""
    zeros, *asked = fed
    assert not zeros.any()
    require_equal(device, dict(zip(PICTURES, asked, strict=True)))


def snapshot_of(split: Split) -> DatasetSnapshot:
    """All pictures in one split; two of them, one of each class, in another."""
    items = [
        SnapshotItem(digest=hashlib.sha256(data).hexdigest(), label=label, split=split, group="", origin=f"file:{name}")
        for (name, data), label in zip(PICTURES.items(), LABELS * 5, strict=False)
    ]
    items += [replace(item, split=Split.TRAIN) for item in items[:3] if split is not Split.TRAIN]
    ordered = tuple(sorted(items, key=lambda item: item.digest))
    return DatasetSnapshot(format_version=1, name="parity", classes=LABELS, items=ordered)


def by_name(snapshot: DatasetSnapshot, split: Split, tensors: list[np.ndarray]) -> dict[str, np.ndarray]:
    names = [item.origin.removeprefix("file:") for item in snapshot.of(split)]
    found = dict(zip(names, tensors, strict=True))
    return {name: found[name] for name in PICTURES}


def test_evaluation_judges_what_the_device_sees(place, fed):
    device, snapshot = on_device(place, fed), snapshot_of(Split.TEST)
    evaluate_bundle(place.bundle, snapshot, place.blobs, Split.TEST)
    tensors = [tensor for tensor in fed if tensor.any()]
    require_equal(device, by_name(snapshot, Split.TEST, tensors))


def test_training_learns_from_what_the_device_sees(place, fed):
    device, snapshot = on_device(place, fed), snapshot_of(Split.TRAIN)
    pictures = load_split(snapshot, Split.TRAIN, place.blobs, place.spec)
    recipe = APPLICATIONS["shelf"].recipe
    data = SnapshotData(pictures, pictures, recipe, torch.channels_last)
    rows: list[np.ndarray] = []
    for batch in data.val_dataloader():
        tensors, _ = data.on_after_batch_transfer(batch, 0)
        rows += [one[None] for one in tensors.permute(0, 2, 3, 1).numpy()]
    require_equal(device, by_name(snapshot, Split.TRAIN, rows))

"""Trains YOLO detectors with ultralytics (AGPL-3.0, extra `detect`), fed by the device's own decoding and resizing.

Pictures are decoded and fitted by `edge.preprocess` once, and kept in memory without their letterbox; ultralytics
augments after that, and pads validation pictures with the same grey at the same place, so that validation sees what a
device sees. Nothing is fetched, and nothing is written but into the run's folder and a temporary one for its settings.

A run that was stopped goes on from the last whole pass. ultralytics keeps averaged weights in half precision and no
random state in its checkpoint, so a resumed run is not the same to the bit as one that was never stopped.
"""

from __future__ import annotations

import dataclasses
import random
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch

from cloud_train.training import weights
from cloud_train.training.detect_data import DetectRecipe, begin_run, fitted, require_boxes, require_recipe, shares
from converters.foreign.truth import KnownPicture
from edge import durable, jsonvalue
from edge.bundle.manifest import PreprocessSpec
from edge.errors import EdgeloopError
from model_zoo.common.yolo import describe, prepare_ultralytics
from model_zoo.common.yolo_run import RUN_FILE, WEIGHTS_FILE, YoloRun, read_run

prepare_ultralytics()

from ultralytics.data.dataset import YOLODataset  # noqa: E402
from ultralytics.models.yolo.detect import DetectionTrainer  # noqa: E402

_UNFINISHED = "unfinished"
_Loaded = tuple[np.ndarray, tuple[int, int], tuple[int, int]]


def train_detector(
    train: Sequence[KnownPicture],
    val: Sequence[KnownPicture],
    classes: Sequence[str],
    recipe: DetectRecipe,
    out: Path,
    *,
    on_epoch: Callable[[YoloRun], None] | None = None,
) -> YoloRun:
    """Trains from random weights and keeps the pass that validates best. The same call resumes, or does nothing.

    Args:
        train: Pictures with boxes in upright pixels; boxes marked as difficult are left out.
        val: Pictures that choose the pass, never trained on.
        classes: Labels, in the order of the boxes' class numbers.
        recipe: How.
        out: Folder of the run: `model.safetensors` and `run.json`, of the best pass so far, from the first pass on.
        on_epoch: Called after each pass with the run so far.

    Raises:
        UsageError: Nothing to learn from, a class that is not among `classes`, a recipe that no detector can follow,
            or a folder with another run.
        ImageError: A picture is missing or cannot be used; names it.
        EdgeloopError: The training diverged, or ultralytics gave up.
        StorageError: The disk is full or cannot be written.
    """
    require_recipe(recipe)
    require_boxes(train, val, classes)
    run = begin_run(train, val, classes, recipe, out)
    if run.finished:
        return run
    if run.epochs < recipe.epochs:
        durable.make_folder(out)
        durable.sweep(out)
        durable.write_bytes(out / RUN_FILE, jsonvalue.pretty_bytes(run), point="detect.run")
        with _own_randomness(recipe.num_threads), _own_errors(out):
            _Training(train, val, recipe, out, run, on_epoch).train()
    run = dataclasses.replace(read_run(out), finished=True)
    durable.write_bytes(out / RUN_FILE, jsonvalue.pretty_bytes(run), point="detect.run")
    shutil.rmtree(out / _UNFINISHED, ignore_errors=True)
    return run


class _Pictures(YOLODataset):
    """Pictures in memory, made by the device's code; `img_path` is a sequence of `KnownPicture`."""

    def __init__(self, *, spec: PreprocessSpec, **settings: object) -> None:
        self.spec = spec
        super().__init__(**settings)

    def get_img_files(self, img_path: Sequence[KnownPicture]) -> list[str]:
        return [str(picture.path) for picture in img_path]

    def get_labels(self) -> list[dict[str, Any]]:
        return [_label(picture) for picture in self.img_path]

    def load_image(self, i: int, rect_mode: bool = True, resize_short: bool = False) -> _Loaded:
        if self.ims[i] is None:
            pixels, original = fitted(Path(self.im_files[i]), self.spec)
            return np.ascontiguousarray(pixels[..., ::-1]), original, pixels.shape[:2]  # blue first, as from OpenCV
        return self.ims[i], self.im_hw0[i], self.im_hw[i]


class _Training(DetectionTrainer):
    """ultralytics' loop, with our pictures and our files."""

    def __init__(
        self,
        train: Sequence[KnownPicture],
        val: Sequence[KnownPicture],
        recipe: DetectRecipe,
        out: Path,
        run: YoloRun,
        on_epoch: Callable[[YoloRun], None] | None,
    ) -> None:
        self.pictures = {"train": train, "val": val}
        self.recipe, self.out, self.run, self.on_epoch = recipe, out, run, on_epoch
        super().__init__(overrides=_settings(recipe, out / _UNFINISHED))

    def get_dataset(self) -> dict[str, Any]:
        names = dict(enumerate(self.run.classes))
        return {**self.pictures, "nc": len(names), "names": names, "channels": 3}

    def build_dataset(
        self, img_path: Sequence[KnownPicture], mode: str = "train", batch: int | None = None
    ) -> _Pictures:
        return _Pictures(
            spec=self.recipe.preprocess,
            img_path=img_path,
            imgsz=self.args.imgsz,
            cache="ram",
            augment=mode == "train",
            hyp=self.args,
            batch_size=batch,
            data=self.data,
        )

    def get_model(
        self, cfg: object = None, weights: torch.nn.Module | None = None, verbose: bool = True
    ) -> torch.nn.Module:
        model = describe(self.recipe.architecture, len(self.run.classes))
        if weights is not None:
            model.load_state_dict(weights.float().state_dict())
        return model

    def preprocess_batch(self, batch: dict[str, Any]) -> dict[str, Any]:
        batch = super().preprocess_batch(batch)
        if self.epoch < self.recipe.small_epochs:
            batch["img"] = torch.nn.functional.interpolate(
                batch["img"], size=(self.recipe.small_side,) * 2, mode="bilinear", antialias=True
            )
        return batch

    def validate(self) -> tuple[dict[str, Any], float]:
        """Measures only when it is due; a pass that was not measured is never the best."""
        passes = self.epoch + 1
        if passes % self.recipe.epochs_per_check and passes < self.epochs:
            return self.metrics, -1.0
        return super().validate()

    def _setup_train(self) -> None:
        super()._setup_train()
        torch.set_num_threads(self.recipe.num_threads)  # ultralytics leaves one core of the machine idle

    def save_model(self) -> bool:
        """Keeps the weights if this pass was the best; then the checkpoint, whole or not at all."""
        self.run = dataclasses.replace(self.run, epochs=self.epoch + 1)
        if self.best_fitness == self.fitness:
            self._keep()
        durable.write_bytes(self.out / RUN_FILE, jsonvalue.pretty_bytes(self.run), point="detect.run")
        last, self.last = self.last, self.last.with_suffix(".new")  # written there, then put in place
        super().save_model()
        self.last, fresh = last, self.last
        durable.write_bytes(last, fresh.read_bytes(), point="detect.checkpoint")
        if self.on_epoch is not None:
            self.on_epoch(self.run)
        return True

    def final_eval(self) -> None:
        """Nothing: the best pass is kept already, in full precision."""

    def _keep(self) -> None:
        data = weights.to_bytes(self.ema.ema.float().state_dict())
        durable.write_bytes(self.out / WEIGHTS_FILE, data, point="detect.weights")
        points = round(100 * float(self.metrics["metrics/mAP50(B)"]), 2)
        self.run = dataclasses.replace(self.run, weights=weights.digest(data), best_epoch=self.epoch, val_map50=points)


def _settings(recipe: DetectRecipe, folder: Path) -> dict[str, Any]:
    """The recipe in ultralytics' words; a checkpoint in the folder is gone on from."""
    last = folder / "weights" / "last.pt"
    return {
        "model": f"{recipe.architecture}.yaml",
        "resume": str(last) if last.is_file() else False,
        "save_dir": str(folder),
        "epochs": recipe.epochs,
        "patience": recipe.patience,
        "close_mosaic": recipe.plain_epochs,
        "batch": recipe.batch_size,
        "nbs": recipe.batch_size,
        "imgsz": recipe.preprocess.width,
        "optimizer": "AdamW",
        "lr0": recipe.learning_rate,
        "cos_lr": True,
        "momentum": 0.9,
        "weight_decay": recipe.weight_decay,
        "warmup_bias_lr": 0.0,
        "fliplr": recipe.flip,
        "flipud": recipe.flip_upright,
        "translate": recipe.shift,
        "scale": recipe.scale,
        "hsv_h": recipe.hue,
        "hsv_s": recipe.saturation,
        "hsv_v": recipe.brightness,
        "seed": recipe.seed,
        "device": "cpu",
        "amp": False,
        "plots": False,
        "pretrained": False,
        "verbose": False,
    }


def _label(picture: KnownPicture) -> dict[str, Any]:
    shape, indices, boxes = shares(picture)
    return {
        "im_file": str(picture.path),
        "shape": shape,
        "cls": indices,
        "bboxes": boxes,
        "segments": [],
        "normalized": True,
        "bbox_format": "xywh",
    }


@contextmanager
def _own_errors(out: Path) -> Iterator[None]:
    try:
        yield
    except RuntimeError as cause:
        raise EdgeloopError(
            f"{out}: the training failed: {(str(cause).strip() or type(cause).__name__).splitlines()[0]}",
            hint="where it diverged, lower the learning rate",
        ) from cause
    except OSError as cause:
        raise durable.storage_error(out, cause) from cause


@contextmanager
def _own_randomness(num_threads: int) -> Iterator[None]:
    """Keeps to itself that ultralytics seeds and limits the whole process; after it, the process is as it was."""
    threads, drawn, drawn_by_numpy = torch.get_num_threads(), random.getstate(), np.random.get_state()
    with torch.random.fork_rng(devices=[]):
        torch.set_num_threads(num_threads)
        try:
            yield
        finally:
            torch.set_num_threads(threads)
            random.setstate(drawn)
            np.random.set_state(drawn_by_numpy)

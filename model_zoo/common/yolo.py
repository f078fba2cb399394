"""YOLO detectors under the model contract: ultralytics' descriptions and layers, our own way from its maps to boxes.

ultralytics is AGPL-3.0 and optional (extra `detect`). This file and `cloud_train/training/detect.py` alone import it;
a network that was converted needs none of it.

Weights lie as safetensors under ultralytics' layer names, beside a run file; `load_trusted_checkpoint` alone unpickles.
"""

from __future__ import annotations

import atexit
import hashlib
import importlib
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

import torch
from PIL import Image

from edge.errors import FormatError, MissingExtraError, UsageError
from model_zoo.common.torchvision_native import prepare
from model_zoo.common.yolo_run import RUN_FILE, WEIGHTS_FILE, YOLO_NAMES, YoloRun, read_run

_STRIDES = (8, 16, 32)


class FloatDecode(torch.nn.Module):
    """A head's maps to boxes and scores. Quantization leaves what lies in a module of this name in float.

    The distances are those of Li et al., Generalized Focal Loss, 2020, where a side has several bins; plain ones where
    it has one.

    Args:
        size: Side of the square input in pixels.
        num_bins: Bins of each side of a box.
    """

    centres: torch.Tensor
    scales: torch.Tensor
    bins: torch.Tensor

    def __init__(self, size: int, num_bins: int) -> None:
        super().__init__()
        grids = [_grid(size // stride, stride) for stride in _STRIDES]
        self.num_bins = num_bins
        self.register_buffer("centres", torch.cat([centres for centres, _ in grids]), persistent=False)
        self.register_buffer("scales", torch.cat([scales for _, scales in grids]), persistent=False)
        self.register_buffer("bins", torch.arange(num_bins).float(), persistent=False)

    def forward(self, sides: list[torch.Tensor], classes: list[torch.Tensor]) -> dict[str, torch.Tensor]:
        """Maps (N, 4 * bins, h, w) and (N, classes, h, w) of each scale to `boxes` and `scores`."""
        distances = torch.cat([_rows(item) for item in sides], dim=1)
        if self.num_bins > 1:
            shares = distances.reshape(distances.shape[0], -1, 4, self.num_bins).softmax(dim=3)
            distances = (shares * self.bins).sum(dim=3)
        distances = distances * self.scales
        boxes = torch.cat((self.centres - distances[..., :2], self.centres + distances[..., 2:]), dim=2)
        return {"boxes": boxes, "scores": torch.cat([_rows(item) for item in classes], dim=1).sigmoid()}


class YoloNetwork(torch.nn.Module):
    """A detector under the model contract.

    Of a head that was trained with and without suppression in mind, the one-to-one branch answers: its boxes need
    none. Batch normalisations stay as they are; the converters fold them.

    Args:
        model: ultralytics' `DetectionModel`; its layers become this network's.
        size: Side of the square input in pixels, a multiple of 32.
    """

    def __init__(self, model: torch.nn.Module, *, size: int) -> None:
        super().__init__()
        *layers, head = model.model
        one_to_one = getattr(head, "one2one_cv2", None) is not None
        self.layers = torch.nn.ModuleList(layers)
        self.side_heads = head.one2one_cv2 if one_to_one else head.cv2
        self.class_heads = head.one2one_cv3 if one_to_one else head.cv3
        self.sources = tuple((layer.f,) if isinstance(layer.f, int) else tuple(layer.f) for layer in (*layers, head))
        self.size = size
        self.decode = FloatDecode(size, head.reg_max)

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 (N, 3, size, size), RGB, 0 to 255, to named outputs.

        Returns:
            `boxes` (N, places, 4): left, top, right, bottom in input pixels; `scores` (N, places, classes) in [0, 1].
        """
        seen = [pictures / 255.0]
        for layer, sources in zip(self.layers, self.sources[:-1], strict=True):
            given = [seen[-1] if source == -1 else seen[source + 1] for source in sources]
            seen.append(layer(given[0] if len(given) == 1 else given))
        maps = [seen[source + 1] for source in self.sources[-1]]
        sides = [head(item) for head, item in zip(self.side_heads, maps, strict=True)]
        classes = [head(item) for head, item in zip(self.class_heads, maps, strict=True)]
        outputs: dict[str, torch.Tensor] = self.decode(sides, classes)
        return outputs


def prepare_ultralytics() -> None:
    """Call before the first import of ultralytics: keeps it offline, quiet, and its settings in a temporary folder.

    Its import puts functions of its own in the place of `PIL.Image.open` (which then looks for a package at the first
    file that is no picture) and `torch.save`; both are put back, so that other code of the process meets neither.

    Raises:
        MissingExtraError: It is not installed.
    """
    if "ultralytics" in sys.modules:
        return
    if importlib.util.find_spec("ultralytics") is None:
        raise MissingExtraError("ultralytics", "detect")
    prepare()
    for name, value in (("YOLO_OFFLINE", "true"), ("YOLO_AUTOINSTALL", "false"), ("YOLO_VERBOSE", "false")):
        os.environ.setdefault(name, value)
    if "YOLO_CONFIG_DIR" not in os.environ:
        os.environ["YOLO_CONFIG_DIR"] = _settings_folder()
    found = Image.open, torch.save
    try:
        importlib.import_module("ultralytics.utils")
    finally:
        Image.open, torch.save = found


def describe(name: str, num_classes: int) -> torch.nn.Module:
    """A `DetectionModel` of ultralytics by name, its weights drawn from torch's global generator.

    Raises:
        UsageError: No such name, or no classes.
        MissingExtraError: ultralytics is not installed.
    """
    if name not in YOLO_NAMES:
        raise UsageError(f"{name!r} is no YOLO detector", hint=f"there are {', '.join(YOLO_NAMES)}")
    if num_classes < 1:
        raise UsageError(f"a detector needs at least 1 class, found {num_classes}")
    prepare_ultralytics()
    from ultralytics.nn.tasks import DetectionModel

    return DetectionModel(f"{name}.yaml", ch=3, nc=num_classes, verbose=False)


def build_yolo(name: str, num_classes: int, seed: int, *, size: int = 640) -> YoloNetwork:
    """A detector with random weights, in evaluation mode.

    Args:
        name: One of YOLO_NAMES.
        num_classes: Number of scores of each place.
        seed: Of the weights; torch's global generator stays where it is.
        size: Side of the square input in pixels.

    Raises:
        UsageError: No such name, no classes, or a size that the strides do not divide.
        MissingExtraError: ultralytics is not installed.
    """
    if size < 1 or size % _STRIDES[-1]:
        raise UsageError(f"the input's side must be a multiple of {_STRIDES[-1]} pixels, found {size}")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return YoloNetwork(describe(name, num_classes), size=size).eval()


def load_yolo(folder: Path) -> tuple[YoloRun, YoloNetwork]:
    """Reads what `cloud_train.training.detect` wrote; also of a run that still goes on, its best pass so far.

    Returns:
        The run, and the network in evaluation mode.

    Raises:
        UsageError: No run there.
        FormatError: The weights are not those of the run.
        MissingExtraError: ultralytics is not installed.
    """
    from safetensors.torch import load

    run = read_run(folder)
    if not run.weights:
        raise UsageError(f"{folder}: no pass of this training was measured yet", hint="wait for it, or resume it")
    data = (folder / WEIGHTS_FILE).read_bytes() if (folder / WEIGHTS_FILE).is_file() else b""
    if hashlib.sha256(data).hexdigest() != run.weights:
        raise FormatError(f"{folder / WEIGHTS_FILE} is not what {RUN_FILE} names", hint="run the training once more")
    with torch.random.fork_rng(devices=[]):
        model = describe(run.architecture, len(run.classes))
    model.load_state_dict(load(data))
    return run, YoloNetwork(model, size=run.preprocess.width).eval()


def load_trusted_checkpoint(path: Path, *, size: int = 640) -> tuple[tuple[str, ...], YoloNetwork]:
    """Reads a `.pt` file of ultralytics, which is a pickle: **it runs whatever code the file holds**.

    Only for files whose origin is trusted as a program's would be.

    Args:
        path: The file.
        size: Side of the square input in pixels.

    Returns:
        Names of its classes, and the network in evaluation mode.

    Raises:
        UsageError: No such file, or it holds no detector.
        MissingExtraError: ultralytics is not installed.
    """
    if not path.is_file():
        raise UsageError(f"no file {path}")
    prepare_ultralytics()
    from ultralytics.nn.tasks import DetectionModel, load_checkpoint

    try:
        model, _ = load_checkpoint(path, device="cpu")
    except Exception as cause:  # a pickle may raise anything
        raise UsageError(f"{path} is no checkpoint of ultralytics: {type(cause).__name__}") from cause
    if not isinstance(model, DetectionModel):
        raise UsageError(f"{path} holds no detector but a {type(model).__name__}")
    names = tuple(model.names[index] for index in sorted(model.names))
    return names, YoloNetwork(model.float(), size=size).eval()


def _settings_folder() -> str:
    """A folder that goes when the process does, with the font that ultralytics would fetch."""
    folder = Path(tempfile.mkdtemp(prefix="edgeloop-ultralytics-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    (folder / "Ultralytics").mkdir()
    matplotlib = importlib.util.find_spec("matplotlib")
    for place in (matplotlib.submodule_search_locations or ()) if matplotlib else ():
        shutil.copyfile(Path(place, "mpl-data", "fonts", "ttf", "DejaVuSans.ttf"), folder / "Ultralytics" / "Arial.ttf")
    return str(folder)


def _grid(side: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (side * side, 2) in pixels and their strides (side * side, 1), row by row."""
    steps = (torch.arange(side) + 0.5) * stride
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((columns, rows), dim=-1).reshape(-1, 2), torch.full((side * side, 1), float(stride))


def _rows(item: torch.Tensor) -> torch.Tensor:
    """(N, C, h, w) to (N, h * w, C)."""
    return item.permute(0, 2, 3, 1).flatten(1, 2)

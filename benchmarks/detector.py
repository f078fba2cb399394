"""The 640-pixel detector for timing: ultralytics' YOLO11n with random weights, written by our own converter.

ultralytics is AGPL-3.0 and is never imported here. It runs as a program in an environment of its own, which hands over
the fused network up to its heads; decoding is ours, in a module whose tensors stay float.
"""

from __future__ import annotations

import subprocess
from pathlib import Path

import torch

from benchmarks.int8 import to_models
from benchmarks.peers import ULTRALYTICS, peer_environment, peer_python
from benchmarks.photos import FULL_HD, plain_photo
from converters.types import QuantRecipe, Scheme
from edge.bundle.manifest import CropPolicy, PreprocessSpec
from edge.errors import EdgeloopError

SPEC = PreprocessSpec(width=640, height=640, crop=CropPolicy.LETTERBOX)
STRIDES = (8, 16, 32)
NUM_BINS = 16
RECIPE = QuantRecipe(
    name="static_wi8_ai8_float_decode",
    scheme=Scheme.STATIC_INT8,
    float_layers=("Decode", r"serving_default_\w+_output"),
)
NUM_CALIBRATION = 16


class Decode(torch.nn.Module):
    """Heads to boxes and scores, as YOLOv8 and its successors do it (Li et al., 2020, generalized focal loss)."""

    def __init__(self) -> None:
        super().__init__()
        centres, scales = zip(*(_grid(SPEC.height // stride, stride) for stride in STRIDES), strict=True)
        self.register_buffer("centres", torch.cat(centres))
        self.register_buffer("scales", torch.cat(scales))
        self.register_buffer("bins", torch.arange(NUM_BINS).float())

    def forward(self, maps: tuple[torch.Tensor, ...]) -> dict[str, torch.Tensor]:
        """Six maps to `boxes` (1, N, 4), corners in input pixels, and `scores` (1, N, 80) before the sigmoid."""
        sides, scores = (torch.cat([_rows(item) for item in maps[first::2]], dim=1) for first in (0, 1))
        shares = sides.reshape(1, -1, 4, NUM_BINS).softmax(dim=3)
        distances = (shares * self.bins).sum(dim=3) * self.scales
        boxes = torch.cat((self.centres - distances[..., :2], self.centres + distances[..., 2:]), dim=2)
        return {"boxes": boxes, "scores": scores}


class Detector(torch.nn.Module):
    """The handed-over network with our decoding.

    Args:
        trunk: float32 NCHW in 0 to 1 to the maps of its heads.
    """

    def __init__(self, trunk: torch.nn.Module) -> None:
        super().__init__()
        self.trunk = trunk
        self.decode = Decode()

    def forward(self, pictures: torch.Tensor) -> dict[str, torch.Tensor]:
        """float32 NCHW in 0 to 255 to boxes and scores."""
        outputs: dict[str, torch.Tensor] = self.decode(self.trunk(pictures / 255.0))
        return outputs


def make_detector(data: Path, out: Path) -> None:
    """Writes ultralytics' float exports `yolo11n_float.{tflite,onnx}` and our `yolo11n_640_{int8,fp32}.tflite`.

    Raises:
        EdgeloopError: ultralytics is not installed in its environment, or its program failed.
    """
    photo = plain_photo(data, out, FULL_HD)  # first: its boxes are the ones to be found
    pictures = sorted((data / "pill_boxes" / "images" / "train").glob("*.jpg"))[::20][:NUM_CALIBRATION]
    export_by_ultralytics(out, [photo, *pictures[:7]])
    trunk = torch.export.load(out / "yolo11n_trunk.pt2").module()
    float_model, int8_model = to_models(Detector(trunk), RECIPE, [photo, *pictures], SPEC)
    (out / "yolo11n_640_fp32.tflite").write_bytes(float_model)
    (out / "yolo11n_640_int8.tflite").write_bytes(int8_model)


def export_by_ultralytics(out: Path, pictures: list[Path]) -> None:
    """Runs the export program in its environment."""
    command = [peer_python(ULTRALYTICS), "-m", "benchmarks.peer.export_yolo", out, *pictures]
    done = subprocess.run(command, env=peer_environment(ULTRALYTICS), capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EdgeloopError(f"ultralytics cannot export its model: {(done.stderr.strip() or 'no reason')[-300:]}")


def _grid(side: int, stride: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Centres (side * side, 2) in pixels and their strides (side * side, 1), row by row."""
    steps = (torch.arange(side) + 0.5) * stride
    rows, columns = torch.meshgrid(steps, steps, indexing="ij")
    return torch.stack((columns, rows), dim=-1).reshape(-1, 2), torch.full((side * side, 1), float(stride))


def _rows(item: torch.Tensor) -> torch.Tensor:
    """(1, C, H, W) to (1, H * W, C)."""
    return item.permute(0, 2, 3, 1).reshape(1, -1, item.shape[1])

"""Runs in the environment of ultralytics: a YOLO11n from its description, in the forms that the benchmarks need.

python -m benchmarks.peer.export_yolo OUT PICTURE…

Writes `yolo11n_trunk.pt2` (the fused network up to its heads, for our own converter) and ultralytics' own float
files `yolo11n_float.pt`, `yolo11n_float.tflite` and `yolo11n_float.onnx`. The weights are random: batch statistics
come from the pictures, and the classes' bias is set so that some boxes of the first picture pass the usual threshold
and there is work for the NMS.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from ultralytics import YOLO

SIZE = 640
NUM_PASSING = 40
PASSING_LOGIT = -1.0986  # a score of 0.25, ultralytics' default threshold


class Trunk(torch.nn.Module):
    """All layers but the decoding of boxes.

    Args:
        model: A fused detection model.
    """

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()
        self.layers, self.head = model.model[:-1], model.model[-1]

    def forward(self, pictures: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """float32 (1, 3, H, W) in 0 to 1 to (1, 64, h, w) and (1, 80, h, w) for each of three scales."""
        seen: list[torch.Tensor] = []
        value = pictures
        for layer in self.layers:
            sources = [layer.f] if isinstance(layer.f, int) else layer.f
            given = [value if source == -1 else seen[source] for source in sources]
            value = layer(given[0] if isinstance(layer.f, int) else given)
            seen.append(value)
        maps = [seen[source] for source in self.head.f]
        pairs = [(self.head.cv2[i](item), self.head.cv3[i](item)) for i, item in enumerate(maps)]
        return tuple(tensor for pair in pairs for tensor in pair)


def read(path: str) -> torch.Tensor:
    """A picture fitted into the network's square on a grey ground, float32 (1, 3, H, W) in 0 to 1."""
    fitted = ImageOps.contain(Image.open(path).convert("RGB"), (SIZE, SIZE), Image.Resampling.BILINEAR)
    square = ImageOps.pad(fitted, (SIZE, SIZE), color=(114, 114, 114))
    pixels = np.asarray(square, np.float32) / 255
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


def settle(model: torch.nn.Module, pictures: list[torch.Tensor]) -> None:
    """Takes batch statistics from pictures, so that no layer's values vanish or explode."""
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = None
            module.reset_running_stats()
    model.train()
    with torch.no_grad():
        model(torch.cat(pictures))
    model.eval()


def let_some_pass(model: torch.nn.Module, picture: torch.Tensor) -> None:
    """Shifts the classes' bias so that NUM_PASSING places of the picture pass the threshold."""
    head = model.model[-1]
    with torch.no_grad():
        scores = torch.cat([item.flatten(2) for item in Trunk(model)(picture)[1::2]], dim=2)
        shift = PASSING_LOGIT - scores.amax(dim=1).flatten().topk(NUM_PASSING).values[-1]
        for branch in head.cv3:
            branch[-1].bias += shift


def main(out: Path, paths: list[str]) -> None:
    """Makes the network and writes its three forms."""
    torch.manual_seed(0)
    os.chdir(out)  # ultralytics writes its exports there
    yolo = YOLO("yolo11n.yaml")
    pictures = [read(path) for path in paths]
    settle(yolo.model, pictures)
    let_some_pass(yolo.model, pictures[0])
    yolo.save(out / "yolo11n_float.pt")
    for format_ in ("litert", "onnx"):
        written = Path(yolo.export(format=format_, imgsz=SIZE))
        written.replace(out / f"yolo11n_float{written.suffix}")
    trunk = Trunk(yolo.model.fuse().eval()).eval()
    with torch.no_grad():
        torch.export.save(torch.export.export(trunk, (pictures[0],)), out / "yolo11n_trunk.pt2")


if __name__ == "__main__":
    main(Path(sys.argv[1]).resolve(), [str(Path(path).resolve()) for path in sys.argv[2:]])

"""Writes the tiny detector and the tiny embedder of the pipeline tests, in both formats, a few kB each.

The detector looks at 64 x 64 pixels in 8 x 8 cells and finds every cell that is colourful; its boxes are the cells. The
embedder looks at 32 x 32 pixels; its three numbers are the mean colour, grey being nought.

    python tests/models/make_pipeline.py [FOLDER]
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from make_tiny import _without_traces

if TYPE_CHECKING:
    from torch import nn

DETECTOR, EMBEDDER = "tiny_detector", "tiny_embedder"
DETECTOR_SIZE, EMBEDDER_SIZE, CELLS = 64, 32, 8


def build_detector() -> nn.Module:
    """float32 NHWC 0-255 in; `boxes` (1, 64, 4) corners in input pixels and `scores` (1, 64, 1) out."""
    import torch
    from torch import nn

    side = DETECTOR_SIZE // CELLS

    class Detector(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            edges = torch.arange(CELLS, dtype=torch.float32) * side
            top, left = torch.meshgrid(edges, edges, indexing="ij")
            boxes = torch.stack([left, top, left + side, top + side], dim=-1).reshape(1, -1, 4)
            self.register_buffer("corners", boxes)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            cells = nn.functional.avg_pool2d(image.permute(0, 3, 1, 2) / 255.0, side)
            red, green, blue = cells[:, 0:1], cells[:, 1:2], cells[:, 2:3]
            most = torch.maximum(torch.maximum(red, green), blue)
            colourful = most - torch.minimum(torch.minimum(red, green), blue)
            scores = torch.sigmoid(20.0 * (colourful - 0.4)).permute(0, 2, 3, 1).reshape(1, -1, 1)
            return {"boxes": self.corners + 0.0 * scores, "scores": scores}

    return Detector().eval()


def build_embedder() -> nn.Module:
    """float32 NHWC 0-255 in; `embedding` (1, 3) out."""
    import torch
    from torch import nn

    class Embedder(nn.Module):
        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            return {"embedding": image.mean(dim=(1, 2)) / 255.0 - 0.5}

    return Embedder().eval()


def write_models(folder: Path) -> None:
    """Writes all four files into `folder`."""
    import litert_torch
    import torch

    networks = (
        (DETECTOR, build_detector(), DETECTOR_SIZE, ["boxes", "scores"]),
        (EMBEDDER, build_embedder(), EMBEDDER_SIZE, ["embedding"]),
    )
    for name, network, size, outputs in networks:
        example = torch.zeros(1, size, size, 3)
        litert_torch.convert(network, (example,)).export(str(folder / f"{name}.tflite"))
        program = torch.onnx.export(
            network, (example,), dynamo=True, input_names=["image"], output_names=outputs, verbose=False
        )
        (folder / f"{name}.onnx").write_bytes(_without_traces(program.model_proto))


if __name__ == "__main__":
    write_models(Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent)

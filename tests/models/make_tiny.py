"""Writes the tiny models of the tests: three colours, two convolutions, 32 x 32 pixels, about 2 kB each.

Red, green and blue pictures are told apart; grey ones give equal logits. The last bias, `MARK`, lies in both files
byte for byte, so that tests make as many different models as they like by replacing it, without torch.

    python tests/models/make_tiny.py [FOLDER]
"""

from __future__ import annotations

import struct
import sys
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx
    from torch import nn

SIZE = 32
MARK = struct.pack("<3f", 0.0123, 0.0125, 0.0127)
TFLITE_NAME = "tiny_fp32.tflite"
ONNX_NAME = "tiny_fp32.onnx"


def build_network() -> nn.Module:
    """The network: float32 NHWC 0-255 in, `logits` (1, 3) out; every weight is set by hand."""
    import torch
    from torch import nn

    class Tiny(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.contrast = nn.Conv2d(3, 6, 3, stride=2, padding=1)
            self.vote = nn.Conv2d(6, 3, 1)
            _set_weights(self.contrast, self.vote)

        def forward(self, image: torch.Tensor) -> dict[str, torch.Tensor]:
            planes = image.permute(0, 3, 1, 2) / 255.0
            votes = self.vote(torch.relu(self.contrast(planes)))
            return {"logits": votes.mean(dim=(2, 3))}

    return Tiny().eval()


def _set_weights(contrast: nn.Conv2d, vote: nn.Conv2d) -> None:
    """Each class looks for more of its own colour than of the other two, and for less of them."""
    import torch

    with torch.no_grad():
        contrast.weight.zero_()
        contrast.bias.zero_()
        vote.weight.zero_()
        vote.bias.copy_(torch.tensor(struct.unpack("<3f", MARK)))
        for colour in range(3):
            for other in range(3):
                contrast.weight[colour, other] = (1.0 if other == colour else -0.5) / 9
                contrast.weight[colour + 3, other] = (-1.0 if other == colour else 0.5) / 9
            vote.weight[colour, colour] = 7.0
            vote.weight[colour, colour + 3] = -3.0


def write_models(folder: Path) -> None:
    """Writes both files into `folder`."""
    import litert_torch
    import torch

    network, example = build_network(), torch.zeros(1, SIZE, SIZE, 3)
    litert_torch.convert(network, (example,)).export(str(folder / TFLITE_NAME))
    program = torch.onnx.export(
        network, (example,), dynamo=True, input_names=["image"], output_names=["logits"], verbose=False
    )
    (folder / ONNX_NAME).write_bytes(_without_traces(program.model_proto))


def _without_traces(model: onnx.ModelProto) -> bytes:
    """The model without the exporter's notes about source files, which differ from machine to machine."""
    for node in model.graph.node:
        del node.metadata_props[:]
        node.doc_string = ""
    for value in (*model.graph.value_info, *model.graph.input, *model.graph.output, *model.graph.initializer):
        del value.metadata_props[:]
    del model.metadata_props[:]
    del model.graph.metadata_props[:]
    return model.SerializeToString(deterministic=True)


if __name__ == "__main__":
    target = Path(sys.argv[1]) if len(sys.argv) > 1 else Path(__file__).resolve().parent
    write_models(target)

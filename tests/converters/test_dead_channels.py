from __future__ import annotations

import numpy as np
import pytest
import torch

from converters import recipes
from converters.calibrate import observe_ranges
from converters.dead_channels import lift_dead_channels
from converters.export import export_network
from converters.quantize import quantize
from converters.tflite import to_tflite
from converters.types import CalibrationRange


class WithDeadChannel(torch.nn.Module):
    """The second convolution's channel 1 says its bias and nothing else."""

    def __init__(self, dead: float) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.stem = torch.nn.Conv2d(3, 8, 3, 2, 1)
        self.body = torch.nn.Conv2d(8, 4, 3, 1, 1)
        self.head = torch.nn.Linear(4, 4)
        with torch.no_grad():
            self.body.weight[1] = dead
            self.body.bias[1] = 4.0
            self.head.weight[2] = dead
            self.head.bias[2] = -4.0

    def forward(self, pictures: torch.Tensor) -> torch.Tensor:
        features: torch.Tensor = self.body(torch.relu(self.stem(pictures / 255))).relu()
        return self.head(features.mean(dim=(2, 3)))


def int8_answer(network: torch.nn.Module, picture: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    from ai_edge_litert.interpreter import Interpreter

    model = to_tflite(export_network(network.eval(), height=16, width=16))
    ranges = observe_ranges(model, [picture], CalibrationRange.EXACT)
    answers = []
    for form in (model, quantize(model, recipes.STATIC_INT8, ranges=ranges, sample=picture)):
        interpreter = Interpreter(model_content=form)
        interpreter.allocate_tensors()
        interpreter.set_tensor(interpreter.get_input_details()[0]["index"], picture[None].astype(np.float32))
        interpreter.invoke()
        answers.append(interpreter.get_tensor(interpreter.get_output_details()[0]["index"])[0])
    return answers[0], answers[1]


@pytest.mark.parametrize("dead", [0.0, 1e-12])
def test_a_channel_without_weights_keeps_its_bias_in_int8(dead):
    picture = np.random.default_rng(1).integers(0, 256, size=(16, 16, 3), dtype=np.uint8)
    network = WithDeadChannel(dead)
    whole, int8 = int8_answer(network, picture)
    wanted = network(torch.from_numpy(picture).permute(2, 0, 1)[None].float())[0].detach().numpy()
    assert np.abs(whole - wanted).max() < 4e-3
    assert np.abs(int8 - wanted).max() < 0.15


def test_channels_that_say_something_stay_as_they_are():
    network = WithDeadChannel(0.1).eval()
    graph = torch.export.export(network, (torch.zeros(1, 3, 16, 16),)).module()
    assert lift_dead_channels(graph) == 0


def test_the_network_keeps_its_own_weights():
    network = WithDeadChannel(0.0)
    export_network(network, height=16, width=16)
    assert not network.body.weight[1].any()
    assert not network.head.weight[2].any()

"""Max pooling padded with zero answers as the original does, and no minus infinity is left in the graph."""

import pytest
import torch
from torch import nn

from converters.export import export_network


def network(activation: nn.Module) -> nn.Module:
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(3, 4, 3),
        activation,
        nn.MaxPool2d(3, stride=2, padding=1),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(4, 3),
    ).eval()


def padded_pools(graph) -> list[bool]:
    pools = [node for node in graph.graph.nodes if "max_pool2d" in str(node.target)]
    return [len(node.args) > 3 and any(node.args[3]) for node in pools]


@pytest.mark.parametrize(
    ("activation", "left"), [(nn.ReLU(), [False]), (nn.ReLU6(), [False]), (nn.LeakyReLU(), [True])]
)
def test_pooling_behind_a_rectifier_is_padded_with_zero(activation, left):
    original = network(activation)
    exported = export_network(original, height=17, width=19)
    assert padded_pools(exported.graph) == left
    picture = torch.rand(1, 17, 19, 3) * 255
    with torch.no_grad():
        assert torch.equal(exported.graph(image=picture)["logits"], original(picture.permute(0, 3, 1, 2)))


def test_a_network_with_a_padded_pool_runs_in_int8(tmp_path):
    from converters.calibrate import observe_ranges
    from converters.tflite import to_tflite
    from converters.types import CalibrationRange

    model = to_tflite(export_network(network(nn.ReLU()), height=17, width=19))
    pictures = [(torch.rand(17, 19, 3) * 255).byte().numpy() for _ in range(3)]
    ranges = observe_ranges(model, pictures, CalibrationRange.EXACT)
    assert all(abs(found.low) < 1e6 and abs(found.high) < 1e6 for found in ranges.values())

from __future__ import annotations

import pytest
import torch
from torch import nn

from converters.export import describe_outputs, export_network, require_finite, require_trained
from edge.errors import EdgeloopError, UsageError


class Answering(nn.Module):
    """A network whose answer is whatever the test says."""

    def __init__(self, answer):
        super().__init__()
        self.answer = answer

    def forward(self, x):
        return self.answer(x)


def test_the_graph_follows_the_io_contract(models):
    picture = torch.randint(0, 256, (1, 32, 32, 3)).float()
    with torch.no_grad():
        answer = models.exported.graph(image=picture)
        wanted = models.network(picture.permute(0, 3, 1, 2))
    assert list(answer) == ["logits"]
    assert torch.allclose(answer["logits"], wanted, atol=1e-4)


def test_exporting_leaves_the_network_untouched(job, models):
    before = {name: tensor.clone() for name, tensor in job.network.state_dict().items()}
    export_network(job.network, height=32, width=32)
    assert all(torch.equal(before[name], tensor) for name, tensor in job.network.state_dict().items())


def test_layers_are_named_without_the_modules_they_were_imported_from(models):
    assert b"SmallNet_network/Sequential_last/Conv2d_0" in models.tflite
    assert b"conversion_jobs" not in models.tflite
    assert b"torch.nn" not in models.tflite


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (lambda x: x, r"logits of shape \(1, classes\), found \[1, 3, 8, 8\]"),
        (lambda x: x.mean(), r"logits of shape \(1, classes\), found \[\]"),
        (lambda x: [x.mean((2, 3))], "logits or tensors by name, found list"),
        (lambda x: {}, "logits or tensors by name, found dict"),
        (
            lambda x: {"colour": x.mean((2, 3)), "size": x.mean((0, 2, 3))},
            r"'size' .* batch of 1 in front, found \[3\]",
        ),
        (lambda x: {"colour": x.mean((2, 3)).expand(2, 3)}, r"'colour' .* batch of 1 in front, found \[2, 3\]"),
        (lambda x: {"colour": 3.0}, "'colour' .* batch of 1 in front, found float"),
    ],
)
def test_an_answer_that_is_neither_logits_nor_tensors_by_name_is_refused(answer, words):
    with pytest.raises(UsageError, match=words):
        describe_outputs(Answering(answer), height=8, width=8)


def test_outputs_are_described_by_name_in_their_order():
    net = Answering(lambda x: {"z": x.mean((2, 3)), "a": x.flatten(2)})
    assert list(describe_outputs(net, height=8, width=9).items()) == [("z", (1, 3)), ("a", (1, 3, 72))]
    assert list(export_network(net, height=8, width=9).outputs) == ["z", "a"]


def test_a_network_that_cannot_run_at_this_size_says_so_in_one_line():
    net = nn.Sequential(nn.Flatten(), nn.Linear(3 * 64, 4))
    assert describe_outputs(net, height=8, width=8) == {"logits": (1, 4)}
    with pytest.raises(EdgeloopError, match="cannot be run at 9x8") as caught:
        describe_outputs(net, height=8, width=9)
    assert "\n" not in str(caught.value)


def test_a_network_that_cannot_be_traced_says_so_in_one_line():
    def looks_at_values(x):
        return x.mean((2, 3)) if x.sum() > 3 else x.amax((2, 3))

    net = nn.Sequential(nn.Conv2d(3, 3, 3), Answering(looks_at_values))
    with pytest.raises(EdgeloopError, match="cannot be exported at 10x10 in layer '1'") as caught:
        export_network(net, height=10, width=10)
    assert "\n" not in str(caught.value)
    assert "fixed input size" in caught.value.hint


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_weights_that_are_no_numbers_are_named(bad):
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4))
    require_finite(net)
    net[1].running_var[2] = bad
    with pytest.raises(EdgeloopError, match=r"'1.running_var' hold 1 values"):
        require_finite(net)


def test_a_branch_that_training_never_opened_is_named():
    net = nn.Sequential(nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4), nn.BatchNorm2d(4, affine=False))
    require_trained(net)
    nn.init.zeros_(net[1].weight)
    with pytest.raises(EdgeloopError, match="layer '1' multiplies everything by zero") as caught:
        require_trained(net)
    assert caught.value.hint == "convert trained weights"

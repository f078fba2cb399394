"""Folding changes how a network is written, never what it answers: border pixels included."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from converters.export import export_network

MEAN, STD = torch.tensor([123.675, 116.28, 103.53]).view(1, 3, 1, 1), torch.tensor([58.4, 57.1, 57.4]).view(1, 3, 1, 1)

SCALE, SHIFT = 1 / STD, -MEAN / STD
MEAN_3D, STD_3D = MEAN[0], STD[0]

NORMS = {
    "sub-div": lambda x: (x - MEAN) / STD,
    "scale-first": lambda x: (x / 255.0 - 0.45) / 0.225,
    "mul-add": lambda x: x * SCALE + SHIFT,
    "channel-vector": lambda x: (x - MEAN_3D) / STD_3D,
}


class Net(nn.Module):
    def __init__(self, norm, *, padding=1, stride=2, bias=False, affine=True):
        super().__init__()
        torch.manual_seed(11)
        self.norm = norm
        self.conv = nn.Conv2d(3, 6, 3, stride, padding, bias=bias)
        self.bn = nn.BatchNorm2d(6, affine=affine, eps=1e-3)
        self.bn.running_mean.normal_()
        self.bn.running_var.uniform_(0.3, 2)
        if affine:
            self.bn.weight.data.uniform_(-1, 1)
            self.bn.bias.data.normal_()
        self.out = nn.Conv2d(6, 4, 1)

    def forward(self, x):
        return self.out(torch.relu(self.bn(self.conv(self.norm(x))))).amax(dim=(2, 3))


def largest_difference(net: nn.Module, exported) -> float:
    generator = torch.Generator().manual_seed(2)
    pictures = torch.randint(0, 256, (20, 17, 23, 3), generator=generator).float()
    with torch.no_grad():
        wanted = torch.cat([net(picture[None].permute(0, 3, 1, 2)) for picture in pictures])
        found = torch.cat([exported.graph(image=picture[None])["logits"] for picture in pictures])
    return float((wanted - found).abs().max() / wanted.abs().max())


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("options", [{}, {"padding": 0}, {"padding": (2, 1), "bias": True}, {"affine": False}], ids=str)
def test_normalisations_fold_exactly(norm, options):
    net = Net(NORMS[norm], **options).eval()
    exported = export_network(net, height=17, width=23)
    assert (exported.num_folded, exported.normalisation_folded) == (1, True)
    targets = {str(node.target) for node in exported.graph.graph.nodes}
    assert not targets & {"aten.batch_norm.default", "aten.sub.Tensor", "aten.div.Tensor", "aten.mul.Tensor"}
    assert largest_difference(net, exported) < 2e-5


def test_padding_with_zeros_would_be_wrong_which_is_why_the_border_is_the_mean():
    net = Net(NORMS["sub-div"]).eval()
    exported = export_network(net, height=17, width=23)
    border = exported.graph.folded_border_1
    assert border.shape == (1, 1, 23, 3)
    assert torch.allclose(border[0, 0, 0], MEAN.flatten())
    exported.graph.folded_border_1.zero_()
    exported.graph.folded_border_2.zero_()
    assert largest_difference(net, exported) > 1e-2


class TwoReaders(Net):
    def forward(self, x):
        x = self.norm(x)
        return self.out(torch.relu(self.bn(self.conv(x)))).amax(dim=(2, 3)) + x.mean()


class Grouped(Net):
    def __init__(self):
        super().__init__(NORMS["sub-div"])
        self.conv = nn.Conv2d(3, 6, 3, 2, 1, groups=3)


class SharedConv(Net):
    def forward(self, x):
        x = self.conv(self.norm(x))
        return self.out(torch.relu(self.bn(x)) + x).amax(dim=(2, 3))


@pytest.mark.parametrize(
    ("net", "folded", "normalisation"),
    [
        (TwoReaders(NORMS["sub-div"]), 1, False),
        (Grouped(), 1, False),
        (SharedConv(NORMS["sub-div"]), 0, True),
        (Net(lambda x: x), 1, False),
        (Net(lambda x: x * 0.0), 1, False),
        (Net(lambda x: (x - x.mean()) / STD), 1, False),
        (Net(lambda x: nn.functional.pad((x - MEAN) / STD, (1, 1, 1, 1)), padding=0), 1, False),
    ],
    ids=["two readers", "grouped", "conv read twice", "none", "times zero", "by the picture", "own padding"],
)
def test_what_does_not_fit_stays_as_it_is(net, folded, normalisation):
    net.eval()
    exported = export_network(net, height=17, width=23)
    assert (exported.num_folded, exported.normalisation_folded) == (folded, normalisation)
    assert largest_difference(net, exported) < 2e-5

"""Channels without weights keep their bias in int8.

A layer's bias is stored in steps of its input's scale times its weights' scale. Where training has left a channel
without weights, that step is next to nothing, the bias does not fit into 32 bits, and the quantizer cuts it off: a
channel that always said 4 then says 0. One weight too small to matter gives the step a size.
"""

from __future__ import annotations

import torch
from torch.fx import GraphModule, Node

from converters.fold import constant_of, set_weights

_ATEN = torch.ops.aten
_LAYERS = (_ATEN.conv2d.default, _ATEN.linear.default)
# Least weight as a share of the bias: 2^31 steps of 1/127 of it hold the bias eight times over, with an input whose
# values span 2.5 or more, and with the picture, which spans 255.
_SHARE = 5e-5
_SHARE_OF_PICTURE = 1e-6
_CHANNELS = 3


def lift_dead_channels(graph: GraphModule) -> int:
    """Gives every channel of a convolution or linear layer a weight that its bias can be counted in, in place.

    Args:
        graph: A flat graph of aten operations in inference mode, normalisations folded.

    Returns:
        How many channels were given one. Their outputs change by less than a thousandth of the bias.
    """
    lifted = 0
    for node in graph.graph.nodes:
        if node.op == "call_function" and node.target in _LAYERS:
            lifted += _lift(graph, node)
    graph.graph.eliminate_dead_code()
    graph.recompile()
    return lifted


def _lift(graph: GraphModule, layer: Node) -> int:
    weight = constant_of(graph, layer.args[1])
    bias = constant_of(graph, layer.args[2]) if len(layer.args) > 2 else None
    if weight is None or bias is None:
        return 0
    first = layer.target is _ATEN.conv2d.default and weight.shape[1] == _CHANNELS
    least = bias.abs() * (_SHARE_OF_PICTURE if first else _SHARE)
    rows = weight.reshape(len(weight), -1).clone()
    dead = rows.abs().amax(dim=1) < least
    if not bool(dead.any()):
        return 0
    rows[dead, 0] = least[dead]
    set_weights(graph, layer, rows.reshape(weight.shape), bias)
    return int(dead.sum())

"""Folds into convolutions what need not be an operation of its own: batch normalisation and input normalisation.

All sums are taken in double precision. Both rewrites leave the network's answer as it was, up to the last float bits.
"""

from __future__ import annotations

import operator
from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch.fx import GraphModule, Node

_ATEN = torch.ops.aten
_CHANNELS = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class _Affine:
    """What a chain of operations does to each channel of the picture: value * scale + shift.

    Attributes:
        last: The last operation of the chain.
        scale: (3,), double.
        shift: (3,), double.
    """

    last: Node
    scale: torch.Tensor
    shift: torch.Tensor


def fold_batch_norms(graph: GraphModule) -> int:
    """Folds each batch normalisation into the convolution that alone feeds it, in place.

    Args:
        graph: A flat graph of aten operations in inference mode.

    Returns:
        How many were folded; the others stay as they are.
    """
    folded = 0
    for norm in graph.graph.find_nodes(op="call_function", target=_ATEN.batch_norm.default):
        conv = norm.args[0]
        if isinstance(conv, Node) and _is_conv(conv) and len(conv.users) == 1 and not norm.args[5]:
            folded += _fold_batch_norm(graph, conv, norm)
    _tidy(graph)
    return folded


def fold_normalisation(graph: GraphModule) -> bool:
    """Folds the input's mean and deviation into the first convolution, in place.

    A convolution that pads with zeros pads with the mean of the raw picture instead, channel by channel: after
    normalisation, zero is what the mean becomes. One fixed value for all channels will not do, so the border is
    concatenated.

    Args:
        graph: Takes NHWC, turns it to NCHW, normalises, convolves.

    Returns:
        Whether it was folded; a network of another form stays as it is.
    """
    image = next(iter(graph.graph.find_nodes(op="placeholder")))
    turned = _only_user(image)
    if turned is None or turned.target is not _ATEN.permute.default:
        return False
    affine = _affine_after(graph, turned)
    conv = _only_user(affine.last)
    if affine.last is turned or conv is None or not _is_conv(conv) or bool((affine.scale == 0).any()):
        return False
    geometry = _padding_and_groups(conv)
    if geometry is None or geometry[1] != 1:
        return False
    _fold_affine(graph, affine, conv)
    _pad_with(graph, image, turned, conv, -affine.shift / affine.scale, geometry[0])
    affine.last.replace_all_uses_with(turned)
    _tidy(graph)
    return True


def _fold_batch_norm(graph: GraphModule, conv: Node, norm: Node) -> bool:
    weight, bias = constant_of(graph, conv.args[1]), constant_of(graph, _argument(conv, 2))
    gamma, beta, mean, variance = (constant_of(graph, argument) for argument in norm.args[1:5])
    epsilon = norm.args[7]
    if weight is None or mean is None or variance is None or not isinstance(epsilon, float):
        return False
    factor = (variance + epsilon).rsqrt()
    factor = factor if gamma is None else factor * gamma
    shift = -mean if bias is None else bias - mean
    new_bias = shift * factor if beta is None else shift * factor + beta
    set_weights(graph, conv, weight * factor.view(-1, 1, 1, 1), new_bias)
    norm.replace_all_uses_with(conv)
    graph.graph.erase_node(norm)
    return True


def _affine_after(graph: GraphModule, start: Node) -> _Affine:
    """Follows additions and multiplications by constants for as long as they are the only use."""
    found = _Affine(last=start, scale=torch.ones(_CHANNELS).double(), shift=torch.zeros(_CHANNELS).double())
    while (user := _only_user(found.last)) is not None:
        value = _per_channel(graph, _argument(user, 1)) if user.args[0] is found.last and not user.kwargs else None
        if value is None:
            break
        if user.target is _ATEN.sub.Tensor:
            found = _Affine(last=user, scale=found.scale, shift=found.shift - value)
        elif user.target is _ATEN.add.Tensor:
            found = _Affine(last=user, scale=found.scale, shift=found.shift + value)
        elif user.target is _ATEN.mul.Tensor:
            found = _Affine(last=user, scale=found.scale * value, shift=found.shift * value)
        elif user.target is _ATEN.div.Tensor:
            found = _Affine(last=user, scale=found.scale / value, shift=found.shift / value)
        else:
            break
    return found


def _per_channel(graph: GraphModule, argument: object) -> torch.Tensor | None:
    """A constant as one value for each channel, (3,); None when it is anything else."""
    if isinstance(argument, int | float):
        return torch.full((_CHANNELS,), float(argument)).double()
    value = constant_of(graph, argument)
    if value is None or value.numel() not in (1, _CHANNELS):
        return None
    if value.numel() == _CHANNELS and (value.ndim < 3 or value.shape[-3] != _CHANNELS):
        return None
    return value.reshape(-1).expand(_CHANNELS)


def _padding_and_groups(conv: Node) -> tuple[tuple[int, int], int] | None:
    padding, groups = _argument(conv, 4), _argument(conv, 6)
    if padding is None:
        padding = (0, 0)
    if not isinstance(padding, Sequence) or isinstance(padding, str) or len(padding) != 2:
        return None
    return (int(padding[0]), int(padding[1])), 1 if groups is None else int(str(groups))


def _fold_affine(graph: GraphModule, affine: _Affine, conv: Node) -> None:
    weight, bias = constant_of(graph, conv.args[1]), constant_of(graph, _argument(conv, 2))
    if weight is None:
        raise TypeError(f"convolution {conv.name!r} has no constant weights")
    offset = (weight * affine.shift.view(1, -1, 1, 1)).sum(dim=(1, 2, 3))
    set_weights(graph, conv, weight * affine.scale.view(1, -1, 1, 1), offset if bias is None else bias + offset)


def _pad_with(
    graph: GraphModule, image: Node, turned: Node, conv: Node, value: torch.Tensor, padding: tuple[int, int]
) -> None:
    if padding == (0, 0):
        return
    rows, columns = padding
    _, height, width, _ = image.meta["val"].shape
    sides = ((1, (1, rows, width)), (2, (1, height + 2 * rows, columns)))
    padded = image
    with graph.graph.inserting_before(turned):
        for axis, shape in sides:
            if 0 in shape:
                continue
            border = _add_constant(graph, f"border_{axis}", value.expand(*shape, _CHANNELS))
            padded = graph.graph.call_function(_ATEN.cat.default, ([border, padded, border], axis))
    turned.args = (padded, *turned.args[1:])
    conv.args = (*conv.args[:4], [0, 0], *conv.args[5:])


def set_weights(graph: GraphModule, conv: Node, weight: torch.Tensor, bias: torch.Tensor) -> None:
    """Gives a layer other weights and another bias, as constants of the graph; the network keeps its own."""
    with graph.graph.inserting_before(conv):
        weight_node = _add_constant(graph, f"{conv.name}_weight", weight)
        bias_node = _add_constant(graph, f"{conv.name}_bias", bias)
    conv.args = (conv.args[0], weight_node, bias_node, *conv.args[3:])


def _add_constant(graph: GraphModule, name: str, value: torch.Tensor) -> Node:
    graph.register_buffer(f"folded_{name}", value.float().contiguous())
    return graph.graph.get_attr(f"folded_{name}")


def constant_of(graph: GraphModule, argument: object) -> torch.Tensor | None:
    """The tensor behind an argument, in double precision; None where there is none."""
    if not isinstance(argument, Node) or argument.op != "get_attr":
        return None
    tensor: torch.Tensor = operator.attrgetter(str(argument.target))(graph)
    return tensor.detach().double()


def _argument(node: Node, position: int) -> object:
    return node.args[position] if len(node.args) > position else None


def _is_conv(node: Node) -> bool:
    return node.target is _ATEN.conv2d.default


def _only_user(node: Node) -> Node | None:
    return next(iter(node.users)) if len(node.users) == 1 else None


def _tidy(graph: GraphModule) -> None:
    graph.graph.eliminate_dead_code()
    graph.recompile()

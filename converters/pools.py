"""Max pooling without minus infinity.

torch pads a max pooling with minus infinity, and the TFLite exporter writes that out as a padding operation of its own.
No int8 scale can hold it: static quantization of such a graph fails or ruins the layer. Behind a rectifier nothing is
below zero, so padding with zero gives the same answer to the last bit.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch.fx import GraphModule, Node

_ATEN = torch.ops.aten
_RECTIFIERS = (_ATEN.relu.default, _ATEN.relu_.default)
_CLAMPS = (_ATEN.hardtanh.default, _ATEN.hardtanh_.default, _ATEN.clamp.default)


def pad_pools_with_zero(graph: GraphModule) -> int:
    """Pads each max pooling that follows a rectifier with zeros, in place.

    Args:
        graph: A flat graph of aten operations in inference mode.

    Returns:
        How many were rewritten; a pooling without padding, or of values that may be negative, stays as it is.
    """
    rewritten = 0
    for pool in graph.graph.find_nodes(op="call_function", target=_ATEN.max_pool2d.default):
        rows, columns = _padding(pool)
        source = pool.args[0]
        if (rows, columns) == (0, 0) or not isinstance(source, Node) or not _never_negative(source):
            continue
        with graph.graph.inserting_before(pool):
            padded = graph.graph.call_function(
                _ATEN.constant_pad_nd.default, (source, [columns, columns, rows, rows], 0.0)
            )
        padded.meta["nn_module_stack"] = pool.meta.get("nn_module_stack")
        pool.args = (padded, *pool.args[1:3], [0, 0], *pool.args[4:])
        rewritten += 1
    graph.recompile()
    return rewritten


def _padding(pool: Node) -> tuple[int, int]:
    padding = pool.args[3] if len(pool.args) > 3 else [0]
    if not isinstance(padding, Sequence):
        return (0, 0)
    sides = [int(str(side)) for side in padding] or [0]
    return (sides[0], sides[-1])


def _never_negative(node: Node) -> bool:
    if node.target in _RECTIFIERS:
        return True
    lowest = node.args[1] if node.target in _CLAMPS and len(node.args) > 1 else None
    return isinstance(lowest, int | float) and lowest >= 0

"""Which layer of a network an operation of its graph belongs to, for names of tensors and for errors."""

from __future__ import annotations

import re
from types import TracebackType

import torch
from torch.fx import GraphModule, Node

_OPERATION = re.compile(r"\b(?:aten|prims|torchvision|quantized)(?:\.|::)\w+")
_WRAPPER = "network"


def shorten_scopes(graph: GraphModule) -> None:
    """Names layers by class and attribute alone: tensor names shall not depend on where a class was imported from."""
    for node in graph.graph.nodes:
        stack = node.meta.get("nn_module_stack") or {"": ("", torch.nn.Module)}
        node.meta["nn_module_stack"] = {
            key: (path, str(getattr(kind, "__qualname__", kind)).rpartition(".")[2])
            for key, (path, kind) in stack.items()
        }


def layer_of(node: Node) -> str:
    """Path of the module that an operation belongs to, as `named_modules` of the network has it; empty for none."""
    stack = list((node.meta.get("nn_module_stack") or {}).values())
    path = str(stack[-1][0]) if stack else ""
    return path.removeprefix(f"{_WRAPPER}.") if path != _WRAPPER else ""


def classes_of(node: Node) -> tuple[str, ...]:
    """Class names of the modules around an operation, the outermost first; after `shorten_scopes`."""
    return tuple(str(kind) for _, kind in (node.meta.get("nn_module_stack") or {}).values())


def named_operation(message: str, graph: GraphModule) -> tuple[str, str]:
    """The operation that a converter's error speaks of, and the layer it is in.

    Args:
        message: What the converter said.
        graph: What it was given.

    Returns:
        For instance `aten.grid_sampler` and `head.warp`; empty where the message names none that is in the graph.
    """
    for found in _OPERATION.findall(message):
        operation = found.replace("::", ".")
        for node in graph.graph.nodes:
            # Exporters rewrite `aten` to `prims` before they give up.
            if node.op == "call_function" and re.match(rf"\w+\.{operation.partition('.')[2]}\b", str(node.target)):
                return operation, layer_of(node)
    return "", ""


def layer_in_flight(cause: BaseException, network: torch.nn.Module) -> str:
    """Path of the innermost module whose code was running when an error was raised; empty for the network itself."""
    paths = {id(module): name for name, module in network.named_modules()}
    found, trace = "", cause.__traceback__
    while isinstance(trace, TracebackType):
        running = trace.tb_frame.f_locals.get("self")
        found = paths.get(id(running), found)
        trace = trace.tb_next
    return found

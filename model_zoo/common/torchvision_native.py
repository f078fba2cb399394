"""Makes torchvision importable beside a CPU torch: the one place that knows how.

The registry's torchvision is built against CUDA. Beside a CPU torch its native part cannot be loaded, and then even
`import torchvision` fails ("operator torchvision::nms does not exist"), and `import timm` with it. Where that is so,
and only there, the two operators that torchvision names while it is imported are declared here first, and `nms` gets
an implementation in plain torch. The other native operators (`roi_align` and its kin) stay absent.
"""

from __future__ import annotations

import importlib
import importlib.machinery
import importlib.util
import sys
import threading
import warnings
from pathlib import Path
from typing import TYPE_CHECKING

from edge.errors import MissingExtraError

if TYPE_CHECKING:
    import torch

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_lock = threading.Lock()
_stand_in: torch.library.Library | None = None  # torch forgets the operators when this is collected


def prepare() -> None:
    """Call before the first import of torchvision or timm; harmless again, and beside a torchvision that works.

    Raises:
        MissingExtraError: torch or torchvision is not installed.
    """
    with _lock:
        if "torchvision" in sys.modules:
            return
        if not _native_part_loads():
            _declare_operators()
        _import_torchvision()


def is_stand_in() -> bool:
    """Whether torchvision's native part is missing and `nms` is the implementation of this file."""
    return _stand_in is not None


def nms(boxes: torch.Tensor, scores: torch.Tensor, iou_threshold: float) -> torch.Tensor:
    """Greedy non-maximum suppression.

    Args:
        boxes: float (N, 4), left, top, right, bottom.
        scores: float (N,).
        iou_threshold: A box is dropped when it overlaps a better one by more than this.

    Returns:
        int64 indices of the boxes that stay, best first.
    """
    import torch

    order = torch.argsort(scores, descending=True, stable=True)
    sorted_boxes = boxes[order]
    areas = (sorted_boxes[:, 2] - sorted_boxes[:, 0]) * (sorted_boxes[:, 3] - sorted_boxes[:, 1])
    alive = torch.ones(len(order), dtype=torch.bool)
    for index in range(len(order)):
        if not alive[index]:
            continue
        rest = slice(index + 1, None)
        corner = torch.minimum(sorted_boxes[index, 2:], sorted_boxes[rest, 2:])
        sides = (corner - torch.maximum(sorted_boxes[index, :2], sorted_boxes[rest, :2])).clamp(min=0)
        shared = sides[:, 0] * sides[:, 1]
        # A product, not a quotient, so that two empty boxes do not divide by zero.
        alive[rest] &= shared <= iou_threshold * (areas[index] + areas[rest] - shared)
    return order[alive]


def _native_part_loads() -> bool:
    """Tries what torchvision itself will try, without importing it."""
    try:
        import torch
    except ImportError as cause:
        raise MissingExtraError("torch", "train") from cause

    spec = importlib.util.find_spec("torchvision")
    if spec is None or not spec.submodule_search_locations:
        raise MissingExtraError("torchvision", "train")
    library = _native_library(Path(spec.submodule_search_locations[0]))
    if library is None:
        return False
    try:
        torch.ops.load_library(library)
    except OSError:
        return False
    return hasattr(torch.ops.torchvision, "nms")


def _native_library(package: Path) -> str | None:
    loaders = (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES)
    spec = importlib.machinery.FileFinder(str(package), loaders).find_spec("_C")
    return spec.origin if spec is not None else None


def _declare_operators() -> None:
    global _stand_in
    import torch

    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    library.impl("nms", nms, "CPU")
    _stand_in = library


def _import_torchvision() -> None:
    with warnings.catch_warnings():
        # Its picture decoders are native too; nothing here decodes with them.
        warnings.filterwarnings("ignore", message="Failed to load image Python extension")
        # First the package: after an import that failed, its submodules are still there and it is not.
        importlib.import_module("torchvision")
        extension = importlib.import_module("torchvision.extension")
    if is_stand_in():
        # Its guard would refuse before it asks for the operator.
        extension._has_ops = lambda: True

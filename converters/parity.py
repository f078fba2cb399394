"""Runs the trained network and the converted models over the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from converters.types import Artifact
from edge.backends.select import open_backend
from edge.errors import UsageError
from edge.preprocess import preprocess_pixels, to_input

if TYPE_CHECKING:
    import torch

    from edge.bundle.manifest import PreprocessSpec
    from edge.types import ByteArray, FloatArray

_BATCH = 32


def load_pixels(paths: Sequence[Path], spec: PreprocessSpec) -> tuple[ByteArray, ...]:
    """Decodes and resizes pictures the way the device does.

    Returns:
        One uint8 (height, width, 3) array for each path.

    Raises:
        ImageError: A picture cannot be read; names the file.
    """
    return tuple(preprocess_pixels(path, spec)[0] for path in paths)


def float_logits(network: torch.nn.Module, pictures: Sequence[ByteArray]) -> FloatArray:
    """What the trained network itself says.

    Args:
        network: Takes float32 NCHW in 0 to 255.
        pictures: uint8 (height, width, 3).

    Returns:
        float32 (pictures, classes).
    """
    import numpy as np
    import torch

    parts = []
    with torch.no_grad():
        for start in range(0, len(pictures), _BATCH):
            batch = torch.from_numpy(np.stack(pictures[start : start + _BATCH])).permute(0, 3, 1, 2).float()
            parts.append(network(batch).numpy())
    return np.concatenate(parts).astype(np.float32, copy=False)


def artifact_logits(artifact: Artifact, output: str, pictures: Sequence[ByteArray]) -> FloatArray:
    """What a converted model says, through the runtime that the device uses, on one thread.

    Args:
        artifact: The model file.
        output: Name of the output with the logits.
        pictures: uint8 (height, width, 3).

    Returns:
        float32 (pictures, classes).

    Raises:
        BackendError: The runtime refuses the model.
        UsageError: The model has no output of that name.
    """
    import numpy as np

    backend = open_backend(artifact.path, artifact.format, threads=1)
    try:
        rows = [backend.run(to_input(picture)).by_name for picture in pictures]
    finally:
        backend.close()
    if any(output not in row for row in rows):
        raise UsageError(f"{artifact.path.name} has no output {output!r}, it has {', '.join(rows[0])}")
    return np.concatenate([row[output] for row in rows]).astype(np.float32, copy=False)


@contextmanager
def one_thread() -> Iterator[None]:
    """Keeps torch on one thread: how sums are split over threads changes their last bits, and with them a proof."""
    import torch

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)

"""Runs the trained network and the converted models over the same pictures."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from converters.types import Parity
from edge.errors import EdgeloopError
from edge.preprocess import preprocess_pixels, to_input

if TYPE_CHECKING:
    import torch

    from edge.bundle.manifest import PreprocessSpec
    from edge.types import ByteArray, FloatArray

# Two float32 forms of one network differ by rounding alone: some 100 dB.
MIN_PARITY_DB = 60.0


def load_pixels(paths: Sequence[Path], spec: PreprocessSpec) -> tuple[ByteArray, ...]:
    """Decodes and resizes pictures the way the device does.

    Returns:
        One uint8 (height, width, 3) array for each path.

    Raises:
        ImageError: A picture cannot be read; names the file.
    """
    return tuple(preprocess_pixels(path, spec)[0] for path in paths)


def torch_outputs(network: torch.nn.Module, picture: ByteArray) -> dict[str, FloatArray]:
    """What the trained network itself says about one picture.

    Args:
        network: Takes float32 NCHW in 0 to 255.
        picture: uint8 (height, width, 3).

    Returns:
        float32 outputs by name, batch of 1 in front.
    """
    import torch

    from converters.export import as_outputs

    with torch.no_grad():
        found = as_outputs(network(torch.from_numpy(to_input(picture)).permute(0, 3, 1, 2)))
    return {name: tensor.numpy().astype("float32", copy=False) for name, tensor in found.items()}


def require_parity(parity: Parity) -> None:
    """Refuses a float32 file that does not answer as the trained network does.

    Raises:
        EdgeloopError: Names the output that is furthest off.
    """
    worst = min(parity.errors, key=lambda error: error.sqnr_db)
    if worst.sqnr_db < MIN_PARITY_DB:
        raise EdgeloopError(
            f"the {parity.format.value.upper()} model does not answer as the trained network does: output "
            f"{worst.output!r} has {worst.sqnr_db:.1f} dB, at least {MIN_PARITY_DB:.0f} dB are asked",
            hint="the exporter has no right form for one of its operations: replace it",
        )


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

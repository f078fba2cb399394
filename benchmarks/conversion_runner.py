"""Runs a model file of whatever maker through the device's runtime, and times several of them side by side."""

from __future__ import annotations

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from benchmarks.blocks import Ratio
from benchmarks.conversion_candidates import Candidate
from edge.backends.select import open_backend
from edge.bundle.manifest import ArtifactFormat
from edge.preprocess import to_input

if TYPE_CHECKING:
    from edge.types import ByteArray, FloatArray, InputArray

WARM_UP = 3


@dataclass(frozen=True, slots=True, kw_only=True)
class Pace:
    """How long one model takes.

    Attributes:
        median_ms: Over all runs, one thread, the network alone.
        ratio: Against the model that all are compared with.
    """

    median_ms: float
    ratio: Ratio


class Runner:
    """One open model that answers as ours do.

    Args:
        candidate: A file that exists.

    Raises:
        BackendError: The runtime refuses it.
    """

    def __init__(self, candidate: Candidate) -> None:
        self.name, self._candidate = candidate.name, candidate
        self._backend = open_backend(candidate.path, candidate.format, threads=1)

    def tensor(self, pixels: ByteArray) -> InputArray:
        """uint8 (height, width, 3) to what the file takes."""
        found = to_input(pixels)
        if self._candidate.yolo:
            return np.ascontiguousarray(found.transpose(0, 3, 1, 2) / np.float32(255))
        if self._backend.input_dtype == "float32":
            return found
        limits = np.iinfo(self._backend.input_dtype)
        steps = np.round(found / self._candidate.scale) + self._candidate.zero_point
        return np.clip(steps, limits.min, limits.max).astype(self._backend.input_dtype)

    def outputs(self, pixels: ByteArray) -> Mapping[str, FloatArray]:
        """uint8 (height, width, 3) to outputs by name, as ours has them."""
        found = self._backend.run(self.tensor(pixels)).by_name
        if not self._candidate.yolo:
            return found
        (joint,) = found.values()
        in_pixels = self._candidate.format is ArtifactFormat.ONNX  # of its TFLite files they are in 0 to 1
        return apart(joint, side=1 if in_pixels else pixels.shape[0])

    def time(self, tensor: InputArray, runs: int) -> list[float]:
        """Milliseconds of so many runs."""
        times = []
        for _ in range(runs):
            began = time.perf_counter()
            self._backend.run(tensor)
            times.append(1000 * (time.perf_counter() - began))
        return times

    def close(self) -> None:
        """Frees the model."""
        self._backend.close()


def apart(joint: FloatArray, *, side: int) -> dict[str, FloatArray]:
    """Boxes and scores of ultralytics' one output.

    Args:
        joint: (1, 4 + classes, places): centre, size, scores.
        side: What its boxes are multiplied with to be pixels.
    """
    rows = joint[0].T
    centres, halves = rows[:, :2] * side, rows[:, 2:4] * (side / 2)
    boxes = np.concatenate((centres - halves, centres + halves), axis=1)
    return {"boxes": boxes[None].astype(np.float32), "scores": rows[None, :, 4:]}


def race(runners: Sequence[Runner], pixels: ByteArray, *, base: str, rounds: int, frames: int) -> dict[str, Pace]:
    """Times models in short blocks, in turn, each round beginning with the next one.

    Args:
        runners: With names of their own.
        pixels: What they are shown.
        base: Name of the one whose time is 1.
        rounds: Blocks of each.
        frames: Runs in a block.
    """
    tensors = {runner.name: runner.tensor(pixels) for runner in runners}
    blocks: dict[str, list[list[float]]] = {runner.name: [] for runner in runners}
    for runner in runners:
        runner.time(tensors[runner.name], WARM_UP)
    for number in range(rounds):
        shift = number % len(runners)
        for runner in (*runners[shift:], *runners[:shift]):
            blocks[runner.name].append(runner.time(tensors[runner.name], frames))
    medians = {name: [statistics.median(block) for block in found] for name, found in blocks.items()}
    return {
        name: Pace(
            median_ms=statistics.median(one for block in found for one in block),
            ratio=_ratio(medians[name], medians[base]),
        )
        for name, found in blocks.items()
    }


def _ratio(longer: Sequence[float], shorter: Sequence[float]) -> Ratio:
    rounds = [one / other for one, other in zip(longer, shorter, strict=True)]
    return Ratio(value=statistics.median(rounds), low=min(rounds), high=max(rounds))

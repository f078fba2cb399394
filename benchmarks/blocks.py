"""Measures programs side by side: in short blocks, in turn, so that whatever drifts hits all of them."""

from __future__ import annotations

import json
import os
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

from edge.errors import EdgeloopError

DEVICE_PYTHON = Path(".venv-device/bin/python")
_ONE_THREAD = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")


class Worker:
    """A measured program; see `benchmarks.worker`.

    Args:
        name: What tables call it.
        command: Interpreter, `-m`, module and arguments.
        environment: Environment variables; by default ours, with one thread for every library.

    Raises:
        EdgeloopError: The program cannot be started.
    """

    def __init__(
        self, name: str, command: Sequence[str | Path], *, environment: Mapping[str, str] | None = None
    ) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE if "DEBUG" not in os.environ else None,
            text=True,
            env=dict(environment or {**os.environ, **_ONE_THREAD}),
        )

    def ask(self, picture: Path, count: int) -> Block:
        """Has it answer so many times.

        Raises:
            EdgeloopError: It has died; says its last words.
        """
        process = self._process
        if process.stdin is None or process.stdout is None:
            raise EdgeloopError(f"{self.name} has no pipes")
        try:
            process.stdin.write(f"{count} {picture.absolute()}\n")
            process.stdin.flush()
        except BrokenPipeError:
            pass
        line = process.stdout.readline()
        if not line:
            words = process.stderr.read().strip().splitlines() if process.stderr else []
            raise EdgeloopError(f"{self.name} stopped: {words[-1] if words else 'without a word'}")
        said = json.loads(line)
        return Block(times_ms=tuple(said["times_ms"]), said=said["said"], rss=said["rss"])

    def __enter__(self) -> Worker:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()


@dataclass(frozen=True, slots=True, kw_only=True)
class Block:
    """One block of frames of one program.

    Attributes:
        times_ms: Of each frame, in milliseconds.
        said: Its last answer, in short.
        rss: Its resident memory afterwards, in bytes.
    """

    times_ms: tuple[float, ...]
    said: str
    rss: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Series:
    """All blocks of one program.

    Attributes:
        name: Of the program.
        blocks: In the order they were run; the i-th of all programs belong to one round.
    """

    name: str
    blocks: tuple[Block, ...]

    @property
    def median_ms(self) -> float:
        """Over all frames."""
        return statistics.median(time for block in self.blocks for time in block.times_ms)

    @property
    def round_medians_ms(self) -> tuple[float, ...]:
        """One median a round."""
        return tuple(statistics.median(block.times_ms) for block in self.blocks)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ratio:
    """How much longer one program took than another.

    Attributes:
        value: Median of the rounds' ratios of medians: drift between rounds does not touch it.
        low: Least ratio of one round.
        high: Greatest ratio of one round.
    """

    value: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.value:.2f} ({self.low:.2f} to {self.high:.2f})"


def interleave(
    workers: Sequence[Worker], picture: Path, *, rounds: int, frames: int, warm_up: int = 3
) -> dict[str, Series]:
    """Runs all programs in turn, beginning each round with the next one.

    Args:
        workers: Programs with names of their own.
        picture: What they answer for.
        rounds: Blocks of each program.
        frames: Answers in a block.
        warm_up: Answers before the first round that do not count.

    Returns:
        Name to series.
    """
    for worker in workers:
        worker.ask(picture, warm_up)
    blocks: dict[str, list[Block]] = {worker.name: [] for worker in workers}
    for number in range(rounds):
        shift = number % len(workers)
        for worker in (*workers[shift:], *workers[:shift]):
            blocks[worker.name].append(worker.ask(picture, frames))
    return {name: Series(name=name, blocks=tuple(found)) for name, found in blocks.items()}


def ratio(longer: Series, shorter: Series) -> Ratio:
    """Time of the first over time of the second."""
    rounds = [a / b for a, b in zip(longer.round_medians_ms, shorter.round_medians_ms, strict=True)]
    return Ratio(value=statistics.median(rounds), low=min(rounds), high=max(rounds))

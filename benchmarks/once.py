"""Programs that start, answer once and end: how long from the start to the answer, and how large they became."""

from __future__ import annotations

import os
import statistics
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edge.errors import EdgeloopError

_PAGE_CACHE_WARM_UP = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class OneShot:
    """A command that prints one line when it has its answer.

    Attributes:
        name: What tables call it.
        command: Interpreter, script and arguments.
        environment: Environment variables; None for ours.
        runs: How often it is run; slow peers need fewer.
    """

    name: str
    command: tuple[str | Path, ...]
    environment: Mapping[str, str] | None = None
    runs: int = 15


@dataclass(frozen=True, slots=True, kw_only=True)
class Start:
    """What one command took, over all its runs.

    Attributes:
        times_ms: From the start of the process to its first line, in milliseconds.
        peaks: Greatest resident memory of each run, in bytes.
        said: The first line of the last run.
    """

    times_ms: tuple[float, ...]
    peaks: tuple[int, ...]
    said: str

    @property
    def median_ms(self) -> float:
        """Median time."""
        return statistics.median(self.times_ms)

    @property
    def median_mb(self) -> float:
        """Median peak, in MB."""
        return statistics.median(self.peaks) / 1e6


def run_in_turn(commands: Sequence[OneShot]) -> dict[str, Start]:
    """Runs all commands in turn until each has had its runs; the first round warms the page cache.

    Raises:
        EdgeloopError: A command failed; says its last words.
    """
    found: dict[str, list[tuple[float, int, str]]] = {command.name: [] for command in commands}
    for number in range(max(command.runs for command in commands) + _PAGE_CACHE_WARM_UP):
        for command in commands:
            if number < command.runs + _PAGE_CACHE_WARM_UP:
                run = _run(command)
                if number >= _PAGE_CACHE_WARM_UP:
                    found[command.name].append(run)
    return {name: _summary(runs) for name, runs in found.items()}


def times_as_long(longer: Start, shorter: Start) -> float:
    """Median of the ratios of runs that stood side by side, so that drift does not touch it."""
    return statistics.median(a / b for a, b in zip(longer.times_ms, shorter.times_ms, strict=False))


def _summary(runs: list[tuple[float, int, str]]) -> Start:
    times, peaks, said = zip(*runs, strict=True)
    return Start(times_ms=times, peaks=peaks, said=said[-1])


def _run(command: OneShot) -> tuple[float, int, str]:
    began = time.perf_counter()
    process = subprocess.Popen(
        [str(part) for part in command.command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=dict(command.environment) if command.environment else None,
    )
    if process.stdout is None or process.stderr is None:
        raise EdgeloopError(f"{command.name} has no pipes")
    line = process.stdout.readline()
    took_ms = (time.perf_counter() - began) * 1e3
    rest, words = process.stdout.read(), process.stderr.read()
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    process.stdout.close()
    process.stderr.close()
    if process.returncode != 0 or not line:
        raise EdgeloopError(f"{command.name} failed: {(words.strip().splitlines() or [rest or 'no word'])[-1]}")
    return took_ms, usage.ru_maxrss * 1024, line.strip()

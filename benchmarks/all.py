"""Every benchmark of the edge runtime, one after the other: what `make bench` runs.

python -m benchmarks.all [--quick] [--only NAME]…

Needs the models (`python -m benchmarks.models`) and, for the rows of peers, their environments
(`python -m benchmarks.peers`). `--quick` shows that everything runs; its figures mean nothing.
"""

from __future__ import annotations

import datetime
import os
import platform
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks import (
    agent_memory,
    agent_rate,
    cli_start,
    cold_start,
    crops,
    detect_path,
    enqueue,
    footprint,
    frame_path,
    memory,
)
from benchmarks.places import with_places
from benchmarks.table import Row, show
from edge.errors import EdgeloopError


@dataclass(frozen=True, slots=True, kw_only=True)
class Effort:
    """How much is measured.

    Attributes:
        rounds: Blocks of each program.
        frames: Frames in a block of the classifier.
        starts: Starts of each program.
        many: Frames of the memory test.
    """

    rounds: int
    frames: int
    starts: int
    many: int


FULL = Effort(rounds=10, frames=20, starts=15, many=100_000)
QUICK = Effort(rounds=1, frames=3, starts=1, many=200)

Measure = Callable[[Path, Path, Effort], list[Row]]
BENCHMARKS: Mapping[str, tuple[str, Measure]] = {
    "frame_path": (
        frame_path.TITLE,
        lambda models, data, effort: frame_path.measure(models, data, rounds=effort.rounds, frames=effort.frames),
    ),
    "detect_path": (
        detect_path.TITLE,
        lambda models, data, effort: detect_path.measure(models, data, rounds=effort.rounds, frames=effort.frames // 2),
    ),
    "crops": (
        crops.TITLE,
        lambda models, data, effort: crops.measure(models, data, rounds=effort.rounds, frames=3),
    ),
    "cold_start": (
        cold_start.TITLE,
        lambda models, data, effort: cold_start.measure(models, data, runs=effort.starts),
    ),
    "cli_start": (cli_start.TITLE, lambda _models, _data, effort: cli_start.measure(runs=2 * effort.starts)),
    "footprint": (footprint.TITLE, lambda _models, _data, _effort: footprint.measure()),
    "memory": (
        memory.TITLE,
        lambda models, data, effort: memory.measure(
            models, data, frames=effort.many, count_frames=max(20, effort.many // 100)
        ),
    ),
    "enqueue": (
        enqueue.TITLE,
        lambda _models, _data, effort: enqueue.measure(
            Path("work"), samples=75 * effort.frames, rounds=max(1, effort.rounds // 2)
        ),
    ),
    "agent_rate": (
        agent_rate.TITLE,
        lambda models, data, effort: agent_rate.measure(
            models, data, rounds=max(1, effort.rounds // 2), seconds=effort.frames / 2, waiting=300 * effort.frames
        ),
    ),
    "agent_memory": (
        agent_memory.TITLE,
        lambda models, data, effort: agent_memory.measure(models, data, frames=effort.many),
    ),
}


def machine() -> str:
    """Processor, cores in use, load and date, for the head of the tables."""
    lines = Path("/proc/cpuinfo").read_text().splitlines()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    cores = len(os.sched_getaffinity(0))
    now = datetime.datetime.now(datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
    return f"{names[0] if names else platform.machine()}, {cores} cores, load {os.getloadavg()[0]:.1f}, {now}"


@click.command()
@with_places
@click.option("--quick", is_flag=True, help="Only see that all runs.")
@click.option("--only", type=click.Choice(list(BENCHMARKS)), multiple=True, help="Run these only.")
def main(models: Path, data: Path, quick: bool, only: tuple[str, ...]) -> None:
    """Prints all tables; a benchmark that cannot run says why in its place."""
    for name in only or BENCHMARKS:
        title, measure = BENCHMARKS[name]
        began, head = time.monotonic(), machine()
        try:
            found = measure(models, data, QUICK if quick else FULL)
        except EdgeloopError as error:
            found = [Row(what=name, figures="", met=False, note=str(error))]
        show(title, found)
        print(f"\n({head}; {time.monotonic() - began:.0f} s)", flush=True)


if __name__ == "__main__":
    main()

"""Resident memory of a whole agent over many frames, its outbox full and shedding all along.

python -m benchmarks.agent_memory [--frames 100000]

A made-up camera of 320 x 240 pixels, as fast as it goes; no server. Drift is the median of the last tenth of the
samples minus that of the third tenth, as in `benchmarks.memory`.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.memory import LIMIT_MB, NUM_SAMPLES, drift_mb, samples_of, write_pictures
from benchmarks.places import with_places
from benchmarks.table import Row, show

TITLE = "memory of the agent over many frames"


def measure(models: Path, data: Path, *, frames: int) -> list[Row]:
    """The one row."""
    with tempfile.TemporaryDirectory() as scratch:
        pictures = write_pictures(data, Path(scratch) / "pictures")
        command = [sys.executable, "-m", "benchmarks.workers.agent_memory", models / "classifier", pictures, frames]
        command += [max(1, frames // NUM_SAMPLES), Path(scratch) / "home"]
        process = subprocess.Popen(
            list(map(str, command)), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, bufsize=1
        )
        samples = samples_of(process)
    drift = drift_mb(samples)
    return [
        Row(
            what=f"agent, {frames:,} frames",
            figures=f"{samples[0] / 1e6:.1f} MB at first, {samples[-1] / 1e6:.1f} at last, drift {drift:+.2f} MB",
            target=f"≤ {LIMIT_MB:.0f} MB",
            met=drift <= LIMIT_MB,
        )
    ]


@click.command()
@with_places
@click.option("--frames", default=100_000, show_default=True, help="To be answered.")
def main(models: Path, data: Path, frames: int) -> None:
    """Prints the table."""
    show(TITLE, measure(models, data, frames=frames))


if __name__ == "__main__":
    main()

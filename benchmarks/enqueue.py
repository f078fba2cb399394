"""What it costs to keep a sample of 30 KB so that it survives a power cut: flushes, bytes, and the worst of them.

python -m benchmarks.enqueue [--samples 1500] [--rounds 5] [--folder work]

Flushes are counted by strace in runs of their own; bytes are those that the process sent to its disk, by
/proc/self/io. The ways take turns, round by round, in one folder on one disk.
"""

from __future__ import annotations

import json
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.table import Row, show
from benchmarks.workers.enqueue import GROUP, WAYS
from edge.errors import EdgeloopError

SIZE_BYTES = 30_000
MOST_FLUSHES = {"ours": 1.05, "ours-grouped": 0.25}
MOST_AMPLIFICATION = 3.0
MOST_SPIKE = 5.0
TITLE = f"durable enqueue, samples of {SIZE_BYTES // 1000} KB"
_NAMES = {
    "ours": "outbox, one by one",
    "ours-grouped": f"outbox, in groups of {GROUP}",
    "log": "bare log, one by one (floor)",
    "log-grouped": f"bare log, in groups of {GROUP} (floor)",
    "files": "a file a sample, renamed",
    "sqlite": "SQLite as it comes",
}
# Enough that opening the file, a dozen flushes, does not count.
_TRACED = 2_000
_CALLS = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*\b(?:fsync|fdatasync)$", re.MULTILINE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Way:
    """All runs of one way.

    Attributes:
        name: Of the way.
        times_ms: Of every durable write.
        checkpoint_ms: Of those with a checkpoint in them.
        round_medians_ms: One median a round.
        amplification: Bytes to the disk for each byte of payload.
        flushes: Flushes a sample; None where they could not be counted.
    """

    name: str
    times_ms: tuple[float, ...]
    checkpoint_ms: tuple[float, ...]
    round_medians_ms: tuple[float, ...]
    amplification: float
    flushes: float | None


def measure(folder: Path, *, samples: int, rounds: int) -> list[Row]:
    """All rows."""
    runs: dict[str, list[dict[str, list[float]]]] = {way: [] for way in WAYS}
    for _ in range(rounds):
        for way in WAYS:
            runs[way].append(json.loads(_run(way, folder, samples)))
    found = {way: _way(way, runs[way], samples, _flushes(way, folder)) for way in WAYS}
    return _rows(found)


def _run(way: str, folder: Path, samples: int, *, tracer: tuple[str, ...] = ()) -> str:
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        command = [*tracer, sys.executable, "-m", "benchmarks.workers.enqueue", way, scratch, str(samples)]
        done = subprocess.run([*command, str(SIZE_BYTES)], capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise EdgeloopError(f"{way} ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
        return done.stdout


def _flushes(way: str, folder: Path) -> float | None:
    if shutil.which("strace") is None:
        return None
    with tempfile.NamedTemporaryFile("r", dir=folder) as counts:
        tracer = ("strace", "-f", "-qq", "-c", "-e", "trace=fsync,fdatasync", "-o", counts.name)
        _run(way, folder, _TRACED, tracer=tracer)
        return sum(int(number) for number in _CALLS.findall(counts.read())) / _TRACED


def _way(way: str, runs: list[dict[str, list[float]]], samples: int, flushes: float | None) -> Way:
    times = tuple(time for run in runs for time in run["times_ms"])
    pairs = [pair for run in runs for pair in zip(run["times_ms"], run["checkpoints"], strict=False)]
    written = statistics.mean(float(run["bytes"]) for run in runs)  # type: ignore[arg-type]
    return Way(
        name=way,
        times_ms=times,
        checkpoint_ms=tuple(time for time, had_one in pairs if had_one),
        round_medians_ms=tuple(statistics.median(run["times_ms"]) for run in runs),
        amplification=written / (samples * SIZE_BYTES),
        flushes=flushes,
    )


def _rows(found: dict[str, Way]) -> list[Row]:
    rows = []
    for way in found.values():
        rows += [_flush_row(way), _byte_row(way)]
    rows += [_spike_row(found["ours"], found["log"]), _spike_row(found["ours-grouped"], found["log-grouped"])]
    rows += [_time_row(found["ours"], found[other]) for other in ("log", "files", "sqlite")]
    rows.append(_time_row(found["ours-grouped"], found["log-grouped"]))
    return rows


def _flush_row(way: Way) -> Row:
    limit = MOST_FLUSHES.get(way.name)
    what = f"{_NAMES[way.name]}: flushes a sample"
    if way.flushes is None:
        return Row(what=what, figures="", note="strace is not installed")
    return Row(
        what=what,
        figures=f"{way.flushes:.3f}",
        target=f"≤ {limit}" if limit else "",
        met=way.flushes <= limit if limit else None,
    )


def _byte_row(way: Way) -> Row:
    is_ours = way.name in MOST_FLUSHES
    return Row(
        what=f"{_NAMES[way.name]}: bytes to the disk for each of payload",
        figures=f"{way.amplification:.2f}",
        target=f"≤ {MOST_AMPLIFICATION:.0f}" if is_ours else "",
        met=way.amplification <= MOST_AMPLIFICATION if is_ours else None,
    )


def _spike_row(way: Way, floor: Way) -> Row:
    """The write-back lies between the puts; what is left of spikes is the disk's own, which the bare log meets too."""
    median = statistics.median(way.times_ms)
    worst = max(way.checkpoint_ms, default=median) / median
    others, floors = (_quantiles(each) for each in (way, floor))
    return Row(
        what=f"{_NAMES[way.name]}: worst write with a checkpoint, in medians",
        figures=f"{worst:.1f} ({len(way.checkpoint_ms)} of {len(way.times_ms)} had one); "
        f"of all: {others}; bare log: {floors}",
        target=f"≤ {MOST_SPIKE:.0f}",
        met=worst <= MOST_SPIKE,
    )


def _quantiles(way: Way) -> str:
    ordered = sorted(way.times_ms)
    median = statistics.median(ordered)
    p99, p999 = (ordered[int(share * (len(ordered) - 1))] / median for share in (0.99, 0.999))
    return f"p99 {p99:.1f}, p99.9 {p999:.1f}, worst {ordered[-1] / median:.1f}"


def _time_row(ours: Way, other: Way) -> Row:
    ratios = [mine / theirs for mine, theirs in zip(ours.round_medians_ms, other.round_medians_ms, strict=True)]
    return Row(
        what=f"{_NAMES[ours.name]} against {_NAMES[other.name]}: median time",
        figures=f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})",
    )


@click.command()
@click.option("--samples", default=1500, show_default=True, help="Of each run.")
@click.option("--rounds", default=5, show_default=True, help="Runs of each way.")
@click.option(
    "--folder",
    default=Path("work"),
    show_default=True,
    type=click.Path(file_okay=False, path_type=Path),
    help="On the disk to measure.",
)
def main(samples: int, rounds: int, folder: Path) -> None:
    """Prints the table."""
    folder.mkdir(exist_ok=True)
    show(TITLE, measure(folder, samples=samples, rounds=rounds))


if __name__ == "__main__":
    main()

"""The agent at 30 frames a second while a full outbox drains, against inference alone: rate and latency.

python -m benchmarks.agent_rate [--rounds 5] [--seconds 12] [--waiting 15000]

Both answer frames of 720p from memory with the static-int8 classifier; latency is how long a frame holds the loop. The
server is a real `edgeloop serve` on this machine, at the lowest priority: on a device it runs elsewhere.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.places import with_places
from benchmarks.table import Row, show
from benchmarks.workers.enqueue import samples as noise_samples
from edge.commands import sideload
from edge.errors import EdgeloopError
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings

FPS = 30.0
SAMPLE_BYTES = 30_000
LEAST_RATE, MOST_LATENCY = 0.95, 1.3
NUM_PICTURES = 20
TITLE = "agent at 30 frames a second with a full outbox draining, against inference alone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """One run of either program.

    Attributes:
        rate: Frames answered a second.
        held_ms: How long each held the loop.
        drained: Samples that left the outbox meanwhile.
        left: Samples that were still there at the end.
        kept: Samples that were kept meanwhile.
    """

    rate: float
    held_ms: tuple[float, ...]
    drained: int
    left: int
    kept: int

    def quantile_ms(self, share: float) -> float:
        """Nearest rank."""
        ordered = sorted(self.held_ms)
        return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


def measure(models: Path, data: Path, *, rounds: int, seconds: float, waiting: int) -> list[Row]:
    """All rows: paced by the camera, and as fast as it goes."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        pictures = _pictures(data, folder / "pictures")
        rows = []
        for fps in (FPS, 0.0):
            pairs = []
            for number in range(rounds):
                alone = _alone(models / "classifier", pictures, fps, seconds)
                home = _full_home(folder / f"home-{fps:.0f}-{number}", models / "classifier", waiting)
                with _server(folder / f"store-{fps:.0f}-{number}") as address:
                    pairs.append((alone, _agent(models / "classifier", pictures, fps, seconds, home, address)))
                shutil.rmtree(home)
                shutil.rmtree(folder / f"store-{fps:.0f}-{number}")
            rows += _rows(pairs, "30 frames a second" if fps else "as fast as it goes", is_target=bool(fps))
    return rows


def _pictures(data: Path, folder: Path) -> Path:
    folder.mkdir()
    for number, path in enumerate(sorted((data / "grocery" / "val").rglob("*.jpg"))[:NUM_PICTURES]):
        shutil.copy(path, folder / f"{number:02d}.jpg")
    return folder


def _full_home(home: Path, bundle: Path, waiting: int) -> Path:
    sideload(AgentSettings(home=home), bundle, say=lambda line: None)
    outbox = SqliteOutbox(home / "outbox.sqlite")
    given = list(noise_samples(waiting, SAMPLE_BYTES))
    for begin in range(0, waiting, 64):
        outbox.put_many(given[begin : begin + 64], now=1.75e9)
    outbox.close()
    return home


@contextlib.contextmanager
def _server(store: Path) -> Iterator[str]:
    edgeloop = Path(sys.executable).with_name("edgeloop")
    command = [edgeloop, "serve", "--store", store, "--listen", "127.0.0.1:0", "--plaintext", "--json"]
    process = subprocess.Popen(
        list(map(str, command)),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        preexec_fn=lambda: os.nice(19),
    )
    try:
        line = process.stdout.readline() if process.stdout else ""
        if not line:
            raise EdgeloopError("the server did not start")
        info = json.loads(line)
        yield f"{info['host']}:{info['port']}"
    finally:
        process.terminate()
        process.wait()


def _alone(bundle: Path, pictures: Path, fps: float, seconds: float) -> Run:
    return _run("alone", bundle, pictures, fps, seconds)


def _agent(bundle: Path, pictures: Path, fps: float, seconds: float, home: Path, address: str) -> Run:
    return _run("agent", bundle, pictures, fps, seconds, home, address)


def _run(*words: object) -> Run:
    command = [sys.executable, "-m", "benchmarks.workers.agent_rate", *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise EdgeloopError(f"{words[0]} ended with {done.returncode}: {done.stderr.strip().splitlines()[-1:]}")
    said = json.loads(done.stdout)
    return Run(
        rate=said["frames"] / said["took_s"],
        held_ms=tuple(said["held_ms"]),
        drained=said.get("drained", 0),
        left=said.get("left", 0),
        kept=said.get("kept", 0),
    )


def _rows(pairs: list[tuple[Run, Run]], what: str, *, is_target: bool) -> list[Row]:
    rates = [agent.rate / alone.rate for alone, agent in pairs]
    rows = [
        Row(
            what=f"{what}: rate",
            figures=f"{_median(run.rate for _, run in pairs):.1f} against {_median(run.rate for run, _ in pairs):.1f}"
            f" frames a second: {_span(rates)}",
            target=f"≥ {LEAST_RATE} times" if is_target else "",
            met=statistics.median(rates) >= LEAST_RATE if is_target else None,
        )
    ]
    for name, share in (("median", 0.5), ("p99", 0.99)):
        ratios = [agent.quantile_ms(share) / alone.quantile_ms(share) for alone, agent in pairs]
        is_judged = is_target and name == "p99"
        rows.append(
            Row(
                what=f"{what}: {name} latency",
                figures=f"{_median(run.quantile_ms(share) for _, run in pairs):.2f} against "
                f"{_median(run.quantile_ms(share) for run, _ in pairs):.2f} ms: {_span(ratios)}",
                target=f"≤ {MOST_LATENCY} times" if is_judged else "",
                met=statistics.median(ratios) <= MOST_LATENCY if is_judged else None,
            )
        )
    drained = _median(agent.drained / (len(agent.held_ms) / agent.rate) for _, agent in pairs)
    emptied = sum(agent.left == 0 for _, agent in pairs)
    rows.append(
        Row(
            what=f"{what}: drained meanwhile",
            figures=f"{drained:.0f} samples a second ({_median(agent.kept for _, agent in pairs):.0f} new ones kept); "
            f"empty before the end in {emptied} of {len(pairs)} runs",
        )
    )
    return rows


def _median(values: Iterator[float]) -> float:
    return statistics.median(values)


def _span(ratios: list[float]) -> str:
    return f"{statistics.median(ratios):.2f} times ({min(ratios):.2f} to {max(ratios):.2f})"


@click.command()
@with_places
@click.option("--rounds", default=5, show_default=True, help="Pairs of runs.")
@click.option("--seconds", default=12.0, show_default=True, help="Of each run.")
@click.option("--waiting", default=15_000, show_default=True, help="Samples in the outbox at first.")
def main(models: Path, data: Path, rounds: int, seconds: float, waiting: int) -> None:
    """Prints the table."""
    show(TITLE, measure(models, data, rounds=rounds, seconds=seconds, waiting=waiting))


if __name__ == "__main__":
    main()

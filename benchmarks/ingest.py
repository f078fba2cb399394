"""Durable ingest of 30 KB samples over TLS from one device: ours, against raw TCP and against one call a sample.

python -m benchmarks.ingest [--samples 1500] [--rounds 5] [--folder work] [--stores]

Every server runs in a process of its own, with the same store (SQLite and a folder) on the same disk; the ways take
turns, round by round, on two fresh stores. Flushes are counted by strace in a run of its own. Run it on a folder in
which little was deleted (on ext4: `chattr +T FOLDER`, so that each run's folder gets a place of its own): making a file
costs a millisecond of CPU where many were removed a moment ago, ours as the floor's. `--stores` adds rows for stores in
PostgreSQL, with a folder of pictures and with S3; what these two servers use themselves is told beside.
"""

from __future__ import annotations

import re
import signal
import statistics
import subprocess
import tempfile
import time
from pathlib import Path

import click

from benchmarks.fleet_devices import let_in, server_files
from benchmarks.ingest_runs import Run, Server, edgeloop_server, send, worker_server
from benchmarks.table import Row, show
from benchmarks.workers.ingest_samples import SIZE_BYTES

LEAST_OF_FLOOR, LEAST_OF_PUT, MOST_CPU_MS, MOST_FLUSHES = 0.85, 2.5, 450.0, 1.3
_CALLS = re.compile(r"^\s*[\d.]+\s+[\d.]+\s+\d+\s+(\d+)\s.*\b(?:fsync|fdatasync)$", re.MULTILINE)


def flushes(server: Server, keys: Path, *, samples: int) -> float:
    """How often the server calls fsync or fdatasync for each sample."""
    trace = ["strace", "-f", "-c", "-e", "trace=fsync,fdatasync", "-p", str(server.pid)]
    with subprocess.Popen(trace, stderr=subprocess.PIPE, text=True) as strace:
        time.sleep(1.0)
        send("stream", server, keys, samples=samples, seed="flushes")
        strace.send_signal(signal.SIGINT)
        said = strace.communicate(timeout=20)[1]
    return sum(map(int, _CALLS.findall(said))) / samples


def measure(folder: Path, *, samples: int, rounds: int) -> list[Row]:
    """All rows."""
    keys = folder / "keys"
    let_in(folder / "ours", keys, "bench-1")
    key, certificate = server_files(folder / "ours", keys)
    runs: dict[str, list[Run]] = {"floor": [], "put": [], "stream": []}
    with (
        edgeloop_server(folder / "ours") as ours,
        worker_server("ingest_floor", folder / "floor", key, certificate) as floor,
    ):
        for kind in runs:  # warm up
            send(kind, floor if kind == "floor" else ours, keys, samples=64, seed=f"warm-{kind}")
        for number in range(rounds):
            for kind, done in runs.items():
                server = floor if kind == "floor" else ours
                count = samples // 4 if kind == "put" else samples
                done.append(send(kind, server, keys, samples=count, seed=f"{kind}-{number}"))
        counted = flushes(ours, keys, samples=800)
    return _rows(runs, counted)


def _rows(runs: dict[str, list[Run]], flushed: float) -> list[Row]:
    rate = {kind: statistics.median(run.rate for run in done) for kind, done in runs.items()}
    cpu = {kind: statistics.median(run.cpu_ms for run in done) for kind, done in runs.items()}
    system = {kind: statistics.median(run.system_ms for run in done) for kind, done in runs.items()}
    of_floor = statistics.median(
        ours.rate / floor.rate for ours, floor in zip(runs["stream"], runs["floor"], strict=True)
    )
    of_put = statistics.median(ours.rate / put.rate for ours, put in zip(runs["stream"], runs["put"], strict=True))
    plain = [
        Row(
            what=f"{name}, samples/s and server CPU",
            figures=f"{rate[kind]:.0f}/s, {cpu[kind]:.0f} ms per 1,000, {system[kind]:.0f} of them the system's",
        )
        for kind, name in (("floor", "raw TLS and the same store"), ("put", "one call a sample"), ("stream", "ours"))
    ]
    return [
        *plain,
        Row(
            what="ours against raw TCP",
            figures=f"{of_floor:.2f}x",
            target=f">= {LEAST_OF_FLOOR}x",
            met=of_floor >= LEAST_OF_FLOOR,
        ),
        Row(
            what="ours against one call a sample",
            figures=f"{of_put:.2f}x",
            target=f">= {LEAST_OF_PUT}x",
            met=of_put >= LEAST_OF_PUT,
        ),
        Row(
            what="server CPU per 1,000 samples",
            figures=f"{cpu['stream']:.0f} ms, {cpu['stream'] - cpu['floor']:.0f} more than the floor",
            target=f"<= {MOST_CPU_MS:.0f} ms",
            met=cpu["stream"] <= MOST_CPU_MS,
        ),
        Row(
            what="flushes a sample",
            figures=f"{flushed:.2f}",
            target=f"<= {MOST_FLUSHES}",
            met=flushed <= MOST_FLUSHES,
        ),
    ]


@click.command()
@click.option("--samples", default=1500, show_default=True, help="Samples a round and way.")
@click.option("--rounds", default=5, show_default=True)
@click.option("--folder", default=Path("work"), type=click.Path(path_type=Path), help="On the disk to measure.")
@click.option("--stores", is_flag=True, help="Also a store in PostgreSQL, with a folder and with S3 (moto).")
@click.option("--only-stores", is_flag=True, help="These alone.")
def main(samples: int, rounds: int, folder: Path, stores: bool, only_stores: bool) -> None:
    """Measures and prints the table."""
    from benchmarks import ingest_stores

    folder.mkdir(parents=True, exist_ok=True)
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        if not only_stores:
            rows += measure(Path(scratch), samples=samples, rounds=rounds)
        if stores or only_stores:
            rows += ingest_stores.measure(Path(scratch) / "stores", samples=samples, rounds=rounds)
    show(f"durable ingest over TLS, one device, samples of {SIZE_BYTES // 1000} KB", rows)


if __name__ == "__main__":
    main()

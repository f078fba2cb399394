"""A second server process beside the first: one PostgreSQL, one folder of pictures, four devices that upload at once.

python -m benchmarks.second_server [--samples 400] [--rounds 3] [--folder work]

The same devices go to one server, then half of them to each of two, round by round. PostgreSQL writes durably and runs
on the same machine, as do the devices: where that has too few cores for two servers and all of these, what counts is
that a sample costs no more CPU when there are two.
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

from benchmarks.fleet_devices import let_in
from benchmarks.ingest_runs import Server, edgeloop_server
from benchmarks.table import Row, show
from benchmarks.workers.ingest_samples import SIZE_BYTES
from cloud_train.store.layout import StoreLayout
from cloud_train.store.location import write_location
from tests.postgres_server import find_binaries, running_postgres

LEAST_OF_ONE, MOST_OF_ONE_CPU, MIN_CORES, DEVICES = 1.6, 1.15, 8, 4


@dataclass(frozen=True, slots=True, kw_only=True)
class Round:
    """All devices once.

    Attributes:
        rate: Samples a second of all devices together.
        cpu_ms: CPU of the servers for 1,000 samples.
    """

    rate: float
    cpu_ms: float


def send_all(servers: list[Server], keys: Path, *, samples: int, seed: str) -> Round:
    """All devices at once, each with a process of its own, spread over the servers."""
    before = sum(server.cpu_s() for server in servers)
    line = [sys.executable, "-m", "benchmarks.workers.ingest_client", "stream"]
    with contextlib.ExitStack() as stack:
        clients = []
        for number in range(DEVICES):
            words = [servers[number % len(servers)].target, str(keys), str(samples), f"{seed}-{number}"]
            clients.append(stack.enter_context(subprocess.Popen([*line, *words], stdout=subprocess.PIPE, text=True)))
        told = [json.loads(client.communicate()[0]) for client in clients]
    cpu_s = sum(server.cpu_s() for server in servers) - before
    rate = sum(one["samples"] / one["seconds"] for one in told)
    return Round(rate=rate, cpu_ms=cpu_s / (samples * DEVICES) * 1e6)


@contextlib.contextmanager
def two_servers(folder: Path, database: str, keys: Path) -> Iterator[list[Server]]:
    """Two server processes, each with a folder of its own for what is not shared."""
    first, second, shared = folder / "first", folder / "second", folder / "shared"
    shared.mkdir()
    for store in (first, second):
        write_location(store, database=database, objects=shared.as_uri())
    let_in(first, keys, "bench-1")
    shutil.copytree(StoreLayout(root=first).authority, StoreLayout(root=second).authority)
    with edgeloop_server(first) as one, edgeloop_server(second) as other:
        yield [one, other]


def measure(folder: Path, *, samples: int, rounds: int) -> list[Row]:
    """All rows."""
    keys = folder / "keys"
    done: dict[int, list[Round]] = {1: [], 2: []}
    with running_postgres(durable=True) as postgres:
        database = postgres.new_database()
        with two_servers(folder, database, keys) as servers:
            send_all(servers, keys, samples=32, seed="warm")
            for number in range(rounds):
                for count, rows in done.items():
                    rows.append(send_all(servers[:count], keys, samples=samples, seed=f"{count}-{number}"))
    return _rows(done)


def _rows(done: dict[int, list[Round]]) -> list[Row]:
    rate = {count: statistics.median(one.rate for one in rows) for count, rows in done.items()}
    cpu = {count: statistics.median(one.cpu_ms for one in rows) for count, rows in done.items()}
    ratio = statistics.median(two.rate / one.rate for one, two in zip(done[1], done[2], strict=True))
    cost = statistics.median(two.cpu_ms / one.cpu_ms for one, two in zip(done[1], done[2], strict=True))
    cores = len(os.sched_getaffinity(0))
    target = {"target": f">= {LEAST_OF_ONE}x", "met": ratio >= LEAST_OF_ONE} if cores >= MIN_CORES else {}
    return [
        *(
            Row(what=f"{count} server(s), samples/s and CPU", figures=f"{rate[count]:.0f}/s, {cpu[count]:.0f} ms/1,000")
            for count in done
        ),
        Row(what=f"samples a second, two against one, on {cores} cores", figures=f"{ratio:.2f}x", **target),
        Row(
            what="CPU of a sample, two against one",
            figures=f"{cost:.2f}x",
            target=f"<= {MOST_OF_ONE_CPU}x",
            met=cost <= MOST_OF_ONE_CPU,
        ),
    ]


@click.command()
@click.option("--samples", default=400, show_default=True, help="Samples of a device in a round.")
@click.option("--rounds", default=3, show_default=True)
@click.option("--folder", default=Path("work"), type=click.Path(path_type=Path), help="On the disk to measure.")
def main(samples: int, rounds: int, folder: Path) -> None:
    """Measures and prints the table."""
    if find_binaries() is None:
        raise click.ClickException("no PostgreSQL on this machine (install the package postgresql)")
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        rows = measure(Path(scratch).resolve(), samples=samples, rounds=rounds)
    show(f"a second server on one database, {DEVICES} devices, samples of {SIZE_BYTES // 1000} KB", rows)


if __name__ == "__main__":
    main()

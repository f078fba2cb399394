"""Fetching a bundle over the road that devices use, against gRPC that throws the bytes away.

python -m benchmarks.bundle_download [--megabytes 20] [--rounds 7] [--folder work]

Ours is a device's fetch: TLS with its certificate, pieces of 256 KB, written to a file and hashed, broken off in the
middle and taken up again at the byte where it broke. The floor is the same server code with nothing done to the bytes
on either side of the wire but counting them. A bundle is published as files by digest: what did not change does not
travel, so an update of the gallery alone moves the gallery.
"""

from __future__ import annotations

import hashlib
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import click

from benchmarks.fleet_devices import let_in, server_files
from benchmarks.ingest_runs import edgeloop_server, worker_server
from benchmarks.table import Row, show

LEAST_OF_FLOOR = 0.4


def fetch(kind: str, target: str, keys: Path, path: str, size_bytes: int) -> float:
    """Megabytes a second of one client process."""
    line = [sys.executable, "-m", "benchmarks.workers.fetch_client", kind, target, str(keys), path, str(size_bytes)]
    done = subprocess.run(line, check=True, capture_output=True, text=True)
    return size_bytes / 1e6 / float(json.loads(done.stdout)["seconds"])


def publish_file(store: Path, data: bytes) -> str:
    """Puts one file where the server finds it; gives its path."""
    digest = hashlib.sha256(data).hexdigest()
    place = store / "repository" / "files" / "sha256" / digest
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return f"files/sha256/{digest}"


def measure(folder: Path, *, size_bytes: int, rounds: int) -> list[Row]:
    """All rows."""
    store, keys = folder / "store", folder / "keys"
    let_in(store, keys, "bench-1")
    key, certificate = server_files(store, keys)
    path = publish_file(store, os.urandom(size_bytes))
    ratios, ours, floors = [], [], []
    with edgeloop_server(store) as server, worker_server("discard_server", key, certificate, size_bytes) as floor:
        for _ in range(rounds):
            floors.append(fetch("discard", floor.target, keys, path, size_bytes))
            ours.append(fetch("verified", server.target, keys, path, size_bytes))
            ratios.append(ours[-1] / floors[-1])
    ratio = statistics.median(ratios)
    return [
        Row(what="gRPC, bytes thrown away", figures=f"{statistics.median(floors):.0f} MB/s"),
        Row(what="a device's fetch, broken off once, verified", figures=f"{statistics.median(ours):.0f} MB/s"),
        Row(
            what="ours against gRPC",
            figures=f"{ratio:.2f}x ({min(ratios):.2f} to {max(ratios):.2f})",
            target=f">= {LEAST_OF_FLOOR}x",
            met=ratio >= LEAST_OF_FLOOR,
        ),
    ]


@click.command()
@click.option("--megabytes", default=20, show_default=True)
@click.option("--rounds", default=7, show_default=True)
@click.option("--folder", default=Path("work"), type=click.Path(path_type=Path), help="On the disk to measure.")
def main(megabytes: int, rounds: int, folder: Path) -> None:
    """Measures and prints the table."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        rows = measure(Path(scratch), size_bytes=megabytes * 1_000_000, rounds=rounds)
    show(f"fetching {megabytes} MB of a bundle", rows)


if __name__ == "__main__":
    main()

"""A fleet on one server: a thousand connected devices that check in every minute, and fifty that upload.

python -m benchmarks.ingest_fleet [--devices 1000] [--uploading 50] [--minutes 3] [--folder work]

Every device has a TLS connection of its own, with a certificate of its own; check-ins are spread over the minute.
The latency of a receipt counts from the last byte that a device gives to gRPC.
"""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import click

from benchmarks.fleet_devices import let_in
from benchmarks.ingest_runs import Server, edgeloop_server
from benchmarks.table import Row, show

MOST_RECEIPT_MS, MOST_RSS_MB, MOST_GROWTH_MB = 250.0, 300.0, 30.0
_EVERY_S = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Watch:
    """What was seen of the server.

    Attributes:
        rss_mb: Resident memory, every `_EVERY_S` seconds.
        cpu_s: CPU that the server used.
    """

    rss_mb: list[float] = field(default_factory=list)
    cpu_s: float = 0.0

    def growth_mb(self) -> float:
        """The last quarter's mean less the second quarter's: the first one warms up."""
        quarter = max(1, len(self.rss_mb) // 4)
        return statistics.mean(self.rss_mb[-quarter:]) - statistics.mean(self.rss_mb[quarter : 2 * quarter])


def rss_mb(pid: int) -> float:
    """Resident memory of a process."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 1024


def measure(folder: Path, *, devices: int, uploading: int, minutes: float, rate: float) -> list[Row]:
    """All rows."""
    keys, store = folder / "keys", folder / "store"
    let_in(store, keys, *(f"bench-{number}" for number in range(devices)))
    line = [sys.executable, "-m", "benchmarks.workers.fleet_client"]
    with edgeloop_server(store) as server:
        before = server.cpu_s()
        arguments = [server.target, keys, devices, uploading, minutes * 60, rate]
        with subprocess.Popen([*line, *map(str, arguments)], stdout=subprocess.PIPE, text=True) as client:
            seen = _watched(server, client)
            said = client.communicate()[0]
        cpu_s = server.cpu_s() - before
    return _rows(json.loads(said.splitlines()[-1]), seen, cpu_s, minutes)


def _watched(server: Server, client: subprocess.Popen[str]) -> Watch:
    watch = Watch()
    while client.poll() is None:
        watch.rss_mb.append(rss_mb(server.pid))
        time.sleep(_EVERY_S)
    return watch


def _rows(told: dict[str, float], watch: Watch, cpu_s: float, minutes: float) -> list[Row]:
    p99, peak, growth = told["receipt_p99_ms"], max(watch.rss_mb), watch.growth_mb()
    return [
        Row(what="connected devices", figures=f"{told['devices']:.0f}, {told['check_ins']:.0f} check-ins"),
        Row(what="samples", figures=f"{told['samples']:.0f}, {told['samples'] / minutes / 60:.0f}/s"),
        Row(what="server CPU", figures=f"{cpu_s / minutes / 60:.2f} cores"),
        Row(
            what="receipt, median and 99th percentile",
            figures=f"{told['receipt_p50_ms']:.0f} ms, {p99:.0f} ms",
            target=f"< {MOST_RECEIPT_MS:.0f} ms",
            met=p99 < MOST_RECEIPT_MS,
        ),
        Row(what="check-in, 99th percentile", figures=f"{told['check_in_p99_ms']:.0f} ms"),
        Row(
            what="memory of the server, most and growth",
            figures=f"{peak:.0f} MB, {growth:+.1f} MB",
            target=f"< {MOST_RSS_MB:.0f} MB and flat",
            met=peak < MOST_RSS_MB and growth < MOST_GROWTH_MB,
        ),
        Row(what="errors", figures=f"{told['errors']:.0f}", target="none", met=not told["errors"]),
    ]


@click.command()
@click.option("--devices", default=1000, show_default=True)
@click.option("--uploading", default=50, show_default=True, help="Of these, devices that upload all the time.")
@click.option("--rate", default=1.0, show_default=True, help="Samples a second of each of them.")
@click.option("--minutes", default=3.0, show_default=True)
@click.option("--folder", default=Path("work"), type=click.Path(path_type=Path), help="On the disk to measure.")
def main(devices: int, uploading: int, rate: float, minutes: float, folder: Path) -> None:
    """Measures and prints the table."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as scratch:
        rows = measure(Path(scratch), devices=devices, uploading=uploading, minutes=minutes, rate=rate)
    show("a fleet on one server", rows)


if __name__ == "__main__":
    main()

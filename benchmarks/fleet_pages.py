"""How long the pages of a large fleet take, over a real HTTP connection to a server in a process of its own.

python -m benchmarks.fleet_pages [--devices N] [--requests N] [--database postgresql|URL]

A store with members, last check-ins and an audit entry for each device, and 48 hours of statistics of one in ten, in
SQLite or, with --database, in a PostgreSQL that is started for it (`postgresql`), or an empty one that runs (URL). Each
page is asked for in turn, round after round; the first round is not counted. The server's own CPU time is told beside
the time that a person waits: it is what remains of a machine that others use too. Target: p95 below 150 ms.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import click
import httpx

from benchmarks.backing import postgres
from benchmarks.fleet_store import NEW, device_name, fill_fleet
from cloud_train.fleet.members import By
from cloud_train.fleet.people import People
from cloud_train.fleet_types import Role
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import open_database
from cloud_train.store.people import SqlPeopleStore

PAGES = {
    "fleet": "/",
    "devices": "/devices",
    "devices, by last seen": "/devices?sort=-last_seen",
    "devices, by outbox": "/devices?sort=-outbox",
    "devices, text": "/devices?text=connection",
    "devices, label": "/devices?label=store%3D17",
    "devices, bundle": f"/devices?bundle={NEW[:12]}",
    "devices, health": "/devices?health=trouble",
    "one device": f"/devices/{device_name(0)}",
    "rollouts": "/rollouts",
    "one rollout": "/rollouts/1",
    "audit": "/audit",
    "audit of a device": f"/audit?subject=device%3A{device_name(5)}",
}


@click.command()
@click.option("--devices", default=10_000, show_default=True)
@click.option("--requests", default=60, show_default=True, help="Of each page.")
@click.option("--database", default="", help="`postgresql`, or the URL of an empty one; SQLite without it.")
def main(devices: int, requests: int, database: str) -> None:
    """Fills a store, asks for every page, prints a table."""
    with _place(database) as where:
        token = _fill(where, devices)
        with _served(where) as (address, process), httpx.Client(base_url=address, trust_env=False) as client:
            client.post("/sign-in", data={"token": token})
            deep = client.get("/api/v1/devices?size=1000", headers={"Authorization": f"Bearer {token}"}).json()["next"]
            _measure(client, process, {**PAGES, "devices, page 11": f"/devices?after={deep}"}, requests)
            peak_mb = _peak_mb(process)
    click.echo(f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores; {'PostgreSQL' if database else 'SQLite'}")
    click.echo(f"peak memory of the server {peak_mb:.0f} MB")


@contextmanager
def _place(database: str) -> Iterator[str]:
    """Where the store is to lie: a path or a URL."""
    if database == "postgresql":
        with postgres() as server:
            yield server.new_database()
    elif database:
        yield database
    else:
        with tempfile.TemporaryDirectory() as folder:
            yield str(Path(folder) / "meta.sqlite")


def _fill(where: str, devices: int) -> str:
    opened = open_database(where if "://" in where else Path(where))
    now = time.time()
    fill_fleet(opened, devices=devices, with_hours=devices // 10, hours=48, now=now)
    people = People(SqlPeopleStore(opened), SqlAuditLog(opened))
    token = people.add("anna", Role.ADMIN, By(who="person:anna", now=now), random_bytes=secrets.token_bytes)
    opened.close()
    return token


@contextmanager
def _served(where: str) -> Iterator[tuple[str, int]]:
    line = [sys.executable, "-m", "benchmarks.workers.fleet_console", where]
    with subprocess.Popen(line, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None  # noqa: S101
            yield f"http://127.0.0.1:{int(process.stdout.readline())}", process.pid
        finally:
            process.terminate()


def _measure(client: httpx.Client, process: int, pages: dict[str, str], requests: int) -> None:
    times: dict[str, list[float]] = {name: [] for name in pages}
    cpu: dict[str, list[float]] = {name: [] for name in pages}
    sizes: dict[str, int] = {}
    first: dict[str, float] = {}
    for number in range(requests + 1):
        for name, path in pages.items():
            before, begun = _cpu_s(process), time.perf_counter()
            reply = client.get(path)
            took = time.perf_counter() - begun
            reply.raise_for_status()
            sizes[name] = len(reply.content)
            if number:
                times[name].append(took)
                cpu[name].append(_cpu_s(process) - before)
            else:
                first[name] = took
    click.echo(f"{'page':24}{'p50 ms':>9}{'p95 ms':>9}{'first ms':>10}{'CPU ms':>9}{'kB':>7}")
    for name in pages:
        ordered = sorted(times[name])
        p50, p95 = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))]
        mean_cpu = sum(cpu[name]) / len(cpu[name])
        row = f"{1000 * p50:9.0f}{1000 * p95:9.0f}{1000 * first[name]:10.0f}{1000 * mean_cpu:9.0f}"
        click.echo(f"{name:24}{row}{sizes[name] / 1000:7.0f}")


def _peak_mb(process: int) -> float:
    lines = Path(f"/proc/{process}/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def _cpu_s(process: int) -> float:
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()

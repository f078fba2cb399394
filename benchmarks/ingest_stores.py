"""What a sample costs a server whose store lies in PostgreSQL, with a folder of pictures and with S3."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from pathlib import Path

from benchmarks.backing import Backing, backing, require_moto
from benchmarks.fleet_devices import let_in
from benchmarks.ingest_runs import Run, Server, edgeloop_server, send
from benchmarks.table import Row
from cloud_train.store.location import write_location

WAYS = {"folder": "PostgreSQL + folder", "s3": "PostgreSQL + S3"}
_WARM_UP = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class StoreRun:
    """One round on one kind of store.

    Attributes:
        server: Of the server.
        database_ms: CPU of PostgreSQL for 1,000 samples; no part of the server's.
        objects_ms: The same of the S3 server.
    """

    server: Run
    database_ms: float
    objects_ms: float


def measure(folder: Path, *, samples: int, rounds: int) -> list[Row]:
    """A row for each kind of store; the kinds take turns, round by round.

    Raises:
        click.ClickException: PostgreSQL or moto is not installed here.
    """
    require_moto()
    done: dict[str, list[StoreRun]] = {way: [] for way in WAYS}
    with backing() as behind:
        stores = {way: _prepared(folder / way, behind, way) for way in WAYS}
        with edgeloop_server(stores["folder"]) as on_folder, edgeloop_server(stores["s3"]) as on_s3:
            servers = {"folder": on_folder, "s3": on_s3}
            for way, server in servers.items():
                send("stream", server, _keys(folder / way), samples=_WARM_UP, seed=f"warm-{way}")
            for number in range(rounds):
                for way, runs in done.items():
                    runs.append(_round(behind, servers[way], _keys(folder / way), samples, f"{way}-{number}"))
    return [_row(way, runs) for way, runs in done.items()]


def _prepared(folder: Path, behind: Backing, way: str) -> Path:
    """A store of its own database, with a device that it lets in."""
    store, pictures = folder / "store", folder / "pictures"
    pictures.mkdir(parents=True)
    objects = behind.s3.new_bucket() if way == "s3" else pictures.resolve().as_uri()
    write_location(store, database=behind.postgres.new_database(), objects=objects)
    let_in(store, _keys(folder), "bench-1")
    return store


def _keys(folder: Path) -> Path:
    return folder / "keys"


def _round(behind: Backing, server: Server, keys: Path, samples: int, seed: str) -> StoreRun:
    database, objects = behind.database_cpu_s(), behind.objects_cpu_s()
    run = send("stream", server, keys, samples=samples, seed=seed)
    return StoreRun(
        server=run,
        database_ms=(behind.database_cpu_s() - database) / samples * 1e6,
        objects_ms=(behind.objects_cpu_s() - objects) / samples * 1e6,
    )


def _row(way: str, runs: list[StoreRun]) -> Row:
    rate = statistics.median(run.server.rate for run in runs)
    cpu = statistics.median(run.server.cpu_ms for run in runs)
    system = statistics.median(run.server.system_ms for run in runs)
    database = statistics.median(run.database_ms for run in runs)
    beside = f"beside it PostgreSQL {database:.0f} ms"
    if way == "s3":
        beside += f", the S3 server (moto, in Python) {statistics.median(run.objects_ms for run in runs):.0f} ms"
    return Row(
        what=f"{WAYS[way]}, samples/s and server CPU",
        figures=f"{rate:.0f}/s, {cpu:.0f} ms per 1,000, {system:.0f} of them the system's; {beside}",
        target="stated",
    )

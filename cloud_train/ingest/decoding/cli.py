"""`edgeloop worker` and `edgeloop quarantine`."""

from __future__ import annotations

import getpass
import signal
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cloud_train.store.checks import SqlCheckStore

_PATH = click.Path(path_type=Path)
_STORE = click.option("--store", type=_PATH, required=True, help="The store folder.")


@click.command()
@_STORE
@click.option("--once", is_flag=True, help="End when nothing waits any more.")
def worker(store: Path, once: bool) -> None:
    """Decode the samples that have arrived, until Ctrl-C or SIGTERM.

    What cannot be decoded goes into quarantine. `edgeloop serve` runs one by itself, unless it has --no-worker.
    """
    from cloud_train.ingest.decoding.running import run_worker

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: stop.set())
    run_worker(store, stop, once=once)


@click.command()
@_STORE
@click.option("--list", "as_list", is_flag=True, help="Show what is in quarantine, newest first.")
@click.option("--release", metavar="DIGEST", help="Take a sample out: you have looked at it.")
@click.option("--who", help="Your name, for the audit.  [default: that of your account]")
@click.option("--limit", default=100, show_default=True, type=click.IntRange(1), help="Most samples shown.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def quarantine(store: Path, as_list: bool, release: str | None, who: str | None, limit: int, as_json: bool) -> None:
    """Samples whose pictures could not be decoded: kept, and shown to nobody."""
    from cloud_train.store.checks import SqlCheckStore
    from cloud_train.store.opened import open_store
    from edge.errors import UsageError

    if as_list == bool(release):
        raise UsageError("say what to do", hint="give --list or --release DIGEST")
    with open_store(store, must_exist=True) as opened:
        checks = SqlCheckStore(opened.database)
        if release:
            checks.release(release, who=f"person:{who or getpass.getuser()}", now=time.time())
            click.echo(f"{release[:12]} is out of quarantine")
        else:
            _show(checks, limit=limit, as_json=as_json)


def _show(checks: SqlCheckStore, *, limit: int, as_json: bool) -> None:
    from edge import jsonvalue

    records = checks.quarantined(limit=limit)
    if as_json:
        click.echo(jsonvalue.canonical_bytes(records).decode())
    for record in () if as_json else records:
        click.echo(f"{record.digest}  {record.metadata.device_id}  {record.fault}")
    if not records:
        click.echo("nothing is in quarantine", err=True)

"""`edgeloop store`: say where a store lies, check it, back it up, restore it."""

from __future__ import annotations

import getpass
import json
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.errors import UsageError

if TYPE_CHECKING:
    from cloud_train.store.check import StoreReport
    from cloud_train.store.sweep import SweepReport

FOLDER = click.Path(path_type=Path)
STORE = click.option("--store", "root", type=FOLDER, required=True, help="The store folder.")
JSON = click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
_SHOWN = 10
_OLDER = "Sweep only what was put longer ago; what is set aside waits as long."


@click.group()
def store() -> None:
    """Say where a store lies; check it, back it up, restore it."""


@store.command()
@STORE
@click.option("--database", default="", metavar="URL", help="postgresql://USER:PASSWORD@HOST/NAME; '-' reads it.")
@click.option("--objects", default="", metavar="URL", help="s3://BUCKET/PREFIX for pictures and published files.")
def init(root: Path, database: str, objects: str) -> None:
    """Make a store, in a folder or with its database and pictures elsewhere, and write down where they are.

    A password in an option can be seen by others on the machine: give '-' and write the URL to standard input, or set
    EDGELOOP_DATABASE for every command instead.
    """
    from cloud_train.store.location import located, write_location
    from cloud_train.store.opened import Store

    database = sys.stdin.readline().strip() if database == "-" else database
    with Store(located(root, database=database, objects=objects)) as opened:
        opened.check()
        location = write_location(root, database=database, objects=objects)
        click.echo(f"database  {opened.database.name}")
        click.echo(f"pictures  {location.objects}")


@store.command()
@STORE
@click.option("--quick", is_flag=True, help="Only look whether the pictures are there; read none.")
@click.option("--sweep", "sweeps", is_flag=True, help="First clear away pictures that nothing names.")
@click.option("--remove", "removes", is_flag=True, help="With --sweep: remove what has been set aside long enough.")
@click.option("--older-than", default=24, show_default=True, metavar="HOURS", type=click.IntRange(1), help=_OLDER)
@JSON
def check(root: Path, quick: bool, sweeps: bool, removes: bool, older_than: int, as_json: bool) -> None:
    """Look whether every sample and every snapshot has its pictures, as they were put. Exit code 1 when not.

    With --sweep, pictures that nothing names are set aside, where they can still be read; with --remove too, what has
    been aside for long enough goes for good. Servers may go on.
    """
    from cloud_train.progress import file_progress
    from cloud_train.store.check import check_store
    from cloud_train.store.named import share_snapshots
    from cloud_train.store.opened import open_store
    from cloud_train.store.sweep import require_own, sweep
    from edge import jsonvalue

    if removes and not sweeps:
        raise UsageError("--remove belongs to --sweep", hint="give both, or neither")
    with open_store(root, must_exist=True) as opened, file_progress("checking", quiet=as_json) as progress:
        swept = None
        share_snapshots(opened)  # so that no sweep of another folder takes their pictures
        if sweeps:
            require_own(opened)
            who = f"person:{getpass.getuser()}"
            swept = sweep(opened, who=who, now=time.time(), age_s=older_than * 3600.0, removes=removes)
        report = check_store(opened, read=not quick, progress=progress)
    if as_json:
        said = {"whole": report.is_whole, **_object(jsonvalue.to_json(report)), "sweep": jsonvalue.to_json(swept)}
        click.echo(json.dumps(said))
    else:
        _print_sweep(swept)
        _print_report(report)
    if not report.is_whole:
        sys.exit(1)


@store.command()
@STORE
@click.option("--to", "target", type=FOLDER, required=True, help="The file to make.")
@click.option("--with-keys", is_flag=True, help="Put the keys of repository and authority in it too.")
@JSON
def backup(root: Path, target: Path, with_keys: bool, as_json: bool) -> None:
    """Save a store in one file while servers use it. After a kill the same command goes on."""
    from cloud_train.progress import file_progress
    from cloud_train.store.backup import back_up
    from cloud_train.store.opened import open_store

    with open_store(root, must_exist=True) as opened, file_progress("saving", quiet=as_json) as progress:
        made = back_up(opened, target, with_keys=with_keys, now=time.time(), progress=progress)
    _print_backup("saved to", target, made.num_blobs, len(made.members), as_json=as_json)
    if not with_keys and not as_json:
        click.echo("without keys: a restored store can serve and take samples, but sign nothing (--with-keys)")


@store.command()
@click.argument("file", type=FOLDER)
@STORE
def restore(file: Path, root: Path) -> None:
    """Put a backup into a new store, whole or not at all. After a kill the same command begins anew.

    Where database and pictures shall lie is said before, with `edgeloop store init`.
    """
    from cloud_train.progress import file_progress
    from cloud_train.store.restore import restore as restore_backup

    with file_progress("restoring") as progress:
        made = restore_backup(file, root, progress=progress)
    _print_backup(f"restored into {root} from", file, made.num_blobs, len(made.members), as_json=False)


def _print_backup(what: str, file: Path, num_blobs: int, num_files: int, *, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps({"path": str(file), "pictures": num_blobs, "files": num_files}))
    else:
        click.echo(f"{what} {file}: {num_blobs} pictures, {num_files} files and tables")


def _print_sweep(swept: SweepReport | None) -> None:
    if swept is not None:
        click.echo(
            f"{swept.num_set_aside} pictures that nothing names set aside, {swept.num_removed} removed,"
            f" {swept.num_brought_back} brought back; {swept.num_waiting} wait aside"
        )


def _print_report(report: StoreReport) -> None:
    click.echo(f"{report.num_samples} samples, {report.num_snapshot_items} pictures in snapshots")
    read = f"{report.num_read} read" if report.num_read else "none read"
    click.echo(f"{report.num_blobs} pictures, {read}, {report.num_orphans} that nothing names")
    for word, digests in (("missing", report.missing), ("damaged", report.damaged)):
        for digest in digests[:_SHOWN]:
            click.echo(f"{word}  {digest}")
        if len(digests) > _SHOWN:
            click.echo(f"{word}  {len(digests) - _SHOWN} more (--json lists all)")
    click.echo("whole" if report.is_whole else f"{len(report.missing)} missing, {len(report.damaged)} damaged")


def _object(value: object) -> dict[str, object]:
    assert isinstance(value, dict)  # noqa: S101 - a dataclass becomes an object
    return value

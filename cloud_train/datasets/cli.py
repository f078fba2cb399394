"""`edgeloop data inspect` and `edgeloop data snapshot`."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import click

from edge.durable import make_folder

if TYPE_CHECKING:
    from cloud_train.datasets.inspect import Inspection
    from cloud_train.types import DatasetSnapshot

FOLDER = click.Path(path_type=Path)
SHOWN = 20


@click.group()
def data() -> None:
    """Inspect a folder of pictures; freeze it as a snapshot."""


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON.")
def inspect(folder: Path, as_json: bool) -> None:
    """Say what is in FOLDER, one folder of pictures a class: counts, duplicates, conflicts, unusable files."""
    from cloud_train.datasets.duplicates import group_near_duplicates
    from cloud_train.datasets.inspect import inspect_folder
    from cloud_train.progress import file_progress

    with file_progress("inspecting", quiet=as_json) as progress:
        found = inspect_folder(folder, progress=progress)
    groups = Counter(group_near_duplicates([picture.fingerprint for picture in found.pictures]))
    near = {
        "groups": sum(size > 1 for size in groups.values()),
        "pictures": sum(size for size in groups.values() if size > 1),
    }
    if as_json:
        click.echo(json.dumps(_inspection_json(found) | {"near_duplicates": near}))
    else:
        _print_inspection(folder, found, near)


@data.command()
@click.argument("folder", type=FOLDER)
@click.option("--store", type=FOLDER, required=True, help="The store folder; created when missing.")
@click.option("--name", required=True, help="Name of the data set, for people.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def snapshot(folder: Path, store: Path, name: str, as_json: bool) -> None:
    """Freeze FOLDER: every picture hashed, kept and put into train, val or test for ever. The same command resumes."""
    from cloud_train.datasets.snapshot import build_snapshot, save_snapshot
    from cloud_train.progress import file_progress
    from cloud_train.store.named import share_snapshots
    from cloud_train.store.opened import open_store

    opened = open_store(store)
    layout = opened.layout
    make_folder(store)
    with file_progress("reading", quiet=as_json) as progress:
        made = build_snapshot(folder, opened.blobs, name=name, progress=progress)
    digest = save_snapshot(made, layout.snapshots)
    share_snapshots(opened)
    if as_json:
        click.echo(json.dumps(_snapshot_json(made) | {"digest": digest, "path": str(layout.snapshot(digest))}))
    else:
        _print_snapshot(made, layout.snapshot(digest))


def _inspection_json(found: Inspection) -> dict[str, object]:
    return {
        "files": found.num_files,
        "pictures": len(found.pictures),
        "classes": found.classes,
        "duplicates": found.num_duplicates,
        "conflicts": [{"paths": conflict.paths, "labels": conflict.labels} for conflict in found.conflicts],
        "skipped": found.skipped,
    }


def _print_inspection(folder: Path, found: Inspection, near: dict[str, int]) -> None:
    click.echo(f"{folder}: {len(found.pictures)} pictures of {len(found.classes)} classes in {found.num_files} files")
    for label, count in found.classes.items():
        click.echo(f"  {label}: {count}")
    click.echo(f"{found.num_duplicates} exact duplicates, left out")
    click.echo(f"{near['pictures']} near duplicates in {near['groups']} groups; a group never straddles a split")
    click.echo(f"{len(found.conflicts)} pictures in several classes, left out")
    for conflict in found.conflicts[:SHOWN]:
        click.echo(
            f"  {', '.join(conflict.labels)}: {', '.join(conflict.paths[:4])}{' …' if len(conflict.paths) > 4 else ''}"
        )
    _print_skipped(found.skipped)


def _snapshot_json(made: DatasetSnapshot) -> dict[str, object]:
    splits = Counter(item.split.value for item in made.items)
    return {
        "name": made.name,
        "classes": made.classes,
        "pictures": len(made.items),
        "splits": {split: splits[split] for split in ("train", "val", "test")},
        "duplicates": made.num_duplicates,
        "skipped": made.skipped,
    }


def _print_snapshot(made: DatasetSnapshot, path: Path) -> None:
    from cloud_train.types import Split

    parts = ", ".join(f"{split.value} {len(made.of(split))}" for split in Split)
    click.echo(str(path))
    click.echo(f"{len(made.items)} pictures of {len(made.classes)} classes: {parts}")
    click.echo(f"{made.num_duplicates} exact duplicates, left out")
    _print_skipped(made.skipped)


def _print_skipped(skipped: tuple[str, ...]) -> None:
    click.echo(f"{len(skipped)} files skipped")
    for line in skipped[:SHOWN]:
        click.echo(f"  {line}")
    if len(skipped) > SHOWN:
        click.echo(f"  … and {len(skipped) - SHOWN} more (--json names all)")

"""`edgeloop bundle …`: look into bundles, compare and check them, turn them into one file and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.import_cli import import_command, prove_command

if TYPE_CHECKING:
    from edge.bundle.reader import Bundle
    from edge.jsonvalue import Json

_FOLDER = click.Path(path_type=Path)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def bundle() -> None:
    """Show, compare, verify, pack and unpack bundles; import models from elsewhere, and prove them."""


bundle.add_command(import_command)
bundle.add_command(prove_command)


@bundle.command()
@click.argument("folder", metavar="BUNDLE", type=_FOLDER)
@click.option("--html", "page", type=_FOLDER, metavar="OUT", help="Also write the page of its proof as the file OUT.")
@_AS_JSON
def show(folder: Path, page: Path | None, as_json: bool) -> None:
    """Say what is in BUNDLE, a folder or a packed file, after checking every digest."""
    from converters.describe import describe
    from converters.unpacked import unpacked

    with unpacked(folder) as opened:
        lines = [json.dumps(_shown(opened), indent=2)] if as_json else describe(opened)
        if page is not None:
            from converters.report.bundle_page import write_page

            write_page(opened, page)
    click.echo("\n".join(lines))


@bundle.command()
@click.argument("before", metavar="A", type=_FOLDER)
@click.argument("after", metavar="B", type=_FOLDER)
@_AS_JSON
def diff(before: Path, after: Path, as_json: bool) -> None:
    """Say what is different in B, and how much an update from A would move.

    A and B are bundle folders or packed files. The exit code is 0 whether they differ or not; the digests say it.
    """
    from converters.diff import compare_bundles
    from converters.diff_words import diff_lines
    from converters.unpacked import unpacked
    from edge import jsonvalue

    with unpacked(before) as a, unpacked(after) as b:
        found = compare_bundles(a, b)
    click.echo(json.dumps(jsonvalue.to_json(found), indent=2) if as_json else "\n".join(diff_lines(found)))


@bundle.command()
@click.argument("folder", metavar="BUNDLE", type=_FOLDER)
@click.option("--artifact", "artifacts", multiple=True, help="Test only this model file; may be repeated.")
@_AS_JSON
def verify(folder: Path, artifacts: tuple[str, ...], as_json: bool) -> None:
    """Check every digest of BUNDLE and run its golden vectors on this machine."""
    from edge.bundle.golden_reader import load_golden
    from edge.bundle.reader import open_bundle
    from edge.update.selftest import self_test

    opened = open_bundle(folder)
    self_test(opened, artifacts=artifacts or None)
    num_vectors = len(load_golden(opened).vectors)
    if as_json:
        click.echo(json.dumps({"ok": True, "digest": opened.digest, "golden_vectors": num_vectors}))
    else:
        click.echo(f"ok: {len(opened.manifest.files)} files and {num_vectors} golden vectors of {opened.digest[:12]}")


@bundle.command()
@click.argument("folder", metavar="BUNDLE", type=_FOLDER)
@click.argument("archive", metavar="FILE", type=_FOLDER)
@_AS_JSON
def pack(folder: Path, archive: Path, as_json: bool) -> None:
    """Write BUNDLE as the one file FILE (`.edgebundle`)."""
    from edge import durable
    from edge.bundle.archive import pack as pack_bundle

    durable.make_folder(archive.parent)
    pack_bundle(folder, archive)
    _report(archive, {"file": str(archive), "size_bytes": archive.stat().st_size}, as_json=as_json)


@bundle.command()
@click.argument("archive", metavar="FILE", type=_FOLDER)
@click.argument("folder", metavar="BUNDLE", type=_FOLDER)
@_AS_JSON
def unpack(archive: Path, folder: Path, as_json: bool) -> None:
    """Unpack FILE into the new folder BUNDLE and check every digest."""
    from edge.bundle.archive import unpack as unpack_bundle

    opened = unpack_bundle(archive, folder)
    _report(folder, {"folder": str(folder), "digest": opened.digest}, as_json=as_json)


def _shown(opened: Bundle) -> dict[str, Json]:
    """All that a bundle says about itself, for programs."""
    from converters.foreign.imported_proof import read_proof
    from converters.records import read_measurements, read_record, read_trained_proof
    from edge import jsonvalue

    return {
        "digest": opened.digest,
        "manifest": jsonvalue.to_json(opened.manifest),
        "proof": jsonvalue.to_json(read_trained_proof(opened) or read_proof(opened)),
        "conversion": jsonvalue.to_json(read_record(opened)),
        "measurements": jsonvalue.to_json(read_measurements(opened)),
    }


def _report(path: Path, value: dict[str, str | int], *, as_json: bool) -> None:
    click.echo(json.dumps(value) if as_json else f"wrote {path}")

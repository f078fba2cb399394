"""`edgeloop bundle …`: look into bundles, check them, turn them into one file and back."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

from converters.import_cli import import_command, prove_command

if TYPE_CHECKING:
    from edge.bundle.manifest import BundleManifest
    from edge.bundle.reader import Bundle

SHOWN_LABELS = 20
_FOLDER = click.Path(path_type=Path)
_AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def bundle() -> None:
    """Show, verify, pack and unpack bundles; import models from elsewhere, and prove them."""


bundle.add_command(import_command)
bundle.add_command(prove_command)


@bundle.command()
@click.argument("folder", metavar="BUNDLE", type=_FOLDER)
@_AS_JSON
def show(folder: Path, as_json: bool) -> None:
    """Say what is in BUNDLE, after checking every digest."""
    from edge import jsonvalue
    from edge.bundle.reader import open_bundle

    opened = open_bundle(folder)
    if as_json:
        click.echo(json.dumps({"digest": opened.digest, "manifest": jsonvalue.to_json(opened.manifest)}, indent=2))
    else:
        click.echo("\n".join(describe(opened)))


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


def describe(opened: Bundle) -> list[str]:
    """A bundle in a dozen lines for people."""
    from edge.bundle.manifest import Origin

    manifest = opened.manifest
    sizes = {entry.name: entry.size_bytes for entry in manifest.files}
    more = ", …" if len(manifest.labels) > SHOWN_LABELS else ""
    lines = [
        f"{manifest.name} version {manifest.version}",
        f"digest     {opened.digest}",
        f"labels     {len(manifest.labels)}: {', '.join(manifest.labels[:SHOWN_LABELS])}{more}",
    ]
    for stage in manifest.stages:
        spec = stage.preprocess
        lines.append(f"stage      {stage.name}, {stage.task.value}, {spec.width}x{spec.height}, {spec.crop.value}")
        lines += [f"model      {a.file}, {a.recipe}, {sizes[a.file] / 1e6:.2f} MB" for a in stage.artifacts]
    lines += _imported_lines(opened) if manifest.origin is Origin.IMPORTED else _trained_lines(manifest)
    return lines


def _trained_lines(manifest: BundleManifest) -> list[str]:
    proof, source = manifest.proof, manifest.provenance
    return [
        f"proof      {proof.verdict.value}, drop {proof.drop_points:.2f} points (up to {proof.drop_upper_points:.2f})",
        *(f"fallback   {fallback}" for fallback in proof.fallbacks),
        f"trained    run {source.run[:12]}, snapshot {source.snapshot[:12]}, recipe {source.train_recipe}",
    ]


def _imported_lines(opened: Bundle) -> list[str]:
    """The verdict with its reason, which for an imported bundle may be a score without a drop."""
    from converters.foreign.imported_proof import read_proof

    proof, verdict = read_proof(opened), opened.manifest.proof.verdict.value
    proven = f"{verdict}, {proof.reason}" if proof else verdict
    return [f"proof      {proven}", "trained    elsewhere (imported)"]


def _report(path: Path, value: dict[str, str | int], *, as_json: bool) -> None:
    click.echo(json.dumps(value) if as_json else f"wrote {path}")

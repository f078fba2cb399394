"""`edgeloop trace`: prediction → bundle → run → snapshot → digests of its training pictures."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

import click

from cloud_train.store.layout import StoreLayout
from cloud_train.types import Split, TrainRun
from edge import jsonvalue
from edge.bundle.manifest import MANIFEST_NAME, BundleManifest
from edge.errors import UsageError


@dataclass(frozen=True, slots=True, kw_only=True)
class Trace:
    """The way back from one prediction. Digests are SHA-256 hex.

    Attributes:
        prediction: Its id.
        picture: Digest of the picture that was judged, or its first 12 digits where only those are known.
        bundle: Digest of the bundle that judged.
        bundle_version: Its version.
        run: Digest of the training run.
        train_recipe: Name of its recipe.
        seed: Its seed.
        snapshot: Digest of the snapshot.
        parents: Snapshots that one extends, nearest first.
        pictures: Digest, label and origin of every training picture.
    """

    prediction: str
    picture: str
    bundle: str
    bundle_version: int
    run: str
    train_recipe: str
    seed: int
    snapshot: str
    parents: tuple[str, ...]
    pictures: tuple[tuple[str, str, str], ...]


def trace_prediction(prediction: str, layout: StoreLayout) -> Trace:
    """Walks back from a prediction id.

    Args:
        prediction: `<12 hex of the picture>-<12 hex of the bundle>`, as the device prints it.
        layout: The store that made the bundle.

    Raises:
        UsageError: The id is none, or a link of the chain is not in this store.
    """
    picture, _, bundle_start = prediction.partition("-")
    if len(picture) != 12 or len(bundle_start) != 12 or not set(picture + bundle_start) <= set("0123456789abcdef"):
        raise UsageError(
            f"{prediction!r} is not a prediction id",
            hint="take one from predictions.jsonl: 12 hex digits, '-', 12 hex digits",
        )
    digest, manifest = _find_bundle(layout, bundle_start)
    run = _find_run(layout, manifest.provenance.run)
    from cloud_train.datasets.snapshot import load_snapshot

    snapshot = load_snapshot(layout.snapshot(run.snapshot))
    return Trace(
        prediction=prediction,
        picture=picture,
        bundle=digest,
        bundle_version=manifest.version,
        run=manifest.provenance.run,
        train_recipe=run.recipe,
        seed=run.seed,
        snapshot=run.snapshot,
        parents=_parents(layout, snapshot.parent),
        pictures=tuple((item.digest, item.label, item.origin) for item in snapshot.of(Split.TRAIN)),
    )


def _find_bundle(layout: StoreLayout, start: str) -> tuple[str, BundleManifest]:
    for path in sorted(layout.bundles.glob(f"[!.]*/{MANIFEST_NAME}")):
        manifest = jsonvalue.load(BundleManifest, path.read_bytes(), where=str(path))
        digest = jsonvalue.digest_of(manifest)
        if digest.startswith(start):
            return digest, manifest
    raise UsageError(f"no bundle {start}… in {layout.bundles}", hint="name the store that published it with --store")


def _find_run(layout: StoreLayout, digest: str) -> TrainRun:
    for path in sorted(layout.runs.glob("[!.]*/run.json")):
        run = jsonvalue.load(TrainRun, path.read_bytes(), where=str(path))
        if jsonvalue.digest_of(run) == digest:
            return run
    raise UsageError(
        f"no training run {digest[:12]}… in {layout.runs}", hint="name the store that trained it with --store"
    )


def _parents(layout: StoreLayout, digest: str) -> tuple[str, ...]:
    from cloud_train.datasets.snapshot import load_snapshot

    found: list[str] = []
    while digest and digest not in found:
        found.append(digest)
        path = layout.snapshot(digest)
        digest = load_snapshot(path).parent if path.exists() else ""
    return tuple(found)


@click.command()
@click.argument("prediction")
@click.option(
    "--store",
    type=click.Path(exists=True, file_okay=False, path_type=Path),
    default=Path("work/demo/store"),
    show_default=True,
    help="The store that made the bundle.",
)
@click.option("--json", "as_json", is_flag=True, help="Print everything as JSON, every picture included.")
def trace(prediction: str, store: Path, as_json: bool) -> None:
    """Walk from PREDICTION (an id from predictions.jsonl) back to the pictures its model was trained on."""
    found = trace_prediction(prediction, StoreLayout(root=store))
    if as_json:
        click.echo(json.dumps(jsonvalue.to_json(found)))
        return
    samples = sum(origin.startswith("sample:") for _, _, origin in found.pictures)
    click.echo(f"prediction {found.prediction}")
    click.echo(f"└ bundle   {found.bundle} (version {found.bundle_version})")
    click.echo(f"  └ run      {found.run} (recipe {found.train_recipe}, seed {found.seed})")
    click.echo(f"    └ snapshot {found.snapshot}")
    for parent in found.parents:
        click.echo(f"      └ extends  {parent}")
    click.echo(f"      └ {len(found.pictures)} training pictures, {samples} of them samples from devices:")
    for digest, label, origin in found.pictures:
        click.echo(f"        {digest} {label} ({origin})")

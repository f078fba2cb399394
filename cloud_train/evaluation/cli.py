"""`edgeloop evaluate`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from cloud_train.types import EvalReport


@click.command()
@click.argument("bundle", type=click.Path(path_type=Path))
@click.option("--snapshot", type=click.Path(path_type=Path), required=True, help="The snapshot's JSON file.")
@click.option("--store", type=click.Path(path_type=Path), required=True, help="The store folder with its pictures.")
@click.option(
    "--split", type=click.Choice(["train", "val", "test"]), default="test", show_default=True, help="Which part."
)
@click.option("--artifact", default=None, help="File name or format of the model to run; the preferred one by default.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
def evaluate(bundle: Path, snapshot: Path, store: Path, split: str, artifact: str | None, as_json: bool) -> None:
    """Run BUNDLE, a folder, over one split of a snapshot, as a device would."""
    from cloud_train.datasets.snapshot_file import load_snapshot
    from cloud_train.evaluation.evaluate import evaluate_bundle
    from cloud_train.progress import file_progress
    from cloud_train.store.opened import open_store
    from cloud_train.types import Split
    from edge import jsonvalue
    from edge.errors import UsageError

    opened = open_store(store)
    if not opened.has_pictures():
        raise UsageError(f"{store}: not a store folder", hint="give the --store that the snapshot was made in")
    frozen = load_snapshot(snapshot)
    with file_progress("evaluating", quiet=as_json) as progress:
        report = evaluate_bundle(bundle, frozen, opened.blobs, Split(split), artifact=artifact, progress=progress)
    if as_json:
        click.echo(json.dumps(jsonvalue.to_json(report)))
    else:
        _print_report(report)


def _print_report(report: EvalReport) -> None:
    exact = report.accuracy
    click.echo(f"{report.artifact} on {len(report.pictures)} {report.split.value} pictures")
    click.echo(
        f"accuracy {exact.value:.1f} % (95 %: {exact.lower:.1f} to {exact.upper:.1f}), macro-F1 {report.macro_f1:.1f} %"
    )
    click.echo(f"commonest class {report.majority_baseline:.1f} %, colour histograms {report.histogram_baseline:.1f} %")
    click.echo(f"latency {report.latency_p50_ms:.2f} ms (median, one thread)")
    width = max(len(row.label) for row in report.classes)
    for row in report.classes:
        figures = f"recall {row.recall:5.1f} %  precision {row.precision:5.1f} %  F1 {row.f1:5.1f} %"
        click.echo(f"  {row.label:<{width}}  {row.num:5d} pictures  {figures}")

"""`edgeloop retrain`."""

from __future__ import annotations

import json
from pathlib import Path

import click

from cloud_train.store.layout import StoreLayout
from edge import jsonvalue
from edge.errors import UsageError

EXISTING_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
EXISTING_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command()
@click.option("--store", type=EXISTING_FOLDER, required=True, help="The server's store folder.")
@click.option("--parent", required=True, help="Digest of the snapshot to build on.")
@click.option("--app", "application", default="shelf", show_default=True, help="Application of the model zoo.")
@click.option("--name", default=None, help="Name of the bundle; the application's by default.")
@click.option("--version", type=click.IntRange(min=1), required=True, help="Version of the new bundle.")
@click.option(
    "--champion", type=EXISTING_FILE, default=None, help="Evaluation report to beat; none for a first release."
)
@click.option("--weights", type=EXISTING_FILE, default=None, help="Local safetensors file to start from.")
@click.option("--epochs", type=click.IntRange(min=0), default=0, help="Most passes over the data; 0 for the recipe's.")
@click.option("--channel", default="stable", show_default=True, help="Where to publish when the gate passes.")
@click.option("--json", "as_json", is_flag=True, help="Print the result as JSON.")
def retrain(
    store: Path,
    parent: str,
    application: str,
    name: str | None,
    version: int,
    champion: Path | None,
    weights: Path | None,
    epochs: int,
    channel: str,
    as_json: bool,
) -> None:
    """Extend a snapshot by the labelled samples, train, convert, prove, gate and publish; resumes after a kill."""
    from cloud_train.retrain.durable_runs import durable_runtime, run_workflow
    from cloud_train.retrain.plan import RetrainPlan, RetrainResult
    from model_zoo.registry import find_application

    layout = StoreLayout(root=store)
    find_application(application)
    if not layout.snapshot(parent).is_file():
        raise UsageError(
            f"no snapshot {parent} in {layout.snapshots}", hint="name one that `edgeloop data snapshot` made"
        )
    plan = RetrainPlan(
        store=str(store.resolve()),
        name=name or application,
        version=version,
        application=application,
        parent=parent,
        add_labelled_samples=True,
        initial_weights=str(weights.resolve()) if weights else "",
        epochs=epochs,
        champion=str(champion.resolve()) if champion else "",
        channel=channel,
    )
    from cloud_train.retrain import workflow
    from cloud_train.store.lock import exclusive

    name_of_run = f"retrain-{jsonvalue.digest_of(plan)[:12]}"
    busy = UsageError(f"{store}: another retraining is running in this store", hint="wait for it")
    with exclusive(store / "retrain.lock", busy=busy), durable_runtime(layout.workflows, owner=name_of_run):
        answer = run_workflow(workflow.retrain, name_of_run, jsonvalue.to_json(plan))
    result = jsonvalue.from_json(RetrainResult, answer, where="retrain result")
    click.echo(
        json.dumps(jsonvalue.to_json(result))
        if as_json
        else f"{result.bundle}: {result.bundle_digest}\ngate: {result.gate}"
    )
    for reason in () if as_json else result.gate_reasons:
        click.echo(f"  {reason}")

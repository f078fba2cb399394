"""The steps from labelled samples to a published bundle. Each is idempotent: what stands on disk is not made again."""

from __future__ import annotations

import dataclasses
from pathlib import Path

from cloud_train.retrain.plan import RetrainPlan
from cloud_train.store.layout import StoreLayout
from cloud_train.types import EvalReport, GateResult, Split
from edge import jsonvalue
from edge.durable import make_folder, write_bytes
from edge.errors import UsageError
from edge.update.types import Release
from model_zoo.types import Application


def application_of(plan: RetrainPlan) -> Application:
    """The application a plan names, with the plan's overrides."""
    from model_zoo.registry import find_application

    application = find_application(plan.application)
    if plan.epochs:
        recipe = dataclasses.replace(
            application.recipe, name=f"{application.recipe.name}-e{plan.epochs}", epochs=plan.epochs
        )
        application = dataclasses.replace(application, recipe=recipe)
    return application


def freeze(plan: RetrainPlan) -> str:
    """Extends the parent snapshot by labelled samples and by the plan's additions.

    Returns:
        Digest of the snapshot to train on; the parent's own when nothing was added.
    """
    from cloud_train.datasets.snapshot import extend_snapshot, load_snapshot, save_snapshot
    from cloud_train.store.named import share_snapshots
    from cloud_train.store.opened import open_store

    layout = StoreLayout(root=Path(plan.store))
    additions = tuple((item.digest, item.label, item.origin) for item in plan.additions)
    if plan.add_labelled_samples:
        additions += labelled_samples(layout)
    if not additions:
        return plan.parent
    parent = load_snapshot(layout.snapshot(plan.parent))
    store = open_store(layout.root)
    snapshot = extend_snapshot(parent, tuple(sorted(additions)), store.blobs, name=plan.name)
    digest = save_snapshot(snapshot, layout.snapshots)
    share_snapshots(store)
    return digest


def labelled_samples(layout: StoreLayout) -> tuple[tuple[str, str, str], ...]:
    """Digest, label and origin of every sample whose label is settled, sorted by digest."""
    from cloud_train.review.labels import settled_labels
    from cloud_train.store.opened import open_store

    with open_store(layout.root) as store:
        meta = store.meta
        labels = settled_labels(meta)
        records = [record for record in meta.samples() if record.digest in labels]
    return tuple(
        sorted((record.digest, labels[record.digest], f"sample:{record.metadata.device_id}") for record in records)
    )


def train(plan: RetrainPlan, snapshot_digest: str, *, progress: bool = True) -> str:
    """Trains on a snapshot.

    Returns:
        Folder of the run.
    """
    from cloud_train.datasets.snapshot import load_snapshot
    from cloud_train.store.opened import open_store
    from cloud_train.training.classifier import train_classifier

    layout = StoreLayout(root=Path(plan.store))
    recipe = application_of(plan).recipe
    key = jsonvalue.digest_of([snapshot_digest, jsonvalue.digest_of(recipe), plan.initial_weights, plan.pretrained])[
        :16
    ]
    out = layout.runs / f"{plan.name}-{key}"
    train_classifier(
        load_snapshot(layout.snapshot(snapshot_digest)),
        open_store(layout.root).blobs,
        recipe,
        out,
        initial_weights=Path(plan.initial_weights) if plan.initial_weights else None,
        pretrained=plan.pretrained,
        progress=progress,
    )
    return str(out)


def convert(plan: RetrainPlan, snapshot_digest: str, run: str, *, progress: bool = True) -> str:
    """Quantizes, proves and writes the bundle of a run.

    Returns:
        Folder of the bundle.
    """
    from cloud_train.retrain.conversion import convert_run

    layout = StoreLayout(root=Path(plan.store))
    run_name = Path(run).name
    out = layout.bundles / f"{plan.name}-v{plan.version}-{run_name.rsplit('-', 1)[-1]}"
    make_folder(layout.bundles)
    bundle = convert_run(
        Path(run),
        layout.snapshot(snapshot_digest),
        layout.blobs,
        out,
        name=plan.name,
        version=plan.version,
        application=application_of(plan),
        progress=progress,
    )
    return str(bundle)


def evaluate(plan: RetrainPlan, snapshot_digest: str, bundle: str) -> str:
    """Runs a bundle over the frozen test split.

    Returns:
        Path of the report.
    """
    from cloud_train.datasets.snapshot import load_snapshot
    from cloud_train.evaluation.evaluate import evaluate_bundle
    from cloud_train.store.opened import open_store

    layout = StoreLayout(root=Path(plan.store))
    out = layout.reports / f"{Path(bundle).name}-{snapshot_digest[:16]}.json"
    if not out.exists():
        snapshot = load_snapshot(layout.snapshot(snapshot_digest))
        report = evaluate_bundle(Path(bundle), snapshot, open_store(layout.root).blobs, Split.TEST)
        make_folder(layout.reports)
        write_bytes(out, jsonvalue.pretty_bytes(report), point="report")
    return str(out)


def read_report(path: Path) -> EvalReport:
    """Reads an evaluation report back."""
    if not path.is_file():
        raise UsageError(f"{path}: no such report", hint="evaluate the bundle first")
    return jsonvalue.load(EvalReport, path.read_bytes(), where=path.name)


def gate(plan: RetrainPlan, report: str) -> GateResult:
    """Holds the challenger against the champion on the frozen test split."""
    from cloud_train.evaluation.gates import judge_gates

    champion = read_report(Path(plan.champion)) if plan.champion else None
    return judge_gates(champion, read_report(Path(report)))


def publish(plan: RetrainPlan, bundle: str, *, now: float) -> Release:
    """Signs the bundle and offers it on the plan's channel."""
    from cloud_train.publish.publish import publish_bundle

    return publish_bundle(Path(bundle), Path(plan.store), channel=plan.channel, now=now)

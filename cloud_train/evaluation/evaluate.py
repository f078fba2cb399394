"""Runs a bundle over one split of a snapshot, through the very engine that devices run."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.datasets.snapshot_file import snapshot_digest
from cloud_train.evaluation.baselines import histogram_accuracy, majority_accuracy
from cloud_train.evaluation.metrics import accuracy, class_rows, macro_f1
from cloud_train.store.blobs import BlobStore
from cloud_train.types import DatasetSnapshot, EvalReport, PictureResult, SnapshotItem, Split
from edge.errors import StorageError, UsageError

if TYPE_CHECKING:
    from edge.engine import Engine
    from edge.types import Inference

Progress = Callable[[int, int], None]


def evaluate_bundle(
    bundle_folder: Path,
    snapshot: DatasetSnapshot,
    blobs: BlobStore,
    split: Split,
    *,
    artifact: str | None = None,
    progress: Progress | None = None,
) -> EvalReport:
    """Judges a bundle.

    The classes of the report are the labels of the split's pictures, also those that the bundle does not know: on them
    it can only be wrong.

    Args:
        bundle_folder: The bundle.
        snapshot: Its split is run in the order of the digests; its training split feeds the baselines.
        blobs: Holds the pictures.
        split: Which part.
        artifact: File name or format of the model to run; the bundle's preferred one by default.
        progress: Called with pictures done and pictures in all.

    Raises:
        UsageError: The split is empty.
        BundleError: The bundle is damaged.
        StorageError: A picture is not in the store.
    """
    from edge.engine import open_engine

    items = snapshot.of(split)
    if not items:
        raise UsageError(f"snapshot {snapshot.name!r} has no {split.value} pictures", hint="evaluate another split")
    _check_pictures(snapshot.items, blobs)
    with open_engine(bundle_folder, artifact=artifact, threads=1, allow_unproven=True) as engine:
        inferences = _run(engine, items, blobs, progress)
        return _report(engine, snapshot, split, items, inferences, blobs)


def _check_pictures(items: Sequence[SnapshotItem], blobs: BlobStore) -> None:
    missing = [item.digest for item in items if not blobs.has(item.digest)]
    if missing:
        raise StorageError(
            f"{len(missing)} pictures of the snapshot are not in the store, the first: {missing[0]}",
            hint="give the store that the snapshot was made in",
        )


def _run(engine: Engine, items: Sequence[SnapshotItem], blobs: BlobStore, progress: Progress | None) -> list[Inference]:
    inferences = []
    for number, item in enumerate(items):
        inferences.append(engine.infer(blobs.read(item.digest)))
        if progress is not None:
            progress(number + 1, len(items))
    return inferences


def _report(
    engine: Engine,
    snapshot: DatasetSnapshot,
    split: Split,
    items: Sequence[SnapshotItem],
    inferences: Sequence[Inference],
    blobs: BlobStore,
) -> EvalReport:
    results = tuple(_result(item, inference) for item, inference in zip(items, inferences, strict=True))
    rows = class_rows(results, sorted({item.label for item in items}))
    train = snapshot.of(Split.TRAIN)
    return EvalReport(
        bundle=engine.bundle.digest,
        artifact=engine.artifact.file,
        snapshot=snapshot_digest(snapshot),
        split=split,
        accuracy=accuracy(results),
        macro_f1=macro_f1(rows),
        classes=rows,
        pictures=results,
        majority_baseline=majority_accuracy(train, items),
        histogram_baseline=histogram_accuracy(train, items, blobs, engine.bundle.manifest.stages[0].preprocess),
        latency_p50_ms=statistics.median(inference.timings.total_ms for inference in inferences),
    )


def _result(item: SnapshotItem, inference: Inference) -> PictureResult:
    best = inference.prediction.headline
    return PictureResult(
        digest=item.digest,
        truth=item.label,
        predicted=best.label,
        confidence=best.confidence,
        outcome=inference.decision.outcome.value,
    )

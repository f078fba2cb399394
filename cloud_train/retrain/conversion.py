"""From a training run to a proven bundle: joins what training left with what the converters ask for."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.types import DatasetSnapshot, SnapshotItem, Split, TrainRun
from edge import __version__, jsonvalue
from edge.bundle.manifest import Provenance
from edge.errors import UsageError
from model_zoo.types import Application

if TYPE_CHECKING:
    from cloud_train.store.blobs import BlobStore
    from converters.pipeline import LabelledPicture, Picture

CALIBRATION_PICTURES = 200
VALIDATION_PICTURES = 1000


def convert_run(
    run_folder: Path,
    snapshot_file: Path,
    blob_folder: Path,
    out: Path,
    *,
    name: str,
    version: int,
    application: Application,
    progress: bool = True,
) -> Path:
    """Converts, proves and bundles a trained network.

    Args:
        run_folder: Folder with `run.json` and `model.safetensors`.
        snapshot_file: The snapshot it was trained on.
        blob_folder: Folder of the blob store with its pictures.
        out: The bundle folder to make; a finished one for the same job is returned as it is.
        name: Name of the bundle.
        version: Version of the bundle.
        application: Policies and limits.
        progress: Show a progress bar.

    Returns:
        The bundle folder.

    Raises:
        UsageError: The run was not trained on that snapshot.
    """
    from cloud_train.datasets.snapshot import load_snapshot
    from cloud_train.store.blobs import FolderBlobStore
    from cloud_train.training.classifier import load_trained
    from converters.pipeline import ConversionJob
    from converters.pipeline import convert as convert_job

    snapshot = load_snapshot(snapshot_file)
    run, network = load_trained(run_folder)
    if run.snapshot != jsonvalue.digest_of(snapshot):
        raise UsageError(
            f"{run_folder}: was not trained on snapshot {snapshot_file.name}", hint=f"use snapshot {run.snapshot}.json"
        )
    blobs = FolderBlobStore(blob_folder)
    job = ConversionJob(
        network=network,
        name=name,
        version=version,
        labels=run.classes,
        preprocess=run.preprocess,
        temperature=run.temperature,
        calibration=calibration_pictures(snapshot, blobs),
        validation=validation_pictures(snapshot, blobs),
        limits=application.limits,
        decision=application.decision,
        keep=application.keep,
        provenance=provenance_of(run),
        out=out,
    )
    return convert_job(job, progress=progress)


def provenance_of(run: TrainRun) -> Provenance:
    """What the manifest says about where its model comes from."""
    return Provenance(
        run=jsonvalue.digest_of(run),
        snapshot=run.snapshot,
        train_recipe=run.recipe,
        seed=run.seed,
        weights=run.weights,
        producer=f"edgeloop {__version__}",
    )


def calibration_pictures(snapshot: DatasetSnapshot, blobs: BlobStore) -> tuple[Picture, ...]:
    """Training pictures for activation ranges: the classes in turn, by digest within a class."""
    from converters.pipeline import Picture

    chosen = _classes_in_turn(snapshot.of(Split.TRAIN))[:CALIBRATION_PICTURES]
    return tuple(Picture(digest=item.digest, path=blobs.path(item.digest)) for item in chosen)


def validation_pictures(snapshot: DatasetSnapshot, blobs: BlobStore) -> tuple[LabelledPicture, ...]:
    """Validation pictures for the proof; training never saw them."""
    from converters.pipeline import LabelledPicture

    chosen = _classes_in_turn(snapshot.of(Split.VAL))[:VALIDATION_PICTURES]
    return tuple(LabelledPicture(digest=item.digest, path=blobs.path(item.digest), label=item.label) for item in chosen)


def _classes_in_turn(items: tuple[SnapshotItem, ...]) -> list[SnapshotItem]:
    ranks: dict[str, int] = {}
    keyed = []
    for item in sorted(items, key=lambda item: item.digest):
        rank = ranks.get(item.label, 0)
        ranks[item.label] = rank + 1
        keyed.append((rank, item.label, item))
    return [item for _, _, item in sorted(keyed, key=lambda row: row[:2])]

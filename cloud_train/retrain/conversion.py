"""From a training run to a proven bundle: joins what training left with what the converters ask for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from cloud_train.types import DatasetSnapshot, SnapshotItem, Split, TrainRun
from converters.recipes import DEFAULT_RECIPES
from converters.types import QuantRecipe
from edge import __version__, jsonvalue
from edge.bundle.manifest import CapturePolicy, Provenance, QualityLimits
from edge.errors import UsageError
from model_zoo.types import Application

if TYPE_CHECKING:
    from cloud_train.store.blobs import BlobStore
    from converters.examples import LabelledPicture, Picture
    from converters.qat import QatRecipe
    from converters.reprove import Reproved

CALIBRATION_PICTURES = 200
VALIDATION_PICTURES = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionChoice:
    """Which models a conversion tries, and which it keeps. As in `converters.job.ConversionJob`.

    Attributes:
        recipes: Of the preferred model, in their order.
        also: Of further models.
        search: Try all and take the best.
        sensitivity: Look for the fewest layers that have to stay float, where no static int8 recipe is good enough.
        fine_tune: Train for int8 where nothing else of static int8 is good enough; None for never.
        limits: What quantization may cost; None for the application's.
        capture: Which frames the device answers; None for the application's.
    """

    recipes: tuple[QuantRecipe, ...] = DEFAULT_RECIPES
    also: tuple[QuantRecipe, ...] = ()
    search: bool = False
    sensitivity: bool = False
    fine_tune: QatRecipe | None = None
    limits: QualityLimits | None = None
    capture: CapturePolicy | None = None


def convert_run(
    run_folder: Path,
    snapshot_file: Path,
    blob_folder: Path,
    out: Path,
    *,
    name: str,
    version: int,
    application: Application,
    choice: ConversionChoice | None = None,
    cache: Path | None = None,
    progress: bool = True,
) -> Path:
    """Converts, proves and bundles a trained network.

    Args:
        run_folder: Folder with `run.json` and `model.safetensors`.
        snapshot_file: The snapshot it was trained on.
        blob_folder: The store with its pictures, or its `blobs` folder.
        out: The bundle folder to make; a finished one for the same job is returned as it is.
        name: Name of the bundle.
        version: Version of the bundle.
        application: Policies and limits.
        choice: Which models to try and to keep; the default order, and the first that is good enough, by default.
        cache: Folder of what earlier conversions made; None to keep nothing.
        progress: Show a progress bar.

    Returns:
        The bundle folder.

    Raises:
        UsageError: The run was not trained on that snapshot.
    """
    from cloud_train.datasets.snapshot import load_snapshot
    from cloud_train.store.opened import open_blobs
    from cloud_train.training.classifier import load_trained
    from converters.cache import ConversionCache
    from converters.pipeline import ConversionJob
    from converters.pipeline import convert as convert_job

    snapshot = load_snapshot(snapshot_file)
    run, network = load_trained(run_folder)
    if run.snapshot != jsonvalue.digest_of(snapshot):
        raise UsageError(
            f"{run_folder}: was not trained on snapshot {snapshot_file.name}", hint=f"use snapshot {run.snapshot}.json"
        )
    blobs = open_blobs(blob_folder)
    wanted = choice or ConversionChoice()
    job = ConversionJob(
        network=network,
        name=name,
        version=version,
        labels=run.classes,
        preprocess=run.preprocess,
        temperature=run.temperature,
        calibration=calibration_pictures(snapshot, blobs),
        validation=validation_pictures(snapshot, blobs),
        limits=wanted.limits or application.limits,
        decision=application.decision,
        keep=application.keep,
        capture=wanted.capture or application.capture,
        provenance=provenance_of(run),
        out=out,
        recipes=wanted.recipes,
        also=wanted.also,
        search=wanted.search,
        sensitivity=wanted.sensitivity,
        fine_tune=wanted.fine_tune,
    )
    return convert_job(job, cache=ConversionCache(folder=cache), progress=progress)


def reprove_bundle(
    bundle_folder: Path, snapshot_file: Path, blob_folder: Path, *, tick: Callable[[], None] = lambda: None
) -> Reproved:
    """Makes the proof of a bundle again, from the bundle and its snapshot.

    Args:
        bundle_folder: A bundle that was trained here.
        snapshot_file: The snapshot it was trained on.
        blob_folder: The store with its pictures, or its `blobs` folder.
        tick: Called after each picture of each model.

    Raises:
        UsageError: The bundle was not trained on that snapshot, or has no proof that can be made again.
    """
    from cloud_train.datasets.snapshot import load_snapshot
    from cloud_train.store.opened import open_blobs
    from converters.reprove import reprove
    from edge.bundle.reader import open_bundle

    bundle, snapshot = open_bundle(bundle_folder), load_snapshot(snapshot_file)
    if bundle.manifest.provenance.snapshot != jsonvalue.digest_of(snapshot):
        raise UsageError(
            f"{bundle_folder}: was not trained on snapshot {snapshot_file.name}",
            hint=f"use snapshot {bundle.manifest.provenance.snapshot}.json",
        )
    return reprove(bundle, validation_pictures(snapshot, open_blobs(blob_folder)), tick=tick)


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
    from converters.examples import Picture

    most = max(CALIBRATION_PICTURES, len(snapshot.classes))
    chosen = _classes_in_turn(snapshot.of(Split.TRAIN))[:most]
    return tuple(Picture(digest=item.digest, path=blobs.path(item.digest)) for item in chosen)


def validation_pictures(snapshot: DatasetSnapshot, blobs: BlobStore) -> tuple[LabelledPicture, ...]:
    """Validation pictures for the proof; training never saw them."""
    from converters.examples import LabelledPicture

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

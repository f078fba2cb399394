"""The steps of the demo that the product does not have: pictures to start with, a device to watch, labels to give."""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cloud_train.demo.options import DemoOptions
from cloud_train.demo.processes import CHANNEL, DemoProcesses
from cloud_train.retrain.plan import Addition, RetrainPlan, RetrainResult
from cloud_train.store.layout import StoreLayout
from cloud_train.types import SnapshotItem
from edge import jsonvalue
from edge.bundle.reader import open_bundle
from edge.durable import make_folder, publish_folder, write_bytes
from edge.errors import EdgeloopError

FIRST_PASS_TIMEOUT_S = 900.0
SWAP_TIMEOUT_S = 180.0
FRAMES_AFTER_SWAP = 50


@dataclass(frozen=True, slots=True, kw_only=True)
class Prepared:
    """The data of a demo.

    Attributes:
        snapshot: Digest of the snapshot of everything.
        told: Digest of the part that version 1 may learn from, test pictures included.
        unknown: Classes that version 1 does not know.
        field: The pictures that only the device sees at first, in the order it sees them.
        skipped: Files that could not be read, as `relative path: reason`.
        num_duplicates: Exact duplicates that were left out.
    """

    snapshot: str
    told: str
    unknown: tuple[str, ...]
    field: tuple[SnapshotItem, ...]
    skipped: tuple[str, ...] = ()
    num_duplicates: int = 0


def make_pictures(options: DemoOptions) -> Path:
    """The ImageFolder to start from: the given one, or freshly drawn shelf products."""
    if options.data:
        return Path(options.data)
    from model_zoo.shelf.synthetic import write_dataset

    folder = options.folder / "pictures"
    write_dataset(folder, seed=options.seed, per_class=options.per_class)
    return folder


def prepare_data(options: DemoOptions, pictures: Path) -> Prepared:
    """Freezes the pictures, holds part of the labels back, and lays out what passes before the device."""
    from cloud_train.datasets.holdback import hold_back
    from cloud_train.datasets.snapshot import build_snapshot, save_snapshot
    from cloud_train.store.named import share_snapshots
    from cloud_train.store.opened import open_store

    layout, store = StoreLayout(root=options.store), open_store(options.store)
    make_folder(layout.snapshots)
    blobs = store.blobs
    snapshot = build_snapshot(pictures, blobs, name=options.application)
    held = hold_back(
        snapshot,
        unknown_classes=unknown_classes(options),
        num_unknown=options.num_unknown,
        field_fraction=options.field_fraction,
        seed=options.seed,
    )
    field = list(held.field)
    random.Random(options.seed).shuffle(field)  # noqa: S311 - an order, not a secret
    lay_out_field(options, field, blobs.path)
    digest, told = (save_snapshot(one, layout.snapshots) for one in (snapshot, held.told))
    share_snapshots(store)
    return Prepared(
        snapshot=digest,
        told=told,
        unknown=held.unknown,
        field=tuple(field),
        skipped=snapshot.skipped,
        num_duplicates=snapshot.num_duplicates,
    )


def unknown_classes(options: DemoOptions) -> tuple[str, ...] | None:
    """Classes that version 1 shall not know; None to let the seed choose."""
    if options.data:
        return None
    from model_zoo.shelf.synthetic import UNKNOWN_TO_V1

    return tuple(UNKNOWN_TO_V1)


def lay_out_field(options: DemoOptions, field: list[SnapshotItem], path_of: Any) -> None:  # noqa: ANN401 - a function
    """Writes the field's pictures under names that tell nothing, whole folder or nothing."""
    if options.field.exists():
        return
    staging = options.folder / ".field"
    shutil.rmtree(staging, ignore_errors=True)
    make_folder(staging)
    for number, item in enumerate(field):
        shutil.copyfile(path_of(item.digest), staging / f"{number:05d}{Path(item.origin).suffix.lower()}")
    publish_folder(staging, options.field, point="demo.field")


def watch_first_pass(options: DemoOptions, processes: DemoProcesses) -> dict[str, Any]:
    """Lets the device see every field picture once and waits until all it kept has arrived.

    Returns:
        The device's status at that moment.
    """
    saved = options.folder / "first_pass.json"
    if not saved.exists():
        processes.device()

        def done() -> bool:
            status = processes.device_status()
            return bool(status) and status["passes"] >= 1 and status["outbox_pending"] == 0

        processes.wait_for(done, what="the device's first pass", timeout_s=FIRST_PASS_TIMEOUT_S)
        write_bytes(saved, jsonvalue.pretty_bytes(processes.device_status()), point="demo.first_pass")
    return jsonvalue_object(saved)


def answer_samples(options: DemoOptions, processes: DemoProcesses, prepared: Prepared, judged_by: str) -> int:
    """Labels every waiting sample that `judged_by` was unsure of, with the data set's own label.

    The answer goes over the network through the call that a person's click makes.

    Returns:
        How many samples have a label now.
    """
    from cloud_train.retrain.steps import labelled_samples
    from cloud_train.review.answers import answer_tasks
    from cloud_train.review.tasks import next_tasks
    from cloud_train.store.opened import open_store
    from edge.sync.grpc_transport import GrpcTransport

    layout = StoreLayout(root=options.store)
    truth = {item.digest: item.label for item in prepared.field}
    with (
        open_store(options.store) as store,
        contextlib.closing(GrpcTransport(processes.server())) as transport,
    ):
        waiting = [
            task for task in next_tasks(store.meta, limit=1_000_000) if task.record.metadata.bundle_digest == judged_by
        ]
        answer_tasks(waiting, truth, transport, who="dataset:demo", now=time.time)
    return len(labelled_samples(layout))


def first_plan(options: DemoOptions, prepared: Prepared) -> RetrainPlan:
    """Version 1: from what the field has told so far."""
    return RetrainPlan(
        store=str(options.store),
        name=options.application,
        version=1,
        application=options.application,
        parent=prepared.told,
        initial_weights=options.weights,
        epochs=options.epochs,
        channel=CHANNEL,
    )


def second_plan(options: DemoOptions, prepared: Prepared, first: RetrainResult) -> RetrainPlan:
    """Version 2: with the labelled samples, against version 1."""
    return RetrainPlan(
        store=str(options.store),
        name=options.application,
        version=2,
        application=options.application,
        parent=prepared.told,
        add_labelled_samples=True,
        initial_weights=options.weights,
        epochs=options.epochs,
        champion=first.report,
        channel=CHANNEL,
    )


def control_plan(options: DemoOptions, prepared: Prepared, num_samples: int) -> RetrainPlan:
    """The control: as many field pictures as were kept, drawn at random; evaluated, never published."""
    drawn = random.Random(options.seed + 1).sample(list(prepared.field), num_samples)  # noqa: S311 - an experiment, not a secret
    return RetrainPlan(
        store=str(options.store),
        name=f"{options.application}-random",
        version=2,
        application=options.application,
        parent=prepared.told,
        additions=tuple(Addition(digest=item.digest, label=item.label, origin="random:demo") for item in drawn),
        initial_weights=options.weights,
        epochs=options.epochs,
    )


def watch_swap(options: DemoOptions, processes: DemoProcesses, published: RetrainResult) -> dict[str, Any]:
    """Waits until the running device has installed the second bundle and answered frames with it, then stops it.

    Returns:
        The device's last status.
    """
    saved = options.folder / "swap.json"
    if not saved.exists():
        require_published("version 2", published)
        processes.device()

        def swapped() -> bool:
            status = processes.device_status()
            answered = status.get("frames_by_bundle", {}).get(published.bundle_digest, 0)
            return status.get("bundle_digest") == published.bundle_digest and answered >= FRAMES_AFTER_SWAP

        processes.wait_for(swapped, what="the device to run version 2", timeout_s=SWAP_TIMEOUT_S)
        processes.stop_device()
        write_bytes(saved, (options.device / "status.json").read_bytes(), point="demo.swap")
    return jsonvalue_object(saved)


def require_published(name: str, result: RetrainResult) -> None:
    """Ends the demo where a version did not pass its gate.

    Raises:
        EdgeloopError: It did not; the message says which rule failed.
    """
    if not result.published:
        failed = "; ".join(reason for reason in result.gate_reasons if ": failed" in reason)
        raise EdgeloopError(
            f"{name} did not pass the gate, so it was not published: {failed}",
            hint="train longer or on more pictures, in another --work folder",
        )


def check_bundle(result: RetrainResult) -> None:
    """Reopens a finished bundle; every digest is checked."""
    if open_bundle(Path(result.bundle)).digest != result.bundle_digest:
        raise EdgeloopError(
            f"{result.bundle} is not the bundle that was evaluated", hint="delete the work folder and start again"
        )


def jsonvalue_object(path: Path) -> dict[str, Any]:
    """A JSON object from a file of ours."""
    value = jsonvalue.parse(path.read_bytes(), where=os.fspath(path))
    return value if isinstance(value, dict) else {}

"""From a prediction id back to the training pictures, on a small real store."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
from picture_folders import patterned
from serving import Finished

from cloud_train.datasets.snapshot_file import save_snapshot
from cloud_train.store.layout import StoreLayout
from cloud_train.trace import trace_prediction
from cloud_train.types import DatasetSnapshot, SnapshotItem, Split, TrainRun
from edge import jsonvalue
from edge.bundle.manifest import PreprocessSpec, Provenance
from edge.bundle.reader import open_bundle
from edge.engine import open_engine
from edge.errors import UsageError

RunHere = Callable[..., Finished]


@dataclass(frozen=True, slots=True, kw_only=True)
class Traced:
    """A store whose bundle judged one picture."""

    layout: StoreLayout
    prediction: str
    picture: str
    bundle: str
    run: str
    snapshots: tuple[str, str]

    @property
    def run_folder(self) -> Path:
        return self.layout.runs / "shelf-0123"


def item(label: str, number: int, split: Split, origin: str) -> SnapshotItem:
    digest = jsonvalue.digest_of([label, number])
    return SnapshotItem(digest=digest, label=label, split=split, group=digest, origin=origin)


def write_snapshots(layout: StoreLayout) -> tuple[str, str]:
    """A first snapshot and one that extends it by a sample."""
    items = [item("red", 1, Split.TRAIN, "file:red/1.png"), item("blue", 2, Split.TEST, "file:blue/2.png")]
    first = DatasetSnapshot(format_version=1, name="first", classes=("blue", "red"), items=by_digest(items))
    parent = save_snapshot(first, layout.snapshots)
    items += [item("blue", 3, Split.TRAIN, "sample:till-1"), item("blue", 4, Split.VAL, "sample:till-1")]
    second = DatasetSnapshot(
        format_version=1, name="second", classes=("blue", "red"), items=by_digest(items), parent=parent
    )
    return parent, save_snapshot(second, layout.snapshots)


def by_digest(items: list[SnapshotItem]) -> tuple[SnapshotItem, ...]:
    return tuple(sorted(items, key=lambda one: one.digest))


def run_on(snapshot: str) -> TrainRun:
    return TrainRun(
        snapshot=snapshot,
        recipe="shelf-e3",
        recipe_digest="ab" * 32,
        architecture="test_resnet",
        preprocess=PreprocessSpec(width=32, height=32),
        mean=(0.0, 0.0, 0.0),
        std=(1.0, 1.0, 1.0),
        classes=("blue", "green", "red"),
        seed=11,
        weights="cd" * 32,
        initial_weights="",
        epochs=3,
        best_epoch=1,
        val_accuracy=80.0,
        temperature=1.0,
    )


@pytest.fixture
def traced(tmp_path: Path, make_bundle: Callable[..., Path]) -> Traced:
    layout = StoreLayout(root=tmp_path / "store")
    snapshots = write_snapshots(layout)
    run = run_on(snapshots[1])
    traced_run = jsonvalue.digest_of(run)
    provenance = Provenance(
        run=traced_run, snapshot=run.snapshot, train_recipe=run.recipe, seed=11, weights=run.weights, producer="test"
    )
    make_bundle(layout.bundles / "other", version=1)
    folder = make_bundle(layout.bundles / "shelf-v2", version=2, provenance=provenance)
    with open_engine(folder) as engine:
        said = engine.infer(patterned("before the device"))
    made = Traced(
        layout=layout,
        prediction=said.prediction_id,
        picture=said.picture_digest,
        bundle=open_bundle(folder).digest,
        run=traced_run,
        snapshots=snapshots,
    )
    made.run_folder.mkdir(parents=True)
    (made.run_folder / "run.json").write_bytes(jsonvalue.pretty_bytes(run))
    return made


def test_the_whole_way_back(traced: Traced) -> None:
    found = trace_prediction(traced.prediction, traced.layout)
    assert traced.picture.startswith(found.picture)
    assert len(found.picture) == 12
    assert (found.bundle, found.bundle_version) == (traced.bundle, 2)
    assert (found.run, found.train_recipe, found.seed) == (traced.run, "shelf-e3", 11)
    assert (*found.parents, found.snapshot) == traced.snapshots
    training = [item("red", 1, Split.TRAIN, "file:red/1.png"), item("blue", 3, Split.TRAIN, "sample:till-1")]
    assert found.pictures == tuple((one.digest, one.label, one.origin) for one in by_digest(training))


def test_the_command_for_people(traced: Traced, run_here: RunHere) -> None:
    finished = run_here("trace", traced.prediction, "--store", traced.layout.root)
    assert (finished.returncode, finished.stderr) == (0, "")
    wanted = (traced.prediction, traced.bundle, traced.run, traced.snapshots[1], traced.snapshots[0])
    places = [finished.stdout.index(digest) for digest in wanted]
    assert places == sorted(places), "from the prediction back to the first snapshot"
    assert "2 training pictures, 1 of them samples from devices" in finished.stdout
    assert f"{item('blue', 3, Split.TRAIN, '').digest} blue (sample:till-1)" in finished.stdout


def test_the_command_for_scripts(traced: Traced, run_here: RunHere) -> None:
    finished = run_here("trace", traced.prediction, "--store", traced.layout.root, "--json")
    assert json.loads(finished.stdout) == jsonvalue.to_json(trace_prediction(traced.prediction, traced.layout))


def test_what_a_killed_conversion_and_training_left_is_passed_over(traced: Traced) -> None:
    for half in (traced.layout.bundles / ".shelf-v3.work" / "manifest.json", traced.layout.runs / ".a" / "run.json"):
        half.parent.mkdir()
        half.write_text('{"format_ver')
    assert trace_prediction(traced.prediction, traced.layout).bundle == traced.bundle


@pytest.mark.parametrize(
    "prediction",
    ["", "nonsense", "0123456789ab", "0123456789ab-", "0123456789AB-0123456789ab", "0123456789ab-0123456789abc"],
)
def test_what_is_no_prediction_id(traced: Traced, prediction: str) -> None:
    with pytest.raises(UsageError, match=r"is not a prediction id \(take one from predictions\.jsonl"):
        trace_prediction(prediction, traced.layout)


def test_every_missing_link_is_named(traced: Traced, run_here: RunHere) -> None:
    """Takes the chain apart from its far end."""
    first, second = (traced.layout.snapshot(digest) for digest in traced.snapshots)
    first.unlink()
    assert trace_prediction(traced.prediction, traced.layout).parents == traced.snapshots[:1]
    links = [
        (second, str(second)),
        (traced.run_folder, f"no training run {traced.run[:12]}"),
        (traced.layout.bundles / "shelf-v2", f"no bundle {traced.bundle[:12]}"),
    ]
    for path, line in links:
        shutil.rmtree(path) if path.is_dir() else path.unlink()
        finished = run_here("trace", traced.prediction, "--store", traced.layout.root)
        assert (finished.returncode, finished.stdout) == (2, "")
        assert finished.stderr.startswith("edgeloop: error: ")
        assert line in finished.stderr
        assert finished.stderr.count("\n") == 1

"""The steps of a retraining on a small real store; training and conversion have tests of their own."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path

import pytest
from picture_folders import patterned, write_folder
from report_values import made_report
from sample_values import sample_of

from cloud_train.datasets.snapshot import build_snapshot, load_snapshot, save_snapshot
from cloud_train.errors import PublishError
from cloud_train.publish.repository import open_repository
from cloud_train.retrain import steps
from cloud_train.retrain.plan import Addition, RetrainPlan
from cloud_train.review.labels import record_feedback
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.layout import StoreLayout
from cloud_train.store.sql import open_meta_store
from cloud_train.types import SampleRecord, Split
from edge import jsonvalue
from edge.bundle.manifest import Verdict
from edge.bundle.reader import open_bundle
from edge.errors import UsageError
from edge.types import Feedback, FeedbackKind

NOW = 1_800_000_000.0


@pytest.fixture
def layout(tmp_path: Path) -> StoreLayout:
    """A store with a snapshot of two classes."""
    return StoreLayout(root=tmp_path / "store")


@pytest.fixture
def plan(layout: StoreLayout, tmp_path: Path) -> RetrainPlan:
    pictures = write_folder(tmp_path / "pictures", {"bread": 8, "jam": 8})
    snapshot = build_snapshot(pictures, FolderBlobStore(layout.blobs), name="parent")
    parent = save_snapshot(snapshot, layout.snapshots)
    return RetrainPlan(store=str(layout.root), name="shelf", version=2, application="shelf", parent=parent)


def receive(layout: StoreLayout, name: str, *answers: tuple[str, str]) -> str:
    """Puts a sample into the store with answers `(who, label)`; the label "-" is none of these."""
    sample = sample_of(patterned(name))
    FolderBlobStore(layout.blobs).put(sample.payload)
    record = SampleRecord(
        digest=sample.digest, size_bytes=len(sample.payload), received_at=NOW, metadata=sample.metadata
    )
    with contextlib.closing(open_meta_store(layout.meta)) as meta:
        meta.add_samples((record,))
        for who, label in answers:
            kind = FeedbackKind.NONE_OF_THESE if label == "-" else FeedbackKind.CORRECTED
            feedback = Feedback(kind=kind, label="" if label == "-" else label, who=who, at=NOW)
            record_feedback(meta, sample.digest, feedback)
    return sample.digest


def receive_all(layout: StoreLayout) -> dict[str, str]:
    """Samples in every state; answers the digests of the two settled ones."""
    receive(layout, "nobody")
    receive(layout, "tied", ("ann", "jam"), ("bob", "bread"))
    receive(layout, "none", ("ann", "-"))
    settled = receive(layout, "settled", ("ann", "jam"))
    outvoted = receive(layout, "outvoted", ("ann", "honey"), ("bob", "jam"), ("cid", "honey"))
    return {settled: "jam", outvoted: "honey"}


def test_labelled_samples_are_the_settled_ones(layout: StoreLayout) -> None:
    settled = receive_all(layout)
    expected = sorted((digest, label, "sample:kiosk-1") for digest, label in settled.items())
    assert steps.labelled_samples(layout) == tuple(expected)


def test_freeze_adds_the_settled_samples_and_nothing_else(layout: StoreLayout, plan: RetrainPlan) -> None:
    settled = receive_all(layout)
    plan = dataclasses.replace(plan, add_labelled_samples=True)
    snapshot = load_snapshot(layout.snapshot(steps.freeze(plan)))
    parent = load_snapshot(layout.snapshot(plan.parent))
    added = {item.digest: item for item in snapshot.items if item not in parent.items}
    assert {digest: item.label for digest, item in added.items()} == settled
    assert {item.origin for item in added.values()} == {"sample:kiosk-1"}
    assert Split.TEST not in {item.split for item in added.values()}
    assert snapshot.parent == plan.parent
    assert snapshot.classes == ("bread", "honey", "jam")


def test_freeze_twice_is_one_snapshot(layout: StoreLayout, plan: RetrainPlan) -> None:
    receive_all(layout)
    plan = dataclasses.replace(plan, add_labelled_samples=True)
    assert steps.freeze(plan) == steps.freeze(plan)
    assert len(list(layout.snapshots.iterdir())) == 2


@pytest.mark.parametrize("samples", [True, False], ids=["samples asked for", "nothing asked for"])
def test_freeze_gives_the_parent_back_when_nothing_was_added(
    layout: StoreLayout, plan: RetrainPlan, samples: bool
) -> None:
    receive(layout, "nobody")
    assert steps.freeze(dataclasses.replace(plan, add_labelled_samples=samples)) == plan.parent
    assert len(list(layout.snapshots.iterdir())) == 1


def test_freeze_leaves_samples_alone_that_were_not_asked_for(layout: StoreLayout, plan: RetrainPlan) -> None:
    receive_all(layout)
    digest = FolderBlobStore(layout.blobs).put(patterned("drawn at random"))
    addition = Addition(digest=digest, label="bread", origin="random:demo")
    snapshot = load_snapshot(layout.snapshot(steps.freeze(dataclasses.replace(plan, additions=(addition,)))))
    parent = load_snapshot(layout.snapshot(plan.parent))
    assert [(item.digest, item.origin) for item in snapshot.items if item not in parent.items] == [
        (digest, "random:demo")
    ]


def test_evaluate_writes_a_report_once(layout: StoreLayout, plan: RetrainPlan, tiny_bundle: Path) -> None:
    path = Path(steps.evaluate(plan, plan.parent, str(tiny_bundle)))
    assert path.parent == layout.reports
    report = steps.read_report(path)
    assert (report.bundle, report.snapshot) == (open_bundle(tiny_bundle).digest, plan.parent)
    assert report.split is Split.TEST
    before = path.stat()
    assert steps.evaluate(plan, plan.parent, str(tiny_bundle)) == str(path)
    assert (path.stat().st_ino, path.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)


def test_a_missing_report_is_named(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"gone\.json: no such report \(evaluate the bundle first\)"):
        steps.read_report(tmp_path / "gone.json")


@pytest.fixture
def reports(tmp_path: Path) -> dict[str, str]:
    """Paths of three evaluations on the same pictures."""
    shares = {"chance": 0.1, "fair": 0.6, "good": 0.95}
    for name, share in shares.items():
        report = made_report(name, lambda _, share=share: share)
        (tmp_path / f"{name}.json").write_bytes(jsonvalue.pretty_bytes(report))
    return {name: str(tmp_path / f"{name}.json") for name in shares}


@pytest.mark.parametrize(
    ("champion", "challenger", "passed"),
    [
        ("fair", "good", True),
        ("good", "fair", False),
        ("", "fair", True),
        ("", "chance", False),
    ],
    ids=["better", "worse", "a first release", "a first release no better than chance"],
)
def test_the_gate_holds_the_report_against_the_plans_champion(
    plan: RetrainPlan, reports: dict[str, str], champion: str, challenger: str, passed: bool
) -> None:
    plan = dataclasses.replace(plan, champion=reports.get(champion, ""))
    verdict = steps.gate(plan, reports[challenger])
    assert verdict.passed is passed
    assert (verdict.gain.value == 0) is (champion == "")


def test_publish_offers_the_bundle_on_the_plans_channel(
    layout: StoreLayout, plan: RetrainPlan, tiny_bundle: Path
) -> None:
    release = steps.publish(dataclasses.replace(plan, channel="beta"), str(tiny_bundle), now=NOW)
    assert (release.channel, release.bundle_digest) == ("beta", open_bundle(tiny_bundle).digest)
    repository = open_repository(layout.root, now=NOW)
    assert repository.current("beta") == release
    assert repository.current("stable") is None


def test_publish_refuses_what_is_not_proven(
    plan: RetrainPlan, tmp_path: Path, make_bundle: Callable[..., Path]
) -> None:
    unproven = make_bundle(tmp_path / "unproven", verdict=Verdict.FAIL)
    with pytest.raises(PublishError):
        steps.publish(dataclasses.replace(plan, channel="stable"), str(unproven), now=NOW)

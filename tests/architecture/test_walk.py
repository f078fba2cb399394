"""docs/architecture.md's table of steps is true: every entry exists, and one picture passes through them in order."""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import itertools
import re
import sys
import threading
import time
from pathlib import Path
from types import CodeType, FrameType

import numpy as np
import pytest
from PIL import Image

from cloud_train.ingest.server import running_server
from cloud_train.publish.publish import publish_bundle
from cloud_train.retrain import steps
from cloud_train.retrain.plan import RetrainPlan
from cloud_train.store.blobs import FolderBlobStore
from cloud_train.store.layout import StoreLayout
from cloud_train.types import Split
from edge import commands
from edge.settings import AgentSettings
from edge.sync.grpc_transport import GrpcTransport
from edge.types import Feedback, FeedbackKind

ROOT = Path(__file__).resolve().parents[2]
ROW = re.compile(r"^\| (device|sync|cloud|update) \| ([^|]+) \| [^|]+ \| `([^`:]+):([^`]+)` \|$", re.MULTILINE)


@dataclasses.dataclass(frozen=True)
class Step:
    part: str
    name: str
    file: str
    function: str

    def code(self) -> CodeType:
        found = importlib.import_module(self.file.removesuffix(".py").replace("/", "."))
        for attribute in self.function.split("."):
            found = getattr(found, attribute)
        return found.__code__


STEPS = [Step(*groups) for groups in ROW.findall((ROOT / "docs" / "architecture.md").read_text())]


class Recorder:
    """Notes, in order and in every thread, which functions of the part at hand are entered.

    A part begins with its first function: a model's warm-up run before the picture is captured is no step of the walk.
    """

    def __init__(self) -> None:
        self._codes: dict[CodeType, str] = {}
        self._first = ""
        self._seen: list[FrameType] = []
        self.calls: list[str] = []

    def __call__(self, frame: FrameType, event: str, argument: object) -> None:
        name = self._codes.get(frame.f_code) if event == "call" else None
        if name is None or (not self.calls and name != self._first):
            return
        if not any(frame is seen for seen in self._seen):  # a generator is entered again at every value
            self._seen.append(frame)
            self.calls.append(name)

    @contextlib.contextmanager
    def part(self, part: str):
        self._codes = {step.code(): step.name for step in STEPS if step.part == part}
        self._first, self.calls = expected(part)[0], []
        sys.setprofile(self)
        try:
            yield
        finally:
            sys.setprofile(None)
            self._codes = {}
        assert self.calls == expected(part)


@pytest.fixture
def recorder():
    recorder = Recorder()
    threading.setprofile(recorder)
    yield recorder
    threading.setprofile(None)


def expected(part: str) -> list[str]:
    return [step.name for step in STEPS if step.part == part]


@pytest.mark.parametrize("step", STEPS, ids=lambda step: f"{step.part}-{step.name}")
def test_every_entry_of_the_table_exists(step):
    assert Path(step.code().co_filename) == ROOT / step.file


def test_the_table_covers_the_loop():
    assert len(STEPS) >= 20
    assert [part for part, _ in itertools.groupby(step.part for step in STEPS)] == [
        "device",
        "sync",
        "cloud",
        "update",
    ]


COLOURS = {"red": (200, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 200)}


def write_pictures(folder: Path) -> None:
    """An ImageFolder of noisy red, green and blue pictures."""
    rng = np.random.default_rng(5)
    for label, colour in COLOURS.items():
        (folder / label).mkdir(parents=True)
        for number in range(14):
            coarse = np.clip(rng.normal(colour, 60, (6, 6, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(coarse).resize((48, 48), Image.Resampling.BICUBIC).save(folder / label / f"{number}.png")


@pytest.mark.slow  # most of a minute: two trainings and conversions
def test_one_picture_walks_through_every_step_once(tmp_path, make_bundle, recorder):
    layout = StoreLayout(root=tmp_path / "store")
    publish_bundle(make_bundle(tmp_path / "first", version=1), layout.root, channel="stable", now=time.time())
    write_pictures(tmp_path / "pictures")
    from cloud_train.datasets.snapshot import build_snapshot, save_snapshot

    layout.snapshots.mkdir(parents=True)
    snapshot = build_snapshot(tmp_path / "pictures", FolderBlobStore(layout.blobs), name="walk")
    parent = save_snapshot(snapshot, layout.snapshots)
    field = tmp_path / "field"
    field.mkdir()
    # A grey picture: the first bundle knows colours only and cannot be sure.
    Image.new("RGB", (40, 30), (120, 118, 119)).save(field / "grey.png")

    with running_server(layout.root) as server:
        settings = AgentSettings(
            home=tmp_path / "device",
            device_id="walker",
            server=server.target,
            source=str(field),
            payload="original",
            passes=1,
            root=layout.root / "repository" / "metadata" / "1.root.json",
        )
        commands.update_once(settings, progress=lambda done, total: None)
        with recorder.part("device"):
            run_offline(settings)
        with recorder.part("sync"):
            commands.sync_once(settings)
        digest = kept_digest(layout)
        with contextlib.closing(GrpcTransport(server.target)) as transport:
            transport.annotate(digest, Feedback(kind=FeedbackKind.CORRECTED, label="red", who="test", at=1.0))
        plan = RetrainPlan(
            store=str(layout.root),
            name="tiny",
            version=2,
            application="shelf",
            parent=parent,
            add_labelled_samples=True,
            epochs=1,
            channel="stable",
        )
        with recorder.part("cloud"):
            say_again(layout, digest)
            frozen = steps.freeze(plan)
            run = steps.train(plan, frozen, progress=False)
            bundle = steps.convert(plan, frozen, run, progress=False)
            report = steps.evaluate(plan, frozen, bundle)
            steps.gate(plan, report)
            steps.publish(plan, bundle, now=time.time())
        with recorder.part("update"):
            commands.update_once(settings, progress=lambda done, total: None)

    from cloud_train.datasets.snapshot import load_snapshot

    learnt = load_snapshot(layout.snapshot(frozen))
    assert any(item.digest == digest and item.split is not Split.TEST for item in learnt.items)


def run_offline(settings: AgentSettings) -> None:
    from edge.agent import Agent

    Agent(settings, transport=None, say=lambda line: None).run()


def kept_digest(layout: StoreLayout) -> str:
    from cloud_train.store.sql import open_meta_store

    with contextlib.closing(open_meta_store(layout.meta)) as meta:
        (record,) = meta.samples()
    return record.digest


def say_again(layout: StoreLayout, digest: str) -> None:
    """The handler behind the call, in this thread: a second person agrees."""
    from cloud_train.review.labels import record_feedback
    from cloud_train.store.sql import open_meta_store

    with contextlib.closing(open_meta_store(layout.meta)) as meta:
        record_feedback(meta, digest, Feedback(kind=FeedbackKind.CORRECTED, label="red", who="other", at=2.0))

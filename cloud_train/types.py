"""The values of the cloud side."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from edge.bundle.manifest import PreprocessSpec
from edge.outbox.base import SampleMetadata
from edge.types import FeedbackKind


class Split(enum.Enum):
    """The part of a data set a picture belongs to, for ever."""

    TRAIN = "train"
    VAL = "val"
    TEST = "test"


@dataclass(frozen=True, slots=True, kw_only=True)
class SnapshotItem:
    """One picture of a snapshot.

    Attributes:
        digest: SHA-256 of the file, hex; its name in the blob store.
        label: Name of the class.
        split: Where it belongs.
        group: Pictures of one group (near duplicates) share a split; the smallest digest of the group.
        origin: Where it came from: `file:<relative path>` or `sample:<device id>`.
    """

    digest: str
    label: str
    split: Split
    group: str
    origin: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetSnapshot:
    """A frozen data set. Its digest is that of its canonical bytes. Format page: docs/formats/snapshot.md.

    Attributes:
        format_version: 1.
        name: For people.
        classes: Class names, sorted; the order of the logits.
        items: Sorted by digest.
        parent: Digest of the snapshot this one extends, empty for a first one.
        skipped: Files that could not be read, as `relative path: reason`.
        num_duplicates: Exact duplicates that were left out.
    """

    format_version: int
    name: str
    classes: tuple[str, ...]
    items: tuple[SnapshotItem, ...]
    parent: str = ""
    skipped: tuple[str, ...] = ()
    num_duplicates: int = 0

    def of(self, split: Split) -> tuple[SnapshotItem, ...]:
        """The items of one split, sorted by digest."""
        return tuple(item for item in self.items if item.split is split)


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainRun:
    """One training. Its digest is that of its canonical bytes.

    Attributes:
        snapshot: Digest of the snapshot.
        recipe: Name of the recipe.
        recipe_digest: Digest of the recipe's canonical bytes.
        architecture: timm name of the network.
        preprocess: How its input is made.
        mean: As in `ModelDef`.
        std: As in `ModelDef`.
        classes: In the order of the logits.
        seed: Of everything random.
        weights: SHA-256 of `model.safetensors` beside the run file, hex.
        initial_weights: SHA-256 of the weights it started from, empty from scratch.
        epochs: Passes that were made.
        best_epoch: The pass whose weights were kept, from 0.
        val_accuracy: At that pass, in points.
        temperature: Fitted on the validation split.
    """

    snapshot: str
    recipe: str
    recipe_digest: str
    architecture: str
    preprocess: PreprocessSpec
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    classes: tuple[str, ...]
    seed: int
    weights: str
    initial_weights: str
    epochs: int
    best_epoch: int
    val_accuracy: float
    temperature: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Interval:
    """A figure with its 95 % interval.

    Attributes:
        value: The figure.
        lower: Lower bound.
        upper: Upper bound.
    """

    value: float
    lower: float
    upper: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureResult:
    """What a model said about one picture of a split.

    Attributes:
        digest: The picture.
        truth: Its label.
        predicted: The best class.
        confidence: Its calibrated probability.
        outcome: `accept`, `confirm` or `unknown`.
    """

    digest: str
    truth: str
    predicted: str
    confidence: float
    outcome: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScoreRow:
    """Accuracy of one class.

    Attributes:
        label: The class.
        num: Pictures of it.
        recall: Share that was recognised, in points.
        precision: Share of its predictions that were right, in points.
        f1: Harmonic mean of both, in points.
    """

    label: str
    num: int
    recall: float
    precision: float
    f1: float


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalReport:
    """A model on a split, through the edge pipeline.

    Attributes:
        bundle: Digest of the bundle.
        artifact: File name of the model that ran.
        snapshot: Digest of the snapshot.
        split: Which part.
        accuracy: Top-1, in points, with a Wilson interval.
        macro_f1: Mean F1 over the classes, in points.
        classes: One row a class of the snapshot.
        pictures: One result a picture, sorted by digest.
        majority_baseline: Accuracy of always naming the commonest training class, in points.
        histogram_baseline: Accuracy of a logistic regression on colour histograms, in points.
        latency_p50_ms: Median of the whole way from picture to decision.
    """

    bundle: str
    artifact: str
    snapshot: str
    split: Split
    accuracy: Interval
    macro_f1: float
    classes: tuple[ClassScoreRow, ...]
    pictures: tuple[PictureResult, ...]
    majority_baseline: float
    histogram_baseline: float
    latency_p50_ms: float


@dataclass(frozen=True, slots=True, kw_only=True)
class GateResult:
    """Challenger against champion on the frozen test split.

    Attributes:
        passed: Whether the challenger may be published.
        gain: Challenger minus champion, paired, in points.
        reasons: One line a rule, as `name: ok|failed: detail`.
    """

    passed: bool
    gain: Interval
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleRecord:
    """A sample the server holds durably.

    Attributes:
        digest: SHA-256 of the payload, hex.
        size_bytes: Its size.
        received_at: Seconds since the epoch, UTC.
        metadata: What the device knew.
        checked_at: When its picture was decoded whole in the worker, None before.
        fault: Why that failed: the sample is in quarantine, kept and shown to nobody. Empty for a sound one.
    """

    digest: str
    size_bytes: int
    received_at: float
    metadata: SampleMetadata
    checked_at: float | None = None
    fault: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Label:
    """What one person said about one sample.

    Attributes:
        digest: The sample.
        kind: Confirmed, corrected, or none of the known classes.
        label: The class; empty for none of these.
        who: Who said so.
        at: Seconds since the epoch, UTC.
    """

    digest: str
    kind: FeedbackKind
    label: str
    who: str
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ReviewTask:
    """A sample that waits for a person, most instructive first.

    Attributes:
        record: The sample.
    """

    record: SampleRecord


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRecord:
    """What the server knows of a device.

    Attributes:
        device_id: Its name.
        last_seen: Seconds since the epoch, UTC.
        bundle_digest: What it runs.
        bundle_version: Its version.
        frames: Frames answered since its start.
        last_error: Its newest failure.
        software: `edgeloop <version>`.
        platform: Machine and system.
        outbox_pending: Entries that wait on it.
        outbox_bytes: Their bytes.
        outbox_parked: Entries that were refused.
        starts: Starts of its agent, ever.
        unclean_starts: Of these, after no proper stop.
        on_trial: Whether its bundle has yet to show that it works.
        rejected: Digests of bundles that failed on it.
        clock_skew_s: Its wall clock minus the server's.
        latency_p50_ms: Median time from picture to decision.
    """

    device_id: str
    last_seen: float
    bundle_digest: str
    bundle_version: int
    frames: int
    last_error: str
    software: str = ""
    platform: str = ""
    outbox_pending: int = 0
    outbox_bytes: int = 0
    outbox_parked: int = 0
    starts: int = 0
    unclean_starts: int = 0
    on_trial: bool = False
    rejected: tuple[str, ...] = ()
    clock_skew_s: float = 0.0
    latency_p50_ms: float = 0.0

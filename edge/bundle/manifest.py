"""The bundle manifest: what is in a bundle, how to run it, where it comes from. Format page: docs/formats/bundle.md."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass, field

from edge.bundle.policy import CapturePolicy, ClassDecision, DecisionPolicy, KeepBudget, KeepPolicy, QualityLimits
from edge.bundle.stage import (
    Activation,
    ArtifactFormat,
    ArtifactSpec,
    BoxFormat,
    ChannelOrder,
    ClassThreshold,
    CropPolicy,
    Decoder,
    DetectSpec,
    InputType,
    MatchSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageInput,
    StageSpec,
    Task,
    TensorLayout,
    TextSpec,
)

__all__ = [
    "FORMAT_VERSION",
    "MANIFEST_NAME",
    "MEASUREMENTS_NAME",
    "Activation",
    "ArtifactFormat",
    "ArtifactSpec",
    "BoxFormat",
    "BundleManifest",
    "CapturePolicy",
    "ChannelOrder",
    "ClassDecision",
    "ClassThreshold",
    "CropPolicy",
    "DecisionPolicy",
    "Decoder",
    "DetectSpec",
    "FileEntry",
    "InputType",
    "KeepBudget",
    "KeepPolicy",
    "MatchSpec",
    "Origin",
    "OutputKind",
    "OutputSpec",
    "PreprocessSpec",
    "ProofSummary",
    "Provenance",
    "QualityLimits",
    "StageInput",
    "StageSpec",
    "Task",
    "TensorLayout",
    "TextSpec",
    "Verdict",
]

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
MEASUREMENTS_NAME = "measurements.json"

_SAFE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_DIGEST = re.compile(r"^[0-9a-f]{64}\Z")


class Origin(enum.Enum):
    """Who made the model."""

    TRAINED = "trained"
    IMPORTED = "imported"


class Verdict(enum.Enum):
    """What the proof says about the quantized model."""

    PASS = "pass"  # noqa: S105
    UNDECIDED = "undecided"
    FAIL = "fail"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a bundle comes from. All digests are SHA-256 hex; empty where `origin` is imported.

    Attributes:
        run: Digest of the training run.
        snapshot: Digest of the dataset snapshot it was trained on.
        train_recipe: Name of the training recipe.
        seed: Seed of the run.
        weights: SHA-256 of the trained float weights.
        producer: `edgeloop <version>`, and the converters that had a part before it.
    """

    run: str
    snapshot: str
    train_recipe: str
    seed: int
    weights: str
    producer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ProofSummary:
    """The proof in one line; the whole of it is in `file`.

    Attributes:
        verdict: PASS, UNDECIDED, FAIL or NONE (imported and not yet proven).
        file: Name of the proof file in the bundle, empty for NONE.
        drop_points: Paired drop of the first artifact, in points.
        drop_upper_points: Its upper 95 % bound.
        fallbacks: Recipes that were tried before and why each failed, as `recipe: reason`.
    """

    verdict: Verdict
    file: str = ""
    drop_points: float = 0.0
    drop_upper_points: float = 0.0
    fallbacks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class FileEntry:
    """One file of the bundle, addressed by content.

    Attributes:
        name: Flat file name in the bundle folder.
        sha256: Its digest, hex.
        size_bytes: Its size.
    """

    name: str
    sha256: str
    size_bytes: int

    def __post_init__(self) -> None:
        """Refuses names that leave the folder and digests that are none."""
        if not _SAFE_NAME.match(self.name):
            raise ValueError(f"file name {self.name[:100]!r} must be a flat name of letters, digits, '.', '_' and '-'")
        if not _DIGEST.match(self.sha256):
            raise ValueError(f"sha256 of {self.name!r} is not 64 hex digits")
        if self.size_bytes < 0:
            raise ValueError(f"size_bytes of {self.name!r} is negative")


@dataclass(frozen=True, slots=True, kw_only=True)
class BundleManifest:
    """What is in a bundle and how to run it. Its canonical bytes are what the bundle digest is taken over.

    Attributes:
        format_version: 1.
        name: Name of the application or data set, for instance `shelf`.
        version: Counts up with each release of the name, from 1.
        task: Kind of answer.
        origin: Trained here or imported.
        labels: Class names in the order of the logits.
        stages: Networks, in the order they run.
        decision: When to trust an answer.
        keep: What to keep.
        limits: What quantization was allowed to cost.
        proof: What it did cost.
        provenance: Where the model comes from.
        golden_file: Name of the golden vectors' index.
        files: Every file of the bundle but the manifest and the measurements.
        capture: Which frames to answer.
    """

    format_version: int
    name: str
    version: int
    task: Task
    origin: Origin
    labels: tuple[str, ...]
    stages: tuple[StageSpec, ...]
    decision: DecisionPolicy
    keep: KeepPolicy
    limits: QualityLimits
    proof: ProofSummary
    provenance: Provenance
    golden_file: str
    files: tuple[FileEntry, ...]
    capture: CapturePolicy = field(default_factory=CapturePolicy)

    def labels_of(self, stage: StageSpec) -> tuple[str, ...]:
        """Class names of a stage: its own, or those of the bundle."""
        return stage.labels or self.labels

"""The bundle manifest: what is in a bundle, how to run it, where it comes from. Format page: docs/formats/bundle.md."""

from __future__ import annotations

import enum
import re
from dataclasses import dataclass

FORMAT_VERSION = 1
MANIFEST_NAME = "manifest.json"
MEASUREMENTS_NAME = "measurements.json"

_SAFE_NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}\Z")
_DIGEST = re.compile(r"^[0-9a-f]{64}\Z")


class Task(enum.Enum):
    """The kind of answer a bundle gives."""

    CLASSIFY = "classify"


class Origin(enum.Enum):
    """Who made the model."""

    TRAINED = "trained"
    IMPORTED = "imported"


class CropPolicy(enum.Enum):
    """How a picture of any shape becomes the model's rectangle.

    STRETCH resizes both sides independently, CENTER cuts the largest centred rectangle of the model's aspect ratio,
    LETTERBOX fits the whole picture and pads with the fill colour.
    """

    STRETCH = "stretch"
    CENTER = "center"
    LETTERBOX = "letterbox"


class ArtifactFormat(enum.Enum):
    """File format of a model, which decides the runtime."""

    TFLITE = "tflite"
    ONNX = "onnx"


class OutputKind(enum.Enum):
    """What an output tensor holds."""

    LOGITS = "logits"


class Verdict(enum.Enum):
    """What the proof says about the quantized model."""

    PASS = "pass"  # noqa: S105
    UNDECIDED = "undecided"
    FAIL = "fail"
    NONE = "none"


@dataclass(frozen=True, slots=True, kw_only=True)
class PreprocessSpec:
    """How pictures become model input. The same spec serves training, calibration, proof and device.

    Attributes:
        width: Model input width in pixels.
        height: Model input height in pixels.
        crop: What to do with other aspect ratios.
        fill: Grey level of letterbox padding, 0 to 255.
    """

    width: int
    height: int
    crop: CropPolicy = CropPolicy.STRETCH
    fill: int = 114

    def __post_init__(self) -> None:
        """Refuses sizes that no model has."""
        if not (1 <= self.width <= 4096 and 1 <= self.height <= 4096):
            raise ValueError(f"width and height must be 1 to 4096, found {self.width}x{self.height}")
        if not 0 <= self.fill <= 255:
            raise ValueError(f"fill must be 0 to 255, found {self.fill}")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputSpec:
    """One output tensor of a stage.

    Attributes:
        name: Name in the model's signature.
        kind: What it holds.
        shape: Its shape, batch first.
        temperature: Logits are divided by this before the softmax; fitted on the validation split.
    """

    name: str
    kind: OutputKind
    shape: tuple[int, ...]
    temperature: float = 1.0

    def __post_init__(self) -> None:
        """Refuses shapes and temperatures that cannot be."""
        if not self.shape or any(size < 1 for size in self.shape):
            raise ValueError(f"shape of output {self.name!r} must be positive, found {list(self.shape)}")
        if not self.temperature > 0:
            raise ValueError(f"temperature of output {self.name!r} must be above 0, found {self.temperature}")


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactSpec:
    """One model file of a stage.

    Attributes:
        file: Its name in the bundle.
        format: Which runtime opens it.
        recipe: The quantization recipe that made it, for instance `static_wi8_ai8` or `fp32`.
        tolerance: Greatest difference to the golden outputs allowed on another machine, as a fraction of the output's
            range; 0 means equal to the last bit.
    """

    file: str
    format: ArtifactFormat
    recipe: str
    tolerance: float


@dataclass(frozen=True, slots=True, kw_only=True)
class StageSpec:
    """One network of the pipeline, in every format it comes in.

    Attributes:
        name: Name of the stage, for instance `classify`.
        preprocess: How its input is made.
        outputs: Its output tensors.
        artifacts: Its model files, preferred one first.
    """

    name: str
    preprocess: PreprocessSpec
    outputs: tuple[OutputSpec, ...]
    artifacts: tuple[ArtifactSpec, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPolicy:
    """When the device may trust an answer.

    Attributes:
        accept_confidence: At or above this, with enough margin: ACCEPT.
        confirm_confidence: At or above this: CONFIRM; below: UNKNOWN.
        accept_margin: Least distance between the first and the second class for ACCEPT.
    """

    accept_confidence: float = 0.8
    confirm_confidence: float = 0.4
    accept_margin: float = 0.2

    def __post_init__(self) -> None:
        """Refuses thresholds out of order."""
        if not 0 <= self.confirm_confidence <= self.accept_confidence <= 1:
            raise ValueError("needs 0 <= confirm_confidence <= accept_confidence <= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPolicy:
    """Which samples are worth a second look.

    Attributes:
        keep_unknown: Keep every UNKNOWN.
        below_confidence: Keep when the confidence is lower than this.
        below_margin: Keep when the margin is smaller than this.
        random_fraction: Keep this share of all others, drawn by the picture's digest, for unbiased estimates.
    """

    keep_unknown: bool = True
    below_confidence: float = 0.6
    below_margin: float = 0.2
    random_fraction: float = 0.02

    def __post_init__(self) -> None:
        """Refuses shares outside 0 to 1."""
        for name in ("below_confidence", "below_margin", "random_fraction"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, found {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """What quantization may cost. Accuracy in points (0 to 100).

    Attributes:
        max_drop_points: Greatest paired drop, float to quantized, on the validation split.
        max_drop_upper_points: Greatest upper 95 % bound of that drop; a wider interval is UNDECIDED.
        max_size_bytes: Largest model file, or 0 for no limit.
    """

    max_drop_points: float = 1.0
    max_drop_upper_points: float = 2.5
    max_size_bytes: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """Where a bundle comes from. All digests are SHA-256 hex; empty where `origin` is imported.

    Attributes:
        run: Digest of the training run.
        snapshot: Digest of the dataset snapshot it was trained on.
        train_recipe: Name of the training recipe.
        seed: Seed of the run.
        weights: SHA-256 of the trained float weights.
        producer: `edgeloop <version>`.
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
            raise ValueError(f"file name {self.name!r} must be a flat name of letters, digits, '.', '_' and '-'")
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

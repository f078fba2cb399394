"""What a conversion makes and what it proves."""

from __future__ import annotations

import enum
from dataclasses import dataclass
from pathlib import Path

from edge.bundle.manifest import ArtifactFormat, QualityLimits, Verdict


class Scheme(enum.Enum):
    """What is quantized."""

    FLOAT32 = "float32"
    FLOAT16 = "float16"
    WEIGHT_INT8 = "weight_int8"
    STATIC_INT8 = "static_int8"


class CalibrationRange(enum.Enum):
    """How activation ranges are taken from the calibration pictures."""

    EXACT = "exact"
    P99_999 = "p99.999"
    P99_99 = "p99.99"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantRecipe:
    """A named way to quantize: data, not a code path.

    Attributes:
        name: For instance `static_wi8_ai8`.
        scheme: What is quantized.
        ranges: How activation ranges are taken; ignored unless the scheme is STATIC_INT8.
        float_layers: Regular expressions of output tensor names that stay float.
        tolerance: As in `ArtifactSpec.tolerance`.
    """

    name: str
    scheme: Scheme
    ranges: CalibrationRange = CalibrationRange.EXACT
    float_layers: tuple[str, ...] = ()
    tolerance: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Artifact:
    """One converted model on disk.

    Attributes:
        path: The file.
        format: Which runtime opens it.
        recipe: The recipe that made it.
        sha256: Its digest, hex.
        size_bytes: Its size.
    """

    path: Path
    format: ArtifactFormat
    recipe: QuantRecipe
    sha256: str
    size_bytes: int


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputError:
    """How far one output of an artifact is from the float model's.

    Attributes:
        output: Name of the output.
        max_abs: Greatest absolute difference.
        mean_abs: Mean absolute difference.
        sqnr_db: Signal to quantization noise, in decibels; 200 when equal.
        cosine: Mean cosine similarity over the pictures.
    """

    output: str
    max_abs: float
    mean_abs: float
    sqnr_db: float
    cosine: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactProof:
    """What one artifact costs against the float model, through the edge pipeline.

    Attributes:
        file: Name of the artifact in the bundle.
        recipe: The recipe that made it.
        size_bytes: Its size.
        num_pictures: Validation pictures that were run.
        float_accuracy: Of the torch model, in points (0 to 100).
        accuracy: Of the artifact, in points.
        drop_points: Paired drop, float minus artifact.
        drop_lower_points: Lower 95 % bound of the drop.
        drop_upper_points: Upper 95 % bound of the drop.
        agreement: Share of pictures with the same best class, in [0, 1].
        errors: Per output.
        verdict: By the acceptance rule.
        reason: One line.
    """

    file: str
    recipe: str
    size_bytes: int
    num_pictures: int
    float_accuracy: float
    accuracy: float
    drop_points: float
    drop_lower_points: float
    drop_upper_points: float
    agreement: float
    errors: tuple[OutputError, ...]
    verdict: Verdict
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The proof a bundle carries; no time and no latency in it, so that it is reproducible.

    Attributes:
        limits: What was allowed.
        calibration_digests: SHA-256 of the calibration pictures, in order.
        validation_digests: SHA-256 of the validation pictures, in order.
        artifacts: One for each artifact in the bundle.
        rejected: Recipes that were tried first and failed.
    """

    limits: QualityLimits
    calibration_digests: tuple[str, ...]
    validation_digests: tuple[str, ...]
    artifacts: tuple[ArtifactProof, ...]
    rejected: tuple[ArtifactProof, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Measured time of one artifact on the machine that converted it.

    Attributes:
        file: Name of the artifact.
        p50_ms: Median of one run of the network, one thread.
        p95_ms: 95th percentile.
        runs: Number of runs.
    """

    file: str
    p50_ms: float
    p95_ms: float
    runs: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What differs from run to run; lies beside the manifest, outside the bundle digest.

    Attributes:
        created_at: Seconds since the epoch, UTC.
        machine: Processor and system, for people.
        latencies: One for each artifact.
    """

    created_at: float
    machine: str
    latencies: tuple[Latency, ...]

"""What a conversion makes, what it tried, and what it proves. Format page: docs/formats/proof.md."""

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
    MSE = "mse"


@dataclass(frozen=True, slots=True, kw_only=True)
class QuantRecipe:
    """A named way to quantize: data, not a code path.

    Attributes:
        name: For instance `static_wi8_ai8`.
        scheme: What is quantized.
        format: Which kind of file it makes.
        ranges: How activation ranges are taken; ignored unless the scheme is STATIC_INT8.
        float_layers: Regular expressions of layers that stay float: of output tensor names in TFLite, of node names in
            ONNX.
        tolerance: As in `ArtifactSpec.tolerance`.
        unsigned_weights: Of ONNX: int8 weights as uint8. Processors without VNNI add products of uint8 and int8 in 16
            bits, which overflow; products of two uint8 are widened first.
    """

    name: str
    scheme: Scheme
    format: ArtifactFormat = ArtifactFormat.TFLITE
    ranges: CalibrationRange = CalibrationRange.EXACT
    float_layers: tuple[str, ...] = ()
    tolerance: float = 0.0
    unsigned_weights: bool = False


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
class Estimate:
    """A figure with its 95 % interval, in points.

    Attributes:
        value: Measured.
        lower: Lower bound.
        upper: Upper bound.
    """

    value: float
    lower: float
    upper: float

    def text(self) -> str:
        """For people."""
        return f"{self.value:.1f} points ({self.lower:.1f} to {self.upper:.1f})"


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
class AnswerPair:
    """How often the float model and an artifact said these two things about one picture.

    Attributes:
        before: Headline label of the float model's answer; empty where it named nothing.
        after: The artifact's.
        num: On how many pictures.
    """

    before: str
    after: str
    num: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Distribution:
    """What a model says about the validation pictures, through the edge pipeline.

    Attributes:
        confidence: Pictures by the confidence of the headline, 20 bins of equal width over [0, 1].
        classes: Pictures by the label of the headline, sorted.
    """

    confidence: tuple[int, ...]
    classes: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class ArtifactProof:
    """What one artifact costs against the float model, through the edge pipeline.

    Attributes:
        file: Name of the artifact in the bundle.
        recipe: The recipe that made it.
        size_bytes: Its size.
        num_pictures: Validation pictures that were run.
        float_accuracy: Score of the float model, in points (0 to 100).
        accuracy: Of the artifact, in points.
        drop_points: Paired drop, float minus artifact.
        drop_lower_points: Lower 95 % bound of the drop.
        drop_upper_points: Upper 95 % bound of the drop.
        agreement: Share of the float model's answers that the artifact gives too, in [0, 1].
        errors: Per output, on the first pictures (docs/formats/proof.md).
        verdict: By the acceptance rule.
        reason: One line.
        answers: Confusion of the float model's headline (before) with the artifact's (after), sorted.
        distribution: Its answers as devices count theirs; None in proofs of older versions.
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
    answers: tuple[AnswerPair, ...] = ()
    distribution: Distribution | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Proof:
    """The proof a bundle carries. It can be made again from the bundle and the pictures alone; no time is in it.

    Attributes:
        limits: What was allowed.
        calibration_digests: SHA-256 of the calibration pictures, in order.
        validation_digests: SHA-256 of the validation pictures, in order.
        artifacts: One for each quantized model of the bundle, the preferred one first.
        metric: What scores and drops are measured in.
        reference: File name of the float model that all are held against; empty in proofs that held them against the
            trained network itself.
        score: Score of the reference with its interval.
    """

    limits: QualityLimits
    calibration_digests: tuple[str, ...]
    validation_digests: tuple[str, ...]
    artifacts: tuple[ArtifactProof, ...]
    metric: str = "top1"
    reference: str = ""
    score: Estimate | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Parity:
    """How far a float32 file is from the trained network in torch.

    Attributes:
        format: Which file.
        num_pictures: Pictures that both were run on.
        agreement: As in `ArtifactProof`.
        errors: Per output.
    """

    format: ArtifactFormat
    num_pictures: int
    agreement: float
    errors: tuple[OutputError, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class LayerError:
    """What quantization does to one layer.

    Attributes:
        layer: Name of its output tensor.
        operation: Kind of operation, for instance `CONV_2D`.
        sqnr_db: Signal to quantization noise, in decibels.
    """

    layer: str
    operation: str
    sqnr_db: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversionRecord:
    """How a bundle's models came about: `conversion.json`. What cannot be made again from the bundle alone is here.

    Attributes:
        parity: Every float32 file against torch.
        trials: Every recipe that was tried, in order.
        chosen: Names of the recipes whose models are in the bundle.
        layers: Noise of each layer's output in the preferred artifact, in the order of execution: of the layer and of
            all before it. Empty where the preferred one has no quantized layers.
        sensitivity: Noise of the network's outputs when that layer alone is quantized, the most harmful first. Empty
            where no layer had to stay float.
        float_layers: Layers that the sensitivity pass left float.
        fine_tuned: Whether quantization-aware fine-tuning changed the weights.
        tools: Name and version of every library that had a part in it.
    """

    parity: tuple[Parity, ...]
    trials: tuple[ArtifactProof, ...]
    chosen: tuple[str, ...]
    layers: tuple[LayerError, ...] = ()
    sensitivity: tuple[LayerError, ...] = ()
    float_layers: tuple[str, ...] = ()
    fine_tuned: bool = False
    tools: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency:
    """Measured time of one model on the machine that converted it.

    Attributes:
        file: Name of the artifact; of a model that is not in the bundle, what its name would be.
        p50_ms: Median of one run of the network, one thread.
        p95_ms: 95th percentile.
        runs: Number of runs.
        recipe: The recipe that made it.
    """

    file: str
    p50_ms: float
    p95_ms: float
    runs: int
    recipe: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class StepTime:
    """How long one step of a conversion took.

    Attributes:
        step: What was done.
        seconds: Wall time.
    """

    step: str
    seconds: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Measurements:
    """What differs from run to run; lies beside the manifest, outside the bundle digest.

    Attributes:
        created_at: Seconds since the epoch, UTC.
        machine: Processor and system, for people.
        latencies: One for each model that was tried.
        steps: Where the time went.
        peak_memory_mb: Greatest resident memory of the converting process, in MB (10^6 bytes); 0 where unknown.
    """

    created_at: float
    machine: str
    latencies: tuple[Latency, ...]
    steps: tuple[StepTime, ...] = ()
    peak_memory_mb: float = 0.0

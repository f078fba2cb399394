"""When a device may trust an answer, what it keeps, what quantization may cost. Format page: docs/formats/bundle.md."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassDecision:
    """When the device may trust an answer of one class.

    Attributes:
        label: The class.
        accept_confidence: As in `DecisionPolicy`.
        confirm_confidence: As in `DecisionPolicy`.
    """

    label: str
    accept_confidence: float
    confirm_confidence: float

    def __post_init__(self) -> None:
        """Refuses thresholds out of order."""
        if not 0 <= self.confirm_confidence <= self.accept_confidence <= 1:
            raise ValueError(f"class {self.label!r} needs 0 <= confirm_confidence <= accept_confidence <= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionPolicy:
    """When the device may trust an answer.

    Attributes:
        accept_confidence: At or above this, with enough margin: ACCEPT.
        confirm_confidence: At or above this: CONFIRM; below: UNKNOWN.
        accept_margin: Least distance between the first and the second class for ACCEPT: of probabilities, or of cosines
            for matches, where 0.2 is wide.
        class_thresholds: Other confidences for some classes; of two for one class the first counts.
    """

    accept_confidence: float = 0.8
    confirm_confidence: float = 0.4
    accept_margin: float = 0.2
    class_thresholds: tuple[ClassDecision, ...] = ()

    def __post_init__(self) -> None:
        """Refuses thresholds out of order."""
        if not 0 <= self.confirm_confidence <= self.accept_confidence <= 1:
            raise ValueError("needs 0 <= confirm_confidence <= accept_confidence <= 1")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepBudget:
    """How much may be kept in any span of time, wherever it begins; 0 for no limit.

    Where the policy draws a random floor, a tenth of every limit is left to drawn pictures.

    Attributes:
        per_minute: Samples in 60 seconds.
        per_hour: Samples in 3,600 seconds.
        per_day: Samples in 86,400 seconds.
        bytes_per_minute: Bytes in 60 seconds.
        bytes_per_hour: Bytes in 3,600 seconds.
        bytes_per_day: Bytes in 86,400 seconds.
    """

    per_minute: int = 0
    per_hour: int = 0
    per_day: int = 0
    bytes_per_minute: int = 0
    bytes_per_hour: int = 0
    bytes_per_day: int = 0

    def __post_init__(self) -> None:
        """Refuses negative limits."""
        for name in ("per_minute", "per_hour", "per_day", "bytes_per_minute", "bytes_per_hour", "bytes_per_day"):
            if getattr(self, name) < 0:
                raise ValueError(f"{name} must not be negative, found {getattr(self, name)}")


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepPolicy:
    """Which samples are worth a second look. A rule at its default from `above_entropy` on asks for nothing.

    The rules in their order are `keep_unknown` to `above_novelty`, `rare_classes`, `random_fraction`; then
    `duplicate_bits` and `budget` speak against what they ask for.

    Attributes:
        keep_unknown: Keep every UNKNOWN.
        below_confidence: Keep when the confidence is lower than this.
        below_margin: Keep when the margin of any answer is smaller than this; of matches, in cosine.
        random_fraction: Keep this share of all pictures, drawn by their digests, for unbiased estimates.
        above_entropy: Keep when the entropy is greater than this, in [0, 1].
        near_threshold: Keep when a detection's score is nearer to its threshold than this, above or below.
        disagreement: Keep when two stages that know the same classes name different ones for the same crop.
        above_novelty: Keep when the distance (1 - cosine) to all reference embeddings is greater than this, in [0, 2].
        rare_classes: Keep these classes however sure,
        rare_per_day: until so many samples of one were kept in a day, for whatever reason.
        duplicate_bits: Do not keep what differs by at most so many of the 64 bits of its perceptual hash from one of
            the 256 samples kept last; 4 to 8 are sensible, -1 keeps duplicates too.
        budget: How much may be kept in all.
    """

    keep_unknown: bool = True
    below_confidence: float = 0.6
    below_margin: float = 0.2
    random_fraction: float = 0.02
    above_entropy: float = 1.0
    near_threshold: float = 0.0
    disagreement: bool = False
    above_novelty: float = 2.0
    rare_classes: tuple[str, ...] = ()
    rare_per_day: int = 0
    duplicate_bits: int = -1
    budget: KeepBudget = KeepBudget()

    def __post_init__(self) -> None:
        """Refuses shares outside 0 to 1 and counts that cannot be."""
        for name in ("below_confidence", "below_margin", "random_fraction", "above_entropy", "near_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be 0 to 1, found {getattr(self, name)}")
        if not 0 <= self.above_novelty <= 2:
            raise ValueError(f"above_novelty must be 0 to 2, found {self.above_novelty}")
        if self.rare_per_day < 0 or not -1 <= self.duplicate_bits <= 64:
            raise ValueError("rare_per_day must not be negative and duplicate_bits must be -1 to 64")


@dataclass(frozen=True, slots=True, kw_only=True)
class CapturePolicy:
    """Which frames of a source are worth an answer.

    Attributes:
        change_threshold: A frame that differs from the one answered last by less than this is skipped: the greatest
            mean difference of any of 16 x 9 blocks, in grey levels, 0 to 255; 0 answers every frame. Noise of cameras
            is 1 to 3; 6 to 12 are sensible.
        max_still_s: An unchanged scene is answered again after so many seconds.
    """

    change_threshold: float = 0.0
    max_still_s: float = 60.0

    def __post_init__(self) -> None:
        """Refuses thresholds that no picture can have, and a wait without end."""
        if not 0 <= self.change_threshold <= 255:
            raise ValueError(f"change_threshold must be 0 to 255, found {self.change_threshold}")
        if not 0 < self.max_still_s <= 86_400:
            raise ValueError(f"max_still_s must be above 0 and at most 86400, found {self.max_still_s}")


# What a bundle's accuracy may be measured by; docs/formats/proof.md says how each is taken.
METRICS = ("top1", "macro_f1", "ap50", "count", "attributes", "text")


@dataclass(frozen=True, slots=True, kw_only=True)
class QualityLimits:
    """What quantization may cost. Scores in points (0 to 100), of the metric.

    Attributes:
        max_drop_points: Greatest paired drop, float to quantized, on the validation split.
        max_drop_upper_points: Greatest upper 95 % bound of that drop; a wider interval is UNDECIDED.
        max_size_bytes: Largest model file, or 0 for no limit.
        metric: What the drop is measured in, one of `METRICS`; empty for the task's own: `top1` of classes, matches
            and ensembles, `ap50` of boxes, `attributes` of several heads, `text` of text.
        min_cosine: Least mean cosine of every output, float to quantized, in [-1, 1]; -1 for no limit. For embeddings,
            which are compared by it.
        min_agreement: Least share of pictures with the float model's answer, in [0, 1]; 0 for no limit.
        max_latency_ms: Longest median time of the network alone, one thread, on the machine that converts; 0 for no
            limit.
    """

    max_drop_points: float = 1.0
    max_drop_upper_points: float = 2.5
    max_size_bytes: int = 0
    metric: str = ""
    min_cosine: float = -1.0
    min_agreement: float = 0.0
    max_latency_ms: float = 0.0

    def __post_init__(self) -> None:
        """Refuses metrics that nobody knows and shares outside their range."""
        if self.metric and self.metric not in METRICS:
            raise ValueError(f"metric must be one of {', '.join(METRICS)}, found {self.metric[:100]!r}")
        if not -1 <= self.min_cosine <= 1:
            raise ValueError(f"min_cosine must be -1 to 1, found {self.min_cosine}")
        if not 0 <= self.min_agreement <= 1:
            raise ValueError(f"min_agreement must be 0 to 1, found {self.min_agreement}")
        if self.max_latency_ms < 0:
            raise ValueError(f"max_latency_ms must not be negative, found {self.max_latency_ms}")

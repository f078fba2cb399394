"""The values that a picture passes through on the device, from capture to decision.

All are frozen. Arrays are numpy, named here for the type checker only, so that importing this module loads nothing
but the standard library.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    FloatArray: TypeAlias = npt.NDArray[np.float32]
    ByteArray: TypeAlias = npt.NDArray[np.uint8]
    InputArray: TypeAlias = npt.NDArray[np.float32] | npt.NDArray[np.uint8] | npt.NDArray[np.int8]
    Image: TypeAlias = bytes | Path | str | ByteArray


class Outcome(enum.Enum):
    """What the device does with a prediction."""

    ACCEPT = "accept"
    CONFIRM = "confirm"
    UNKNOWN = "unknown"


class DecisionReason(enum.Enum):
    """The rule that decided."""

    CONFIDENT = "confident"
    LOW_CONFIDENCE = "low_confidence"
    SMALL_MARGIN = "small_margin"
    NOT_RECOGNISED = "not_recognised"
    NOTHING_FOUND = "nothing_found"


class KeepReason(enum.Enum):
    """Why a sample is worth a second look, or why it is not kept."""

    NOT_RECOGNISED = "not_recognised"
    LOW_CONFIDENCE = "low_confidence"
    SMALL_MARGIN = "small_margin"
    HIGH_ENTROPY = "high_entropy"
    NEAR_THRESHOLD = "near_threshold"
    DISAGREEMENT = "disagreement"
    NOVEL = "novel"
    RARE_CLASS = "rare_class"
    FEEDBACK = "feedback"
    RANDOM_FLOOR = "random_floor"
    NOT_NEEDED = "not_needed"
    NEAR_DUPLICATE = "near_duplicate"
    OVER_BUDGET = "over_budget"
    PRIVATE = "private"


class FeedbackKind(enum.Enum):
    """A person's answer about one sample."""

    CONFIRMED = "confirmed"
    CORRECTED = "corrected"
    NONE_OF_THESE = "none_of_these"


@dataclass(frozen=True, slots=True, kw_only=True)
class Frame:
    """One picture as it came from a source.

    Attributes:
        data: Encoded bytes (JPEG, PNG, WebP) or an RGB array, uint8 (height, width, 3).
        captured_at: Seconds since the epoch, UTC.
        source: Where it came from, for people: a file name, a camera.
        sequence: Position in the source's stream, from 0; never skips.
    """

    data: bytes | ByteArray
    captured_at: float
    source: str
    sequence: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Geometry:
    """How model pixels map back to the upright picture: picture = model * scale + offset.

    Attributes:
        picture_width: Width of the upright picture in pixels.
        picture_height: Height of the upright picture in pixels.
        scale_x: Picture pixels for one model pixel, horizontally.
        scale_y: The same, vertically.
        offset_x: Picture x of the model's left edge; negative with letterbox padding.
        offset_y: Picture y of the model's top edge.
    """

    picture_width: int
    picture_height: int
    scale_x: float
    scale_y: float
    offset_x: float
    offset_y: float


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelInput:
    """What the network eats.

    Attributes:
        tensor: As the stage's `PreprocessSpec` says: for our own models float32 (1, height, width, 3), RGB, 0 to 255;
            an imported one may want NCHW, BGR, grey, normalised values, uint8 or int8.
        geometry: The way back to the picture.
    """

    tensor: InputArray
    geometry: Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOutputs:
    """What the network said, untouched but for integers, which are dequantized by the model's own scale.

    Attributes:
        by_name: Output name to float32 array; the names are those of the manifest.
    """

    by_name: Mapping[str, FloatArray]


@dataclass(frozen=True, slots=True, kw_only=True)
class ClassScore:
    """One class and how likely it is.

    Attributes:
        label: Name of the class.
        index: Position in the manifest's labels.
        probability: Calibrated, in [0, 1].
    """

    label: str
    index: int
    probability: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """What a decision looks at: every kind of prediction has one.

    Attributes:
        label: The best class; empty where nothing was found.
        confidence: Calibrated, in [0, 1].
        margin: Confidence of the first minus that of the second, in [0, 1]; 1 where there is no second.
        entropy: Of the answer, divided by its maximum, in [0, 1]; 0 where the kind of answer has none.
    """

    label: str
    confidence: float
    margin: float = 1.0
    entropy: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Classification:
    """The answer of a single-head classifier, or of an ensemble over features.

    Attributes:
        top: The most likely classes, best first; at least one.
        margin: Probability of the first minus the second, in [0, 1]; 1 when there is only one class.
        entropy: Shannon entropy over all classes divided by its maximum, in [0, 1].
        novelty: 1 minus the greatest cosine to the reference embeddings, in [0, 2]; None where the bundle has none.
    """

    top: tuple[ClassScore, ...]
    margin: float
    entropy: float
    novelty: float | None = None

    @property
    def headline(self) -> Headline:
        """The best class."""
        best = self.top[0]
        return Headline(label=best.label, confidence=best.probability, margin=self.margin, entropy=self.entropy)


@dataclass(frozen=True, slots=True, kw_only=True)
class Attribute:
    """One head of a classifier with several.

    Attributes:
        name: Name of the head, which is that of its output.
        classification: What it says.
    """

    name: str
    classification: Classification


@dataclass(frozen=True, slots=True, kw_only=True)
class Attributes:
    """The answer of a classifier with several heads.

    Attributes:
        heads: One answer a head, in the manifest's order; at least one.
        confidence: Product of the heads' best probabilities: that all are right, were they independent.
    """

    heads: tuple[Attribute, ...]
    confidence: float

    @property
    def headline(self) -> Headline:
        """All heads at once: labels joined by ` / `, the smallest margin, the greatest entropy."""
        parts = [head.classification for head in self.heads]
        return Headline(
            label=" / ".join(part.top[0].label for part in parts),
            confidence=self.confidence,
            margin=min(part.margin for part in parts),
            entropy=max(part.entropy for part in parts),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Box:
    """A rectangle in the upright picture, in its pixels; right and bottom are exclusive edges.

    Attributes:
        left: Smallest x, at least 0.
        top: Smallest y, at least 0.
        right: Largest x, at most the picture's width.
        bottom: Largest y, at most the picture's height.
    """

    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Detection:
    """One thing that was found.

    Attributes:
        box: Where.
        label: Which class.
        index: Position of the class in the stage's labels.
        score: How sure, in [0, 1].
    """

    box: Box
    label: str
    index: int
    score: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Detections:
    """The answer of a detector.

    Attributes:
        items: What was found, best score first.
        nearest_miss: Highest score that stayed below its threshold, in [0, 1]; 0 where there is none.
    """

    items: tuple[Detection, ...]
    nearest_miss: float = 0.0

    @property
    def headline(self) -> Headline:
        """The weakest thing found, for a picture is as sure as its least sure box; or that there is nothing."""
        if not self.items:
            return Headline(label="", confidence=1.0 - self.nearest_miss)
        weakest = min(self.items, key=lambda item: item.score)
        return Headline(label=weakest.label, confidence=weakest.score)


@dataclass(frozen=True, slots=True, kw_only=True)
class Match:
    """One class of a gallery and how near it is.

    Attributes:
        label: Name of the class.
        similarity: Greatest cosine to an embedding of that class, in [-1, 1].
    """

    label: str
    similarity: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Matches:
    """The answer of an embedder with a gallery.

    Attributes:
        top: The nearest classes, best first; at least one.
        known: Whether the best is near enough by its class's threshold, and far enough from the second.
        confidence: Logistic function of how far the similarity is above the threshold, in [0, 1]; 0.5 at it.
        margin: Similarity of the first minus the second, limited to [0, 1]; 1 when there is only one class.
        novelty: 1 minus the best similarity, in [0, 2].
    """

    top: tuple[Match, ...]
    known: bool
    confidence: float
    margin: float
    novelty: float

    @property
    def headline(self) -> Headline:
        """The nearest class."""
        return Headline(label=self.top[0].label, confidence=self.confidence, margin=self.margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """The answer of a text reader.

    Attributes:
        text: What it reads; may be empty.
        confidence: Probability of this reading, in [0, 1].
        margin: Its probability minus that of the next reading, in [0, 1]; 1 where only one was followed.
        in_lexicon: Whether the lexicon holds it; True where there is none.
    """

    text: str
    confidence: float
    margin: float = 1.0
    in_lexicon: bool = True

    @property
    def headline(self) -> Headline:
        """The reading."""
        return Headline(label=self.text, confidence=self.confidence, margin=self.margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class CountedItem:
    """One thing that was found, and what the later stages say of its crop.

    Attributes:
        detection: Where, and what the detector takes it for.
        answers: One answer for each stage that read the crop, in the stages' order; at least one.
        decision: What to do with the first of them.
    """

    detection: Detection
    answers: tuple[CropAnswer, ...]
    decision: Decision

    @property
    def label(self) -> str:
        """What it is counted as: the first answer's best class, empty where it is UNKNOWN."""
        return "" if self.decision.outcome is Outcome.UNKNOWN else self.answers[0].headline.label


@dataclass(frozen=True, slots=True, kw_only=True)
class Counts:
    """The answer of a pipeline: what was found, crop by crop, and how many of each.

    Attributes:
        items: Everything found, best detection first.
        by_label: Label and number, most first, equal numbers by label; unknown things count under the empty label.
        nearest_miss: As in `Detections`.
    """

    items: tuple[CountedItem, ...]
    by_label: tuple[tuple[str, int], ...]
    nearest_miss: float = 0.0

    @property
    def headline(self) -> Headline:
        """The least sure thing, or that there is nothing."""
        if not self.items:
            return Headline(label="", confidence=1.0 - self.nearest_miss)
        return min((item.answers[0].headline for item in self.items), key=lambda line: line.confidence)


CropAnswer: TypeAlias = Classification | Attributes | Matches | Text
Prediction: TypeAlias = Classification | Attributes | Detections | Matches | Text | Counts


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What the device does with one prediction.

    Attributes:
        outcome: ACCEPT to use it, CONFIRM to ask the person, UNKNOWN to name nothing.
        confidence: The calibrated score the policy looked at, in [0, 1].
        reason: The rule that decided, for logs and review.
    """

    outcome: Outcome
    confidence: float
    reason: DecisionReason


@dataclass(frozen=True, slots=True, kw_only=True)
class Timings:
    """Where the time of one inference went, in milliseconds.

    Attributes:
        preprocess_ms: Decode, orient, crop, resize.
        infer_ms: The network.
        postprocess_ms: Raw outputs to decision.
    """

    preprocess_ms: float
    infer_ms: float
    postprocess_ms: float

    @property
    def total_ms(self) -> float:
        """All of it."""
        return self.preprocess_ms + self.infer_ms + self.postprocess_ms


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """Everything the engine says about one picture.

    Attributes:
        prediction: What it sees.
        decision: What to do about it.
        timings: Where the time went.
        bundle_digest: SHA-256 of the bundle that judged, hex.
        artifact: File name of the model that ran.
        picture_digest: SHA-256 of the encoded picture, or of the array's bytes, hex.
    """

    prediction: Prediction
    decision: Decision
    timings: Timings
    bundle_digest: str
    artifact: str
    picture_digest: str

    @property
    def prediction_id(self) -> str:
        """Names this prediction for `edgeloop trace`: 12 hex digits of the picture, 12 of the bundle."""
        return f"{self.picture_digest[:12]}-{self.bundle_digest[:12]}"


@dataclass(frozen=True, slots=True, kw_only=True)
class KeepVerdict:
    """Whether a sample is worth a second look.

    Attributes:
        keep: True to put it into the outbox.
        reason: The first rule that asked for it.
        value: How much a label would teach, in [0, 1]; decides who is shed or reviewed first.
    """

    keep: bool
    reason: KeepReason
    value: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Feedback:
    """A person's answer about one sample.

    Attributes:
        kind: Confirmed, corrected, or none of the known classes.
        label: The class the person names; empty for NONE_OF_THESE.
        who: Who answered: a person's name, or `dataset:<name>` in experiments.
        at: Seconds since the epoch, UTC.
    """

    kind: FeedbackKind
    label: str
    who: str
    at: float

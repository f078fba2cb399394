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
    Image: TypeAlias = bytes | Path | ByteArray


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


class KeepReason(enum.Enum):
    """Why a sample is worth a second look, or why not."""

    NOT_RECOGNISED = "not_recognised"
    LOW_CONFIDENCE = "low_confidence"
    SMALL_MARGIN = "small_margin"
    RANDOM_FLOOR = "random_floor"
    NOT_NEEDED = "not_needed"


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
        tensor: float32 (1, height, width, 3), RGB, 0 to 255.
        geometry: The way back to the picture.
    """

    tensor: FloatArray
    geometry: Geometry


@dataclass(frozen=True, slots=True, kw_only=True)
class RawOutputs:
    """What the network said, untouched.

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
class Classification:
    """The answer of a single-head classifier.

    Attributes:
        top: The most likely classes, best first; at least one.
        margin: Probability of the first minus the second, in [0, 1]; 1 when there is only one class.
        entropy: Shannon entropy over all classes divided by its maximum, in [0, 1].
    """

    top: tuple[ClassScore, ...]
    margin: float
    entropy: float


Prediction: TypeAlias = Classification


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

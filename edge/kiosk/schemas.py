"""The HTTP contract of edgeloop, one for the kiosk and the cloud. Page: docs/formats/http.md."""

from __future__ import annotations

import enum
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from edge.types import DecisionReason, FeedbackKind, Outcome

Share = Annotated[float, Field(ge=0.0, le=1.0)]
PREDICTION_ID = r"^[0-9a-f]{12}-[0-9a-f]{12}$"
MOST_TOP_K = 1000
MOST_TEXT = 512
# A red square of 8 x 8 pixels, as PNG.
EXAMPLE = "iVBORw0KGgoAAAANSUhEUgAAAAgAAAAICAIAAABLbSncAAAAFUlEQVR42mO8IyLHgA0wMeAAg1MCANiaAR5Wy+cAAAAAAElFTkSuQmCC"


class Asked(BaseModel):
    """What a caller sends: every field by its name and type, and no other field."""

    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False, frozen=True)


class PredictOptions(Asked):
    """How a picture is to be answered for."""

    confidence_threshold: Share = Field(
        default=0.0, description="What is less sure than this is reported as not recognised, in [0, 1]."
    )
    return_probabilities: bool = Field(
        default=True, description="Whether `probabilities`, `attributes` and `similarities` are filled."
    )
    top_k: int | None = Field(
        default=None, ge=1, le=MOST_TOP_K, description="How many classes to name; null for what the bundle says."
    )


class PredictRequest(PredictOptions):
    """A picture to answer for, in JSON."""

    image: str = Field(
        min_length=1,
        description="The bytes of a JPEG, PNG or WebP file in base64 (RFC 4648, section 4), without line breaks.",
        examples=[EXAMPLE],
        json_schema_extra={"contentEncoding": "base64", "pattern": "^[A-Za-z0-9+/]+={0,2}$"},
    )


class FeedbackRequest(Asked):
    """What a person says about an answer."""

    prediction_id: str = Field(pattern=PREDICTION_ID, description="Of the answer.")
    kind: FeedbackKind = Field(
        strict=False, description="Whether the answer is right, wrong and what it is, or wrong and nothing known."
    )
    label: str = Field(
        default="",
        max_length=MOST_TEXT,
        description="The class: needed for `corrected`, that of the answer for `confirmed`, empty for `none_of_these`.",
    )
    who: str = Field(min_length=1, max_length=MOST_TEXT, description="Who says so.")


class Contract(BaseModel):
    """The fields that every answer about a picture has, and every error."""

    success: bool = Field(description="True for an answer, false for an error.")
    predicted_class: str = Field(
        default="",
        description="The best class, of several things in a picture that of the least sure one; empty where the "
        "outcome is `unknown` or nothing was found.",
    )
    confidence: Share = Field(default=0.0, description="Calibrated, in [0, 1].")
    probabilities: dict[str, Share] = Field(
        default_factory=dict, description="Class and calibrated probability, best first, of a classifier."
    )
    detections: list[FoundThing] = Field(
        default_factory=list, description="What was found in the picture, best first, of a detector or pipeline."
    )
    counts: dict[str, int] = Field(
        default_factory=dict,
        description="Class and number of the things found, most first; what nobody knows counts as `unknown`.",
    )
    processing_time_ms: float = Field(
        default=0.0, ge=0.0, description="Milliseconds from the encoded picture to the decision."
    )
    model_version: str = Field(default="", description="Name and version of the bundle.")
    error_message: str = Field(default="", description="What is wrong and what to do about it; empty for an answer.")


class CropReading(BaseModel):
    """What one stage says of one thing that was found."""

    predicted_class: str = Field(description="Its best class.")
    confidence: Share = Field(description="Calibrated, in [0, 1].")


class FoundThing(BaseModel):
    """One thing that was found in a picture."""

    label: str = Field(description="What the detector takes it for.")
    confidence: Share = Field(description="How sure the detector is, in [0, 1].")
    box: tuple[float, float, float, float] = Field(
        description="Left, top, right, bottom in pixels of the upright picture; right and bottom are exclusive."
    )
    predicted_class: str = Field(description="What it is counted as; empty where its outcome is `unknown`.")
    outcome: Outcome = Field(description="What to do with it.")
    answers: list[CropReading] = Field(description="What each later stage says of it; empty for a bare detector.")


class PredictionResponse(Contract):
    """An answer about a picture, of any kind of bundle; what another kind has is empty."""

    attributes: dict[str, dict[str, Share]] = Field(
        default_factory=dict, description="Of a classifier with several heads: head, then class and probability."
    )
    similarities: dict[str, Annotated[float, Field(ge=-1.0001, le=1.0001)]] = Field(
        default_factory=dict, description="Class and cosine, nearest first, of an embedder with a gallery."
    )
    text: str = Field(default="", description="What a text reader reads.")
    outcome: Outcome = Field(
        description="`accept` to use it, `confirm` to ask a person, `unknown` where nothing is named."
    )
    reason: DecisionReason = Field(description="The rule that decided.")
    margin: Share = Field(description="First minus second, in [0, 1]; 1 where there is no second.")
    prediction_id: str = Field(pattern=PREDICTION_ID, description="Names the answer for feedback and `edgeloop trace`.")
    picture_digest: str = Field(description="SHA-256 of the picture, hex.")
    bundle_digest: str = Field(description="SHA-256 of the bundle, hex.")
    artifact: str = Field(description="The model file that ran; several are joined by `+`.")
    picture_width: int = Field(ge=1, description="Of the upright picture, in pixels.")
    picture_height: int = Field(ge=1, description="Of the upright picture, in pixels.")
    kept: bool = Field(description="Whether the device keeps the picture for the server.")
    sample_digest: str = Field(description="SHA-256 of what it keeps, hex; empty where it keeps nothing.")


class ErrorResponse(Contract):
    """Why there is no answer."""

    success: bool = Field(default=False, description="False.")


class Told(BaseModel):
    """What every reply that is not about one picture begins with."""

    success: bool = Field(default=True, description="True.")
    error_message: str = Field(default="", description="Empty.")


class FeedbackResponse(Told):
    """The feedback is on the disk."""

    prediction_id: str = Field(pattern=PREDICTION_ID, description="Of the answer it is about.")
    kind: FeedbackKind = Field(description="As it was stored.")
    label: str = Field(description="As it was stored.")
    sample_digest: str = Field(description="SHA-256 of the sample it is stored with, hex.")


class ViewState(enum.Enum):
    """What there is to see.

    NO_BUNDLE: nothing can answer yet. NO_SOURCE: nothing is watched. CAMERA_GONE: the camera gives no frames. WAITING:
    no frame was answered yet. LIVE: there is an answer.
    """

    NO_BUNDLE = "no_bundle"
    NO_SOURCE = "no_source"
    CAMERA_GONE = "camera_gone"
    WAITING = "waiting"
    LIVE = "live"


class LiveResponse(Told):
    """The newest frame and what it shows."""

    state: ViewState = Field(description="What there is to see.")
    detail: str = Field(default="", description="Why the camera is gone, in one line; else empty.")
    source: str = Field(default="", description="Where the frame came from.")
    captured_at: float = Field(default=0.0, ge=0.0, description="When, seconds since the epoch; 0 for no frame.")
    age_s: float = Field(default=0.0, ge=0.0, description="Seconds since then; 0 for no frame.")
    answer: PredictionResponse | None = Field(default=None, description="The newest answer; null before the first.")


class BundleHealth(BaseModel):
    """The bundle that answers."""

    name: str = Field(description="Its name.")
    version: int = Field(description="Its version.")
    digest: str = Field(description="SHA-256, hex.")
    task: str = Field(description="The kind of its answers: `classify`, `attributes`, `detect`, `match`, `text`, …")
    artifact: str = Field(description="The model file that runs.")
    on_trial: bool = Field(description="Whether it has yet to prove itself on this device.")


class OutboxHealth(BaseModel):
    """What waits for the road home."""

    pending: int = Field(ge=0, description="Samples that wait.")
    pending_bytes: int = Field(ge=0, description="Bytes of them.")
    answers: int = Field(ge=0, description="People's answers that wait.")
    sent: int = Field(ge=0, description="Samples that ever arrived.")
    parked: int = Field(ge=0, description="Samples that the server refused.")
    shed: int = Field(ge=0, description="Samples that were given up for want of room.")


class HealthResponse(Told):
    """How the device is."""

    ready: bool = Field(description="Whether pictures can be answered for.")
    phase: str = Field(description="`starting`, `waiting for a bundle`, `running`, `draining` or `stopped`.")
    device_id: str = Field(description="The device's name.")
    software: str = Field(description="Version of edgeloop.")
    bundle: BundleHealth | None = Field(description="What answers; null before the first bundle.")
    outbox: OutboxHealth = Field(description="What waits to be sent.")
    source: str = Field(description="What is watched; empty where nothing is.")
    source_lost: str = Field(description="Why the camera gives no frames; empty while it does.")
    server_reached_at: float = Field(ge=0.0, description="When the server last answered, seconds since the epoch.")
    held_back: str = Field(description="Why samples and bundles wait although the server may be there; else empty.")
    last_error: str = Field(description="What stands wrong now, in one line; empty when all is well.")
    at: float = Field(description="Now, seconds since the epoch.")


class LabelsResponse(Told):
    """What an answer may name."""

    labels: list[str] = Field(description="Every class, those of galleries included.")

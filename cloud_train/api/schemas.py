"""Bodies of the fleet's API. The contract they follow: docs/formats/http.md. Page: docs/formats/api.md."""

from __future__ import annotations

from typing import Annotated

from pydantic import BaseModel, Field

from cloud_train.fleet.acts import Act
from cloud_train.fleet.drift import DriftMark
from cloud_train.fleet.names import MAX_LABELS
from cloud_train.fleet_types import Role, RolloutKind, RolloutState
from cloud_train.store.device_rows import Health
from edge.kiosk.schemas import Asked, Told

DIGEST = r"^[0-9a-f]{64}$"
LABEL_KEY = r"^[a-z0-9][a-z0-9_.-]{0,39}$"
LABEL_VALUE = r"^[A-Za-z0-9][A-Za-z0-9_.:-]{0,79}$"
MOST_REASON = 500
LabelKey = Annotated[str, Field(pattern=LABEL_KEY)]
LabelValue = Annotated[str, Field(pattern=LABEL_VALUE)]
Reason = Annotated[str, Field(default="", max_length=MOST_REASON, pattern=r"^[^\x00-\x1f\x7f]*$")]


class PinRequest(Asked):
    """Which bundle a device shall run whatever its channel offers."""

    bundle_digest: str = Field(pattern=r"^([0-9a-f]{64})?$", description="Of a published bundle; empty to unpin.")


class HoldRequest(Asked):
    """Whether a device shall stay on what it runs."""

    held: bool = Field(description="True to hold, false to let go.")


class LabelsRequest(Asked):
    """All labels of a device."""

    labels: dict[LabelKey, LabelValue] = Field(max_length=MAX_LABELS, description="They replace those that it has.")


class ReasonRequest(Asked):
    """Why something is done."""

    reason: Reason = Field(default="", max_length=MOST_REASON, description="One line, for the audit.")


class DeviceModel(BaseModel):
    """A device in a list."""

    device_id: str
    health: Health
    labels: dict[str, str]
    channel: str = Field(description="Empty for the server's own.")
    pinned: str
    held: bool
    last_seen: float = Field(description="Seconds since the epoch, UTC; 0 for never.")
    bundle_digest: str
    bundle_version: int
    software: str
    outbox_pending: int
    outbox_parked: int
    last_error: str


class DevicesResponse(Told):
    """A page of devices."""

    devices: list[DeviceModel]
    total: int = Field(description="Devices on all pages.")
    counted_at: float = Field(description="When these were counted, seconds since the epoch, UTC.")
    next: str = Field(description="Give it as `after` for the next page; empty on the last.")


class HourModel(BaseModel):
    """What a device did in one hour with one bundle."""

    hour: int = Field(description="Whole hours since the epoch, UTC.")
    bundle_digest: str
    frames: int
    accepted: int
    confirmed: int
    unknown: int
    failed: int
    unclean_starts: int


class AuditModel(BaseModel):
    """Something that was done."""

    at: float = Field(description="Seconds since the epoch, UTC.")
    who: str
    action: str
    subject: str
    detail: dict[str, str]


class DeviceStatusModel(BaseModel):
    """The rest of a last check-in."""

    frames: int
    platform: str
    outbox_bytes: int
    starts: int
    unclean_starts: int
    on_trial: bool
    clock_skew_s: float
    latency_p50_ms: float
    rejected: list[str]


class DeviceResponse(Told):
    """All about one device."""

    device: DeviceModel
    enrolled_at: float | None = Field(description="None for a device that nobody let in by name.")
    revoked_at: float | None
    update_windows: str
    status: DeviceStatusModel | None = Field(description="None before its first check-in.")
    hours: list[HourModel] = Field(description="The last 48.")
    history: list[AuditModel] = Field(description="The newest 100 entries of the audit about it.")


class MemberResponse(Told):
    """What people have decided about a device."""

    device_id: str
    labels: dict[str, str]
    channel: str
    pinned: str
    held: bool
    revoked_at: float | None


class RolloutModel(BaseModel):
    """A rollout, where it stands."""

    rollout_id: int
    channel: str
    kind: RolloutKind
    bundle_digest: str
    base_digest: str
    ring: int = Field(description="Index of the present ring, from 0.")
    num_rings: int
    state: RolloutState
    started_at: float
    ring_since: float
    ended_at: float | None
    reason: str
    made_by: str


class RolloutsResponse(Told):
    """The newest rollouts, newest first."""

    rollouts: list[RolloutModel]


class RingModel(BaseModel):
    """A ring, as it stands."""

    number: int
    percent: float
    labels: dict[str, str]
    devices: int
    on_new: int
    is_present: bool
    is_reached: bool


class FigureModel(BaseModel):
    """One figure of both bundles, as people read it."""

    name: str
    old: str
    new: str


class CheckModel(BaseModel):
    """One figure against its limit."""

    mark: str
    line: str


class DifferenceModel(BaseModel):
    """One figure of an A/B comparison, as people read it, with 95 % intervals."""

    name: str
    a: str
    b: str
    gap: str = Field(description="B minus A.")
    is_clear: bool = Field(description="Whether the interval of the difference leaves out 0.")


class RolloutResponse(Told):
    """How a rollout goes."""

    rollout: RolloutModel
    devices: int = Field(description="Devices of the channel.")
    rings: list[RingModel]
    figures: list[FigureModel]
    checks: list[CheckModel]
    next_action: str
    next_reason: str
    counted_at: float = Field(description="When devices and figures were gathered, seconds since the epoch, UTC.")
    waits_for_publisher: bool = Field(description="Whether the signed metadata have yet to follow the end of it.")
    differences: list[DifferenceModel] = Field(description="Of an A/B comparison, B against A.")
    notes: list[str] = Field(description="What to know before believing them.")


class ActResponse(Told):
    """A rollout after what was done to it."""

    act: Act
    rollout: RolloutModel


class AuditResponse(Told):
    """A page of the audit, newest first."""

    entries: list[AuditModel]
    next: int | None = Field(description="Give it as `before` for the next page; null on the last.")


class OverviewResponse(Told):
    """Every device, counted."""

    devices: int
    health: dict[Health, int]
    bundles: dict[str, int] = Field(description="Digest to devices that run it; the empty one for those that run none.")
    outbox_pending: int
    counted_at: float = Field(description="When it was counted, seconds since the epoch, UTC.")


class DriftSideModel(BaseModel):
    """Drift by one thing."""

    by: str = Field(description="`classes` or `confidence`.")
    mark: DriftMark
    score: float = Field(description="Population stability index less its chance part.")
    raw: float = Field(description="The index itself.")
    chance: float = Field(description="What chance makes of it, at the 95 % point.")
    frames: int
    largest: str = Field(description="What moved most; empty for nothing.")


class DriftModel(BaseModel):
    """Drift of one bundle."""

    bundle_digest: str
    devices: int = Field(description="Devices that were looked at.")
    hours: int = Field(description="Over so many last hours.")
    against: str = Field(description="What the field is held against; empty when there is nothing yet.")
    sides: list[DriftSideModel]


class DriftResponse(Told):
    """Drift of the bundles that most devices run, most first."""

    bundles: list[DriftModel]
    counted_at: float = Field(description="When it was gathered, seconds since the epoch, UTC.")


class PersonResponse(Told):
    """Who the token belongs to."""

    name: str
    role: Role

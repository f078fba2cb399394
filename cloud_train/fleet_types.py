"""The values of the fleet: devices as people see them, codes, certificates, people, rollouts."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field


class Role(enum.Enum):
    """What a person may do; each may also do what those before it may.

    VIEWER looks; LABELLER answers samples; OPERATOR moves devices and rollouts; ADMIN lets people and devices in.
    """

    VIEWER = "viewer"
    LABELLER = "labeller"
    OPERATOR = "operator"
    ADMIN = "admin"

    def covers(self, other: Role) -> bool:
        """Whether somebody of this role may do what `other` may."""
        order = list(Role)
        return order.index(self) >= order.index(other)


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """Somebody who may use the API.

    Attributes:
        name: Unique.
        role: What they may do.
        token_hash: SHA-256 of the bearer token, hex; the token itself is shown once and kept nowhere.
        made_at: Seconds since the epoch, UTC.
        revoked_at: When the token stopped to work, None while it does.
    """

    name: str
    role: Role
    token_hash: str = field(repr=False)
    made_at: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """What people decided about one device.

    Attributes:
        device_id: Its name.
        labels: Free key and value, as `store=17`.
        channel: The update channel it follows, empty for the server's own.
        enrolled_at: Seconds since the epoch, UTC.
        revoked_at: When it was shut out, None while it belongs.
        pinned: Digest of the bundle it shall run whatever its channel offers, empty for none.
        held: Whether it shall stay on what it runs.
        update_windows: Hours of its local day in which it may change its bundle, as `22:00-06:00`; empty for any.
    """

    device_id: str
    labels: dict[str, str] = field(default_factory=dict)
    channel: str = ""
    enrolled_at: float = 0.0
    revoked_at: float | None = None
    pinned: str = ""
    held: bool = False
    update_windows: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class EnrolmentCode:
    """A one-time code that lets one device in.

    Attributes:
        code_hash: SHA-256 of the code, hex; the code itself is shown once and kept nowhere.
        device_id: The name the device gets; empty lets it choose one.
        labels: What the device gets.
        channel: What the device gets.
        made_by: Who made it.
        made_at: Seconds since the epoch, UTC.
        expires_at: When it stops to work.
        used_at: When it was used, None before.
        used_by: The device that used it, empty before.
        used_key: SHA-256 of that device's public key (DER of its SubjectPublicKeyInfo), hex; the same key may use the
            code again while it lasts, so that a lost answer does not burn it.
    """

    code_hash: str = field(repr=False)
    device_id: str = ""
    labels: dict[str, str] = field(default_factory=dict)
    channel: str = ""
    made_by: str = ""
    made_at: float
    expires_at: float
    used_at: float | None = None
    used_by: str = ""
    used_key: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class CertificateRecord:
    """A certificate that speaks for a device.

    Attributes:
        fingerprint: SHA-256 of the DER form, hex.
        device_id: For whom.
        issued_at: Seconds since the epoch, UTC.
        not_after: When it expires.
        revoked_at: When it stopped to count, None while it does.
    """

    fingerprint: str
    device_id: str
    issued_at: float
    not_after: float
    revoked_at: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class AuditEntry:
    """Something that was done, by whom, to what.

    Attributes:
        at: Seconds since the epoch, UTC.
        who: `device:<id>`, `person:<name>`, `server`, or `peer:<address>` for somebody unknown.
        action: A word or two joined by a dot, as `sample.stored`, `enrol.refused`.
        subject: What it was done to, as `device:<id>`, `sample:<digest>`, `rollout:<id>`.
        detail: More, in plain texts; never a secret.
    """

    at: float
    who: str
    action: str
    subject: str
    detail: dict[str, str] = field(default_factory=dict)


class RolloutKind(enum.Enum):
    """ROLLOUT replaces one bundle by another; AB compares two side by side."""

    ROLLOUT = "rollout"
    AB = "ab"


class RolloutState(enum.Enum):
    """RUNNING and PAUSED may go on; HALTED waits for a person; ROLLED_BACK and DONE are ends."""

    RUNNING = "running"
    PAUSED = "paused"
    HALTED = "halted"
    ROLLED_BACK = "rolled_back"
    DONE = "done"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ring:
    """One step of a rollout: which devices it adds, and what must be seen before the next.

    Attributes:
        percent: Share of the channel's devices that have the new bundle in this ring, 0 to 100.
        labels: Devices that have all of these belong to this ring whatever the share.
        min_minutes: Least time in this ring.
        min_devices: Least devices that must have reported frames with the new bundle.
        min_frames: Least frames that these must have answered with it.
        max_minutes: Time after which doubt alone no longer holds the rollout up.
    """

    percent: float
    labels: dict[str, str] = field(default_factory=dict)
    min_minutes: float = 30.0
    min_devices: int = 1
    min_frames: int = 100
    max_minutes: float = 240.0


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthLimits:
    """What a new bundle may do worse than the old one before its rollout halts.

    Attributes:
        max_failed_devices: Most devices on which its self-test failed or that rolled back by themselves, in percent of
            those that tried it; and most devices in a crash loop, in percent of those that report.
        max_crash_ratio: Most unclean starts a device and hour, as a multiple of the old bundle's.
        max_silent_rise: Largest rise of the share of devices that fell silent, in points.
        max_latency_ratio: Largest 90th percentile of latency, as a multiple of the old bundle's.
        max_accept_drop: Largest drop of the accept rate, in points.
        max_unknown_rise: Largest rise of the unknown rate, in points.
        max_error_rate: Most frames on which the model failed, in percent.
        roll_back: Whether a halt also sends devices back to the old bundle.
    """

    max_failed_devices: float = 2.0
    max_crash_ratio: float = 2.0
    max_silent_rise: float = 10.0
    max_latency_ratio: float = 1.5
    max_accept_drop: float = 10.0
    max_unknown_rise: float = 10.0
    max_error_rate: float = 1.0
    roll_back: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class RolloutPlan:
    """How a rollout goes.

    Attributes:
        rings: In their order; the last one holds everybody.
        limits: When it halts.
    """

    rings: tuple[Ring, ...]
    limits: HealthLimits = field(default_factory=HealthLimits)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rollout:
    """A bundle on its way to the devices of a channel.

    Attributes:
        rollout_id: Unique, counted up; 0 before it is recorded.
        channel: Whose devices.
        kind: Replace, or compare.
        bundle_digest: The new bundle; in an A/B comparison bundle B.
        base_digest: The bundle it replaces; in an A/B comparison bundle A. Empty when the channel had none.
        plan: Rings and limits.
        ring: Index of the present ring.
        state: Where it stands.
        started_at: Seconds since the epoch, UTC.
        ring_since: When the present ring began.
        ended_at: When it ended, None before.
        reason: Why it halted or ended, one line.
        made_by: Who started it.
    """

    rollout_id: int = 0
    channel: str
    kind: RolloutKind = RolloutKind.ROLLOUT
    bundle_digest: str
    base_digest: str
    plan: RolloutPlan
    ring: int = 0
    state: RolloutState = RolloutState.RUNNING
    started_at: float
    ring_since: float
    ended_at: float | None = None
    reason: str = ""
    made_by: str = ""

"""Devices as the pages of the fleet show them: values alone."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

PAGE_SIZE = 100
WRONG_CLOCK_S = 300.0
"""A device whose clock is further off than this has trouble: certificates and releases expire by it."""


class Health(enum.Enum):
    """How a device is, the worst word that fits; WELL when none of the others does.

    REVOKED was shut out; UNSEEN never checked in; SILENT not for a while; TROUBLE says that something is wrong, or has
    a wrong clock; TRIAL has yet to show that its bundle works.
    """

    REVOKED = "revoked"
    UNSEEN = "unseen"
    SILENT = "silent"
    TROUBLE = "trouble"
    TRIAL = "trial"
    WELL = "well"


class Sort(enum.Enum):
    """Order of a list; of equals the name decides. A minus puts the greatest first."""

    NAME = "name"
    NAME_DOWN = "-name"
    LAST_SEEN = "last_seen"
    LAST_SEEN_DOWN = "-last_seen"
    VERSION = "version"
    VERSION_DOWN = "-version"
    OUTBOX = "outbox"
    OUTBOX_DOWN = "-outbox"

    @property
    def column(self) -> str:
        """The column of `DeviceRow` that it goes by."""
        names = {"name": "device_id", "version": "bundle_version", "outbox": "outbox_pending"}
        word = self.value.removeprefix("-")
        return names.get(word, word)

    @property
    def is_down(self) -> bool:
        """Whether the greatest comes first."""
        return self.value.startswith("-")


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceFilter:
    """Which devices; what is empty lets all through.

    Attributes:
        text: Is in the name, the software or the last error; capitals do not matter.
        label: Key of a label that the device has.
        label_value: What it says there; empty for anything.
        bundle: Beginning of the digest of the bundle it runs.
        health: How it is, None for any.
    """

    text: str = ""
    label: str = ""
    label_value: str = ""
    bundle: str = ""
    health: Health | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class After:
    """Where a page begins: after this device.

    Attributes:
        value: Of the column that the list is sorted by.
        device_id: Its name.
    """

    value: float | str
    device_id: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceRow:
    """A device in a list.

    Attributes:
        device_id: Its name.
        health: How it is.
        labels: What people wrote on it.
        channel: What people decided; empty for the server's own.
        pinned: Digest of the bundle it shall run whatever its channel offers, empty for none.
        held: Whether it shall stay on what it runs.
        last_seen: Seconds since the epoch, UTC; 0 for never, and then what follows is empty.
        bundle_digest: What it runs.
        bundle_version: Its version.
        software: As the device names it.
        outbox_pending: Entries that wait to be sent.
        outbox_parked: Entries that the server refused.
        last_error: The newest failure in one line.
    """

    device_id: str
    health: Health
    labels: dict[str, str]
    channel: str
    pinned: str
    held: bool
    last_seen: float
    bundle_digest: str
    bundle_version: int
    software: str
    outbox_pending: int
    outbox_parked: int
    last_error: str


@dataclass(frozen=True, slots=True, kw_only=True)
class DevicePage:
    """Some devices of a list.

    Attributes:
        rows: At most as many as were asked for.
        next: Where the next page begins, None for the last.
    """

    rows: tuple[DeviceRow, ...]
    next: After | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Group:
    """Devices that have something in common.

    Attributes:
        health: How they are.
        bundle_digest: What they run, empty for nothing.
        bundle_version: Its version.
        seen: Index into `SEEN_WITHIN_S` of the first that holds, or its length for longer ago or never.
        devices: How many.
        outbox_pending: Entries that wait on all of them.
    """

    health: Health
    bundle_digest: str
    bundle_version: int
    seen: int
    devices: int
    outbox_pending: int


SEEN_WITHIN_S = (300.0, 3600.0, 86_400.0, 7 * 86_400.0)
"""Ages of a last check-in that are counted apart."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceHour:
    """What a device did in one hour with one bundle.

    Attributes:
        hour: Whole hours since the epoch, UTC.
        bundle_digest: The bundle.
        frames: Frames answered.
        accepted: Of these, ACCEPT.
        confirmed: Of these, CONFIRM.
        unknown: Of these, UNKNOWN.
        failed: Frames on which the model failed.
        unclean_starts: Starts after an end that was no proper stop.
    """

    hour: int
    bundle_digest: str
    frames: int
    accepted: int
    confirmed: int
    unknown: int
    failed: int
    unclean_starts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceDetail:
    """All that is known of one device.

    Attributes:
        row: As in a list.
        enrolled_at: Seconds since the epoch, UTC; None for a device that nobody let in by name.
        revoked_at: When it was shut out.
        update_windows: Hours of its local day in which it may change its bundle.
        status: The columns of its last check-in that the list lacks; empty before the first.
    """

    row: DeviceRow
    enrolled_at: float | None
    revoked_at: float | None
    update_windows: str
    status: DeviceStatusRow | None


@dataclass(frozen=True, slots=True, kw_only=True)
class DeviceStatusRow:
    """The rest of a last check-in; every field as in `edge.sync.types.DeviceStatus`."""

    frames: int
    platform: str
    outbox_bytes: int
    starts: int
    unclean_starts: int
    on_trial: bool
    clock_skew_s: float
    latency_p50_ms: float
    rejected: tuple[str, ...] = field(default=())


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedBundle:
    """A bundle that devices may be pinned to.

    Attributes:
        bundle_digest: The bundle.
        channel: Where it was published.
        title: Name and version.
    """

    bundle_digest: str
    channel: str
    title: str


STATUS_NAMES = tuple(one.name for one in dataclasses.fields(DeviceStatusRow))
_LISTED = tuple(one.name for one in dataclasses.fields(DeviceRow))
_UNDECIDED = {"labels": {}, "channel": "", "pinned": "", "held": False}  # of a device that nobody let in by name


def row_of(row: Mapping[str, Any]) -> DeviceRow:
    """A row of the queries of `device_queries`."""
    fields = {name: row[name] for name in _LISTED}
    missing = {name: empty for name, empty in _UNDECIDED.items() if fields[name] is None}
    return DeviceRow(**{**fields, **missing, "health": Health(row["health"]), "held": bool(fields["held"])})


def detail_of(row: Mapping[str, Any]) -> DeviceDetail:
    """A row of `device_queries.detail_query`."""
    listed = row_of(row)
    status = None
    if row["health"] != Health.UNSEEN.value and listed.last_seen:
        told = {name: row[name] for name in STATUS_NAMES}
        status = DeviceStatusRow(**{**told, "rejected": tuple(told["rejected"]), "on_trial": bool(told["on_trial"])})
    return DeviceDetail(
        row=listed,
        enrolled_at=row["enrolled_at"],
        revoked_at=row["revoked_at"],
        update_windows=row["update_windows"] or "",
        status=status,
    )

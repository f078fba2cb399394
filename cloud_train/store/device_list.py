"""What the pages of the fleet read: devices by the page, counts of all, the hours of one. Reads only.

A device is known by what people decided (`members`), by what it reported (`devices`), or by both; the lists hold them
all. Pages go by key, not by number: the next page begins after the last device of this one, however deep it lies.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from cloud_train.store.database import Database

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

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
        total: Devices on all pages.
    """

    rows: tuple[DeviceRow, ...]
    next: After | None
    total: int


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


class DeviceList:
    """Reads devices. Thread-safe; raises `StorageError`.

    Args:
        database: Where.
        silent_after_s: A device that has not checked in for so long is SILENT.
    """

    def __init__(self, database: Database, *, silent_after_s: float) -> None:
        self._database = database
        self._silent_after_s = silent_after_s

    def page(
        self, wanted: DeviceFilter, *, sort: Sort, after: After | None, now: float, size: int = PAGE_SIZE
    ) -> DevicePage:
        """One page of the devices that a filter lets through.

        Args:
            wanted: Which devices.
            sort: Their order.
            after: Where the page begins, None for the first.
            now: Seconds since the epoch, UTC.
            size: Most devices on it.
        """
        query = page_query(wanted, sort=sort, after=after, silent_before=now - self._silent_after_s, size=size + 1)
        found = [_row(row) for row in self._database.read(query)]
        count = count_query(wanted, silent_before=now - self._silent_after_s)
        rows = tuple(found[:size])
        last = rows[-1] if len(found) > size else None
        following = After(value=getattr(last, sort.column), device_id=last.device_id) if last is not None else None
        return DevicePage(rows=rows, next=following, total=self._database.read(count)[0]["number"])

    def groups(self, *, now: float) -> tuple[Group, ...]:
        """Every device, counted by how it is, what it runs and when it was last seen."""
        query = groups_query(now=now, silent_before=now - self._silent_after_s)
        return tuple(Group(**{**row, "health": Health(row["health"])}) for row in self._database.read(query))

    def find(self, device_id: str, *, now: float) -> DeviceDetail | None:
        """One device, None where there is none of that name."""
        rows = self._database.read(detail_query(device_id, silent_before=now - self._silent_after_s))
        return _detail(rows[0]) if rows else None

    def hours(self, device_id: str, *, since: int) -> tuple[DeviceHour, ...]:
        """What a device did, oldest first, by hour and bundle.

        Args:
            device_id: Its name.
            since: The first hour, whole hours since the epoch.
        """
        return tuple(DeviceHour(**row) for row in self._database.read(hours_query(device_id, since=since)))

    def bundle_names(self, digests: Sequence[str]) -> dict[str, str]:
        """Digest to `name version` of the bundles among these that were published."""
        from cloud_train.store.tables import RELEASES

        if not digests:
            return {}
        query = RELEASES.select().where(RELEASES.c.bundle_digest.in_(set(digests)))
        return {row["bundle_digest"]: f"{row['name']} {row['version']}" for row in self._database.read(query)}

    def knows_bundle(self, bundle_digest: str) -> bool:
        """Whether a bundle was ever published, or is part of a rollout."""
        from sqlalchemy import or_, select, union_all

        from cloud_train.store.tables import RELEASES, ROLLOUTS

        table = ROLLOUTS.c
        rolled = or_(table.bundle_digest == bundle_digest, table.base_digest == bundle_digest)
        known = union_all(
            select(RELEASES.c.id).where(RELEASES.c.bundle_digest == bundle_digest),
            select(table.rollout_id).where(rolled),
        )
        return bool(self._database.read(known.limit(1)))

    def newest_bundles(self, *, limit: int) -> tuple[PublishedBundle, ...]:
        """The bundles that were published last, newest first, each once a channel."""
        from cloud_train.store.tables import RELEASES

        rows = self._database.read(RELEASES.select().order_by(RELEASES.c.id.desc()).limit(limit))
        found = {
            (row["bundle_digest"], row["channel"]): PublishedBundle(
                bundle_digest=row["bundle_digest"], channel=row["channel"], title=f"{row['name']} {row['version']}"
            )
            for row in rows
        }
        return tuple(found.values())


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


def page_query(
    wanted: DeviceFilter, *, sort: Sort, after: After | None, silent_before: float, size: int
) -> Select[Any]:
    """The select behind `DeviceList.page`: each of the two halves gives no more than a page, and so reads no more."""
    from sqlalchemy import select, union_all

    halves = []
    for half in _halves(wanted, silent_before=silent_before):
        inner = half.subquery()
        key = inner.c[sort.column]
        begun = inner.select() if after is None else inner.select().where(_begins(key, inner.c.device_id, sort, after))
        order = key.desc() if sort.is_down else key.asc()
        halves.append(select(begun.order_by(order, inner.c.device_id).limit(size).subquery()))
    both = union_all(*halves).subquery()
    key = both.c[sort.column]
    return both.select().order_by(key.desc() if sort.is_down else key.asc(), both.c.device_id).limit(size)


def count_query(wanted: DeviceFilter, *, silent_before: float) -> Select[Any]:
    """How many devices a filter lets through."""
    from sqlalchemy import func, select

    seen, unseen = _halves(wanted, silent_before=silent_before)
    counts = [half.with_only_columns(func.count()).scalar_subquery() for half in (seen, unseen)]
    return select((counts[0] + counts[1]).label("number"))


def groups_query(*, now: float, silent_before: float) -> Any:  # noqa: ANN401 - a compound select
    """The select behind `DeviceList.groups`: one pass over the devices, one over the members that never checked in."""
    from sqlalchemy import case, func, literal, union_all

    from cloud_train.store.tables import DEVICES

    seen, unseen = _halves(DeviceFilter(), silent_before=silent_before)
    ages = enumerate(SEEN_WITHIN_S)
    place = case(*((DEVICES.c.last_seen >= now - age, place) for place, age in ages), else_=len(SEEN_WITHIN_S))
    by = (
        _health(silent_before).label("health"),
        DEVICES.c.bundle_digest,
        DEVICES.c.bundle_version,
        place.label("seen"),
    )
    waiting = func.coalesce(func.sum(DEVICES.c.outbox_pending), 0).label("outbox_pending")
    never = _health_unseen().label("health")
    nothing = (literal("").label("bundle_digest"), literal(0).label("bundle_version"), literal(len(SEEN_WITHIN_S)))
    return union_all(
        seen.with_only_columns(*by, func.count().label("devices"), waiting).group_by(*by),
        unseen.with_only_columns(never, *nothing, func.count(), literal(0)).group_by(never),
    )


def detail_query(device_id: str, *, silent_before: float) -> Any:  # noqa: ANN401 - a compound select
    """The select behind `DeviceList.find`."""
    from sqlalchemy import union_all

    halves = _halves(DeviceFilter(), silent_before=silent_before, whole=True, only=device_id)
    return union_all(*halves).limit(1)


def hours_query(device_id: str, *, since: int) -> Select[Any]:
    """The select behind `DeviceList.hours`."""
    from sqlalchemy import func, select

    from cloud_train.store.tables import BUNDLE_HOURS as HOURS

    names = ("frames", "accepted", "confirmed", "unknown", "failed", "unclean_starts")
    sums = [func.sum(HOURS.c[name]).label(name) for name in names]
    of_device = select(HOURS.c.hour, HOURS.c.bundle_digest, *sums).where(HOURS.c.device_id == device_id)
    by = (HOURS.c.hour, HOURS.c.bundle_digest)
    return of_device.where(HOURS.c.hour >= since).group_by(*by).order_by(*by)


def _halves(
    wanted: DeviceFilter, *, silent_before: float, whole: bool = False, only: str = ""
) -> tuple[Select[Any], Select[Any]]:
    """Devices that have checked in, and members that never did."""
    from sqlalchemy import exists, select

    from cloud_train.store.tables import DEVICES, MEMBERS

    seen = select(*_seen_columns(silent_before, whole=whole)).select_from(
        DEVICES.outerjoin(MEMBERS, MEMBERS.c.device_id == DEVICES.c.device_id)
    )
    unseen = (
        select(*_unseen_columns(whole=whole))
        .select_from(MEMBERS)
        .where(~exists().where(DEVICES.c.device_id == MEMBERS.c.device_id).correlate(MEMBERS))
    )
    if only:
        seen, unseen = seen.where(DEVICES.c.device_id == only), unseen.where(MEMBERS.c.device_id == only)
    return (
        seen.where(*_conditions(wanted, DEVICES.c.device_id, _health(silent_before), seen=True)),
        unseen.where(*_conditions(wanted, MEMBERS.c.device_id, _health_unseen(), seen=False)),
    )


def _conditions(
    wanted: DeviceFilter, device_id: ColumnElement[str], health: ColumnElement[str], *, seen: bool
) -> list[ColumnElement[bool]]:
    from sqlalchemy import false, or_

    from cloud_train.store.tables import DEVICES, MEMBERS

    conditions: list[ColumnElement[bool]] = []
    if wanted.text:
        looked_at = [device_id, DEVICES.c.software, DEVICES.c.last_error] if seen else [device_id]
        conditions.append(or_(*(column.icontains(wanted.text, autoescape=True) for column in looked_at)))
    if wanted.label:
        said = MEMBERS.c.labels[wanted.label].as_string()
        conditions.append(said == wanted.label_value if wanted.label_value else said.is_not(None))
    if wanted.bundle:
        beyond = wanted.bundle + "g"  # a hex digit never is
        digest = DEVICES.c.bundle_digest
        conditions += [digest >= wanted.bundle, digest < beyond] if seen else [false()]
    if wanted.health is not None:
        conditions.append(health == wanted.health.value)
    return conditions


def _health(silent_before: float) -> ColumnElement[str]:
    from sqlalchemy import case, func, or_

    from cloud_train.store.tables import DEVICES, MEMBERS

    wrong = or_(DEVICES.c.last_error != "", func.abs(DEVICES.c.clock_skew_s) > WRONG_CLOCK_S)
    return case(
        (MEMBERS.c.revoked_at.is_not(None), Health.REVOKED.value),
        (DEVICES.c.last_seen < silent_before, Health.SILENT.value),
        (wrong, Health.TROUBLE.value),
        (DEVICES.c.on_trial, Health.TRIAL.value),
        else_=Health.WELL.value,
    )


def _health_unseen() -> ColumnElement[str]:
    from sqlalchemy import case

    from cloud_train.store.tables import MEMBERS

    return case((MEMBERS.c.revoked_at.is_not(None), Health.REVOKED.value), else_=Health.UNSEEN.value)


_STATUS = tuple(one.name for one in dataclasses.fields(DeviceStatusRow))
_SEEN = ("last_seen", "bundle_digest", "bundle_version", "software", "outbox_pending", "outbox_parked", "last_error")
_MEMBER = ("labels", "channel", "pinned", "held")
_MEMBER_MORE = ("enrolled_at", "revoked_at", "update_windows")


def _seen_columns(silent_before: float, *, whole: bool) -> list[ColumnElement[Any]]:
    from cloud_train.store.tables import DEVICES, MEMBERS

    names = (_MEMBER + _MEMBER_MORE, _SEEN + _STATUS) if whole else (_MEMBER, _SEEN)
    of_member, of_device = (
        [table.c[name] for name in some] for table, some in zip((MEMBERS, DEVICES), names, strict=True)
    )
    return [DEVICES.c.device_id, _health(silent_before).label("health"), *of_member, *of_device]


def _unseen_columns(*, whole: bool) -> list[ColumnElement[Any]]:
    from sqlalchemy import literal, null, type_coerce

    from cloud_train.store.tables import DEVICES, MEMBERS

    zeros = {str: "", int: 0, float: 0.0}
    of_member = [MEMBERS.c[name] for name in (_MEMBER + _MEMBER_MORE if whole else _MEMBER)]
    of_device = []
    for name in _SEEN + _STATUS if whole else _SEEN:
        kind = DEVICES.c[name].type
        zero = zeros.get(kind.python_type)
        of_device.append((type_coerce(null(), kind) if zero is None else literal(zero, kind)).label(name))
    return [MEMBERS.c.device_id, _health_unseen().label("health"), *of_member, *of_device]


def _begins(key: Any, device_id: Any, sort: Sort, after: After) -> ColumnElement[bool]:  # noqa: ANN401 - columns
    from sqlalchemy import and_, or_

    beyond = key < after.value if sort.is_down else key > after.value
    if sort.column == "device_id":
        return beyond
    # The first condition says nothing new; it is the one that an index answers.
    reached = key <= after.value if sort.is_down else key >= after.value
    return and_(reached, or_(beyond, device_id > after.device_id))


def _row(row: dict[str, Any]) -> DeviceRow:
    names = {one.name for one in dataclasses.fields(DeviceRow)}
    fields = {name: value for name, value in row.items() if name in names}
    decided = {"labels": {}, "channel": "", "pinned": "", "held": False}  # of a device that nobody let in by name
    missing = {name: empty for name, empty in decided.items() if fields[name] is None}
    return DeviceRow(**{**fields, **missing, "health": Health(row["health"]), "held": bool(fields["held"])})


def _detail(row: dict[str, Any]) -> DeviceDetail:
    listed = _row(row)
    status = None
    if row["health"] != Health.UNSEEN.value and listed.last_seen:
        told = {name: row[name] for name in _STATUS}
        status = DeviceStatusRow(**{**told, "rejected": tuple(told["rejected"]), "on_trial": bool(told["on_trial"])})
    return DeviceDetail(
        row=listed,
        enrolled_at=row["enrolled_at"],
        revoked_at=row["revoked_at"],
        update_windows=row["update_windows"] or "",
        status=status,
    )

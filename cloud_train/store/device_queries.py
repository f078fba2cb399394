"""The selects behind `DeviceList`. Each is built once for what is asked and given its times as parameters.

To build one takes as long as to run it; SQLAlchemy keeps what it has compiled of a select that it has seen before.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, Any

from cloud_train.store.device_rows import (
    SEEN_WITHIN_S,
    STATUS_NAMES,
    WRONG_CLOCK_S,
    After,
    DeviceFilter,
    Health,
    Sort,
)

if TYPE_CHECKING:
    from sqlalchemy import ColumnElement, Select

_MOST_KEPT = 128


def times(now: float, silent_before: float) -> dict[str, float]:
    """The parameters of all of these that have to do with time.

    Args:
        now: Seconds since the epoch, UTC.
        silent_before: A device that was last seen before is silent.
    """
    return {"silent_before": silent_before, **{f"seen_{place}": now - age for place, age in enumerate(SEEN_WITHIN_S)}}


def place_of(after: After | None) -> dict[str, Any]:
    """The parameters of `page_query` that say where a page begins."""
    return {} if after is None else {"after_value": after.value, "after_id": after.device_id}


@lru_cache(maxsize=_MOST_KEPT)
def page_query(wanted: DeviceFilter, *, sort: Sort, begins: bool, size: int) -> Select[Any]:
    """One page: each of the two halves gives no more than a page, and so reads no more.

    Args:
        wanted: Which devices.
        sort: Their order.
        begins: Whether the page begins after a device, rather than with the first.
        size: Most rows.
    """
    from sqlalchemy import select, union_all

    halves = []
    for half in _halves(wanted):
        inner = half.subquery()
        key = inner.c[sort.column]
        begun = inner.select().where(_begins(key, inner.c.device_id, sort)) if begins else inner.select()
        order = key.desc() if sort.is_down else key.asc()
        halves.append(select(begun.order_by(order, inner.c.device_id).limit(size).subquery()))
    both = union_all(*halves).subquery()
    key = both.c[sort.column]
    return both.select().order_by(key.desc() if sort.is_down else key.asc(), both.c.device_id).limit(size)


@lru_cache(maxsize=_MOST_KEPT)
def count_query(wanted: DeviceFilter) -> Select[Any]:
    """How many devices a filter lets through."""
    from sqlalchemy import func, select

    seen, unseen = _halves(wanted)
    counts = [half.with_only_columns(func.count()).scalar_subquery() for half in (seen, unseen)]
    return select((counts[0] + counts[1]).label("number"))


@lru_cache(maxsize=1)
def groups_query() -> Any:  # noqa: ANN401 - a compound select
    """Counts of all: one pass over the devices, one over the members that never checked in."""
    from sqlalchemy import bindparam, case, func, literal, union_all

    from cloud_train.store.tables import DEVICES

    seen, unseen = _halves(DeviceFilter())
    ages = (DEVICES.c.last_seen >= bindparam(f"seen_{place}") for place in range(len(SEEN_WITHIN_S)))
    place = case(*((is_within, place) for place, is_within in enumerate(ages)), else_=len(SEEN_WITHIN_S))
    by = (_health().label("health"), DEVICES.c.bundle_digest, DEVICES.c.bundle_version, place.label("seen"))
    waiting = func.coalesce(_sum(DEVICES.c.outbox_pending), 0).label("outbox_pending")
    never = _health_unseen().label("health")
    nothing = (literal("").label("bundle_digest"), literal(0).label("bundle_version"), literal(len(SEEN_WITHIN_S)))
    return union_all(
        seen.with_only_columns(*by, func.count().label("devices"), waiting).group_by(*by),
        unseen.with_only_columns(never, *nothing, func.count(), literal(0)).group_by(never),
    )


@lru_cache(maxsize=1)
def detail_query() -> Any:  # noqa: ANN401 - a compound select
    """The device of the name `only`."""
    from sqlalchemy import bindparam, union_all

    return union_all(*_halves(DeviceFilter(), whole=True, only=bindparam("only"))).limit(1)


@lru_cache(maxsize=1)
def hours_query() -> Select[Any]:
    """What the device `only` did from the hour `since` on, oldest first, by hour and bundle."""
    from sqlalchemy import bindparam, select

    from cloud_train.store.tables import BUNDLE_HOURS as HOURS

    names = ("frames", "accepted", "confirmed", "unknown", "failed", "unclean_starts")
    sums = [_sum(HOURS.c[name]).label(name) for name in names]
    of_device = select(HOURS.c.hour, HOURS.c.bundle_digest, *sums).where(HOURS.c.device_id == bindparam("only"))
    by = (HOURS.c.hour, HOURS.c.bundle_digest)
    return of_device.where(HOURS.c.hour >= bindparam("since")).group_by(*by).order_by(*by)


def _sum(column: ColumnElement[int]) -> ColumnElement[int]:
    """A whole number on both databases: PostgreSQL adds up BIGINT to NUMERIC, a decimal in Python."""
    from sqlalchemy import BigInteger, cast, func

    return cast(func.sum(column), BigInteger)


def _halves(
    wanted: DeviceFilter, *, whole: bool = False, only: ColumnElement[str] | None = None
) -> tuple[Select[Any], Select[Any]]:
    """Devices that have checked in, and members that never did."""
    from sqlalchemy import exists, select

    from cloud_train.store.tables import DEVICES, MEMBERS

    seen = select(*_seen_columns(whole=whole)).select_from(
        DEVICES.outerjoin(MEMBERS, MEMBERS.c.device_id == DEVICES.c.device_id)
    )
    unseen = (
        select(*_unseen_columns(whole=whole))
        .select_from(MEMBERS)
        .where(~exists().where(DEVICES.c.device_id == MEMBERS.c.device_id).correlate(MEMBERS))
    )
    if only is not None:
        seen, unseen = seen.where(DEVICES.c.device_id == only), unseen.where(MEMBERS.c.device_id == only)
    return (
        seen.where(*_conditions(wanted, DEVICES.c.device_id, _health(), seen=True)),
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


def _health() -> ColumnElement[str]:
    from sqlalchemy import bindparam, case, func, or_

    from cloud_train.store.tables import DEVICES, MEMBERS

    wrong = or_(DEVICES.c.last_error != "", func.abs(DEVICES.c.clock_skew_s) > WRONG_CLOCK_S)
    return case(
        (MEMBERS.c.revoked_at.is_not(None), Health.REVOKED.value),
        (DEVICES.c.last_seen < bindparam("silent_before"), Health.SILENT.value),
        (wrong, Health.TROUBLE.value),
        (DEVICES.c.on_trial, Health.TRIAL.value),
        else_=Health.WELL.value,
    )


def _health_unseen() -> ColumnElement[str]:
    from sqlalchemy import case

    from cloud_train.store.tables import MEMBERS

    return case((MEMBERS.c.revoked_at.is_not(None), Health.REVOKED.value), else_=Health.UNSEEN.value)


_SEEN = ("last_seen", "bundle_digest", "bundle_version", "software", "outbox_pending", "outbox_parked", "last_error")
_MEMBER = ("labels", "channel", "pinned", "held")
_MEMBER_MORE = ("enrolled_at", "revoked_at", "update_windows")


def _seen_columns(*, whole: bool) -> list[ColumnElement[Any]]:
    from cloud_train.store.tables import DEVICES, MEMBERS

    names = (_MEMBER + _MEMBER_MORE, _SEEN + STATUS_NAMES) if whole else (_MEMBER, _SEEN)
    of_member, of_device = (
        [table.c[name] for name in some] for table, some in zip((MEMBERS, DEVICES), names, strict=True)
    )
    return [DEVICES.c.device_id, _health().label("health"), *of_member, *of_device]


def _unseen_columns(*, whole: bool) -> list[ColumnElement[Any]]:
    from sqlalchemy import literal, null, type_coerce

    from cloud_train.store.tables import DEVICES, MEMBERS

    zeros = {str: "", int: 0, float: 0.0}
    of_member = [MEMBERS.c[name] for name in (_MEMBER + _MEMBER_MORE if whole else _MEMBER)]
    of_device = []
    for name in _SEEN + STATUS_NAMES if whole else _SEEN:
        kind = DEVICES.c[name].type
        zero = zeros.get(kind.python_type)
        of_device.append((type_coerce(null(), kind) if zero is None else literal(zero, kind)).label(name))
    return [MEMBERS.c.device_id, _health_unseen().label("health"), *of_member, *of_device]


def _begins(key: Any, device_id: Any, sort: Sort) -> ColumnElement[bool]:  # noqa: ANN401 - columns
    from sqlalchemy import and_, bindparam, or_

    value = bindparam("after_value")
    beyond = key < value if sort.is_down else key > value
    if sort.column == "device_id":
        return beyond
    # The first condition says nothing new; it is the one that an index answers.
    reached = key <= value if sort.is_down else key >= value
    return and_(reached, or_(beyond, device_id > bindparam("after_id")))

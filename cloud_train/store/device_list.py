"""What the pages of the fleet read: devices by the page, counts of all, the hours of one. Reads only.

A device is known by what people decided (`members`), by what it reported (`devices`), or by both; the lists hold them
all. Pages go by key, not by number: the next page begins after the last device of this one, however deep it lies.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from cloud_train.store.database import Database
from cloud_train.store.device_queries import (
    count_query,
    detail_query,
    groups_query,
    hours_query,
    page_query,
    place_of,
    times,
)
from cloud_train.store.device_rows import (
    PAGE_SIZE,
    After,
    DeviceDetail,
    DeviceFilter,
    DeviceHour,
    DevicePage,
    Group,
    Health,
    PublishedBundle,
    Sort,
    detail_of,
    row_of,
)


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
        query = page_query(wanted, sort=sort, begins=after is not None, size=size + 1)
        found = [row_of(row) for row in self._read(query, {**self._times(now), **place_of(after)})]
        rows = tuple(found[:size])
        last = rows[-1] if len(found) > size else None
        following = After(value=getattr(last, sort.column), device_id=last.device_id) if last is not None else None
        return DevicePage(rows=rows, next=following)

    def count(self, wanted: DeviceFilter, *, now: float) -> int:
        """How many devices a filter lets through, on all pages."""
        return int(self._read(count_query(wanted), self._times(now))[0]["number"])

    def groups(self, *, now: float) -> tuple[Group, ...]:
        """Every device, counted by how it is, what it runs and when it was last seen."""
        rows = self._read(groups_query(), self._times(now))
        return tuple(Group(**{**row, "health": Health(row["health"])}) for row in rows)

    def find(self, device_id: str, *, now: float) -> DeviceDetail | None:
        """One device, None where there is none of that name."""
        rows = self._read(detail_query(), {**self._times(now), "only": device_id})
        return detail_of(rows[0]) if rows else None

    def hours(self, device_id: str, *, since: int) -> tuple[DeviceHour, ...]:
        """What a device did, oldest first, by hour and bundle.

        Args:
            device_id: Its name.
            since: The first hour, whole hours since the epoch.
        """
        return tuple(DeviceHour(**row) for row in self._read(hours_query(), {"only": device_id, "since": since}))

    def running(self, bundle_digest: str) -> tuple[str, ...]:
        """The names of all devices that run a bundle."""
        from sqlalchemy import select

        from cloud_train.store.tables import DEVICES

        query = select(DEVICES.c.device_id).where(DEVICES.c.bundle_digest == bundle_digest)
        return tuple(row["device_id"] for row in self._database.read(query))

    def bundle_names(self, digests: Sequence[str]) -> dict[str, str]:
        """Digest to `name version` of the bundles among these that were published."""
        from cloud_train.store.tables import RELEASES

        if not digests:
            return {}
        query = RELEASES.select().where(RELEASES.c.bundle_digest.in_(set(digests)))
        return {row["bundle_digest"]: f"{row['name']} {row['version']}" for row in self._database.read(query)}

    def bundle_channel(self, bundle_digest: str) -> str:
        """The channel that a bundle was published for last; empty for none."""
        from cloud_train.store.tables import RELEASES

        query = RELEASES.select().where(RELEASES.c.bundle_digest == bundle_digest)
        rows = self._database.read(query.order_by(RELEASES.c.id.desc()).limit(1))
        return str(rows[0]["channel"]) if rows else ""

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

    def _times(self, now: float) -> dict[str, float]:
        return times(now, now - self._silent_after_s)

    def _read(self, query: Any, values: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:  # noqa: ANN401 - any select
        with self._database.connect() as connection:
            return connection.execute(query, values).mappings().all()

"""What bundles did, hour by hour and device by device, as the check-ins brought it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from cloud_train.store.database import Database
from cloud_train.store.prepared import upsert
from cloud_train.store.rows import fields_of
from edge.sync.types import CONFIDENCE_BINS, BundleHour

if TYPE_CHECKING:
    from sqlalchemy import Connection

_IN_CLAUSE = 500


class HourFigures(NamedTuple):
    """One row of a device and hour: a bundle's counts in one run of the process. A tuple, for there are very many.

    Attributes:
        device_id: Whose.
        hour: Whole hours since the epoch, UTC.
        frames: Frames answered.
        accepted: Of these, ACCEPT.
        confirmed: Of these, CONFIRM.
        unknown: Of these, UNKNOWN.
        failed: Frames on which the model failed.
        latency_p90_ms: From picture to decision.
        unclean_starts: Starts after no proper stop.
    """

    device_id: str
    hour: int
    frames: int
    accepted: int
    confirmed: int
    unknown: int
    failed: int
    latency_p90_ms: float
    unclean_starts: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Histograms:
    """What some devices saw with one bundle.

    Attributes:
        devices: How many of them.
        frames: Frames answered.
        confidence: Frames by calibrated confidence, `CONFIDENCE_BINS` counts.
        classes: Frames by label; the rarest of each device and hour under the empty name.
    """

    devices: int = 0
    frames: int = 0
    confidence: tuple[int, ...] = (0,) * CONFIDENCE_BINS
    classes: dict[str, int] = field(default_factory=dict)


class HourStore(Protocol):
    """Rows that survive a power cut once a call has returned. Thread-safe; raises `StorageError`."""

    def record(self, device_id: str, hours: tuple[BundleHour, ...]) -> None:
        """Writes the newest word of a device about its hours over the one before."""
        ...

    def figures(
        self, bundle_digest: str, device_ids: Sequence[str], *, since: int, until: int
    ) -> tuple[HourFigures, ...]:
        """What some devices did with a bundle in the hours `since` to `until`, both included."""
        ...

    def histograms(
        self, bundle_digest: str, *, since: int, until: int, device_ids: Sequence[str] | None = None
    ) -> Histograms:
        """What devices saw with a bundle in the hours `since` to `until`, both included; all of them, for None."""
        ...

    def first_hour(self, bundle_digest: str) -> int | None:
        """The first hour of a bundle in the field."""
        ...

    def forget(self, *, before: int) -> int:
        """Removes the hours before one; returns how many rows went."""
        ...


class SqlHourStore:
    """`HourStore` in the database of the store.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def record(self, device_id: str, hours: tuple[BundleHour, ...]) -> None:
        """See `HourStore.record`."""
        with self._database.connect(writes=True) as connection:
            write_hours(connection, device_id, hours)

    def figures(
        self, bundle_digest: str, device_ids: Sequence[str], *, since: int, until: int
    ) -> tuple[HourFigures, ...]:
        """See `HourStore.figures`."""
        from sqlalchemy import select

        from cloud_train.store.tables import BUNDLE_HOURS as HOURS

        query = select(*(HOURS.c[name] for name in HourFigures._fields)).where(
            HOURS.c.bundle_digest == bundle_digest, HOURS.c.hour.between(since, until)
        )
        found: list[HourFigures] = []
        with self._database.connect() as connection:
            for some in _chunks(device_ids):
                rows = connection.execute(query.where(HOURS.c.device_id.in_(some))).all()
                found.extend(map(HourFigures._make, rows))
        return tuple(found)

    def histograms(
        self, bundle_digest: str, *, since: int, until: int, device_ids: Sequence[str] | None = None
    ) -> Histograms:
        """See `HourStore.histograms`."""
        from sqlalchemy import select

        from cloud_train.store.tables import BUNDLE_HOURS as HOURS

        columns = (HOURS.c.device_id, HOURS.c.frames, HOURS.c.confidence, HOURS.c.classes)
        query = select(*columns).where(HOURS.c.bundle_digest == bundle_digest, HOURS.c.hour.between(since, until))
        queries = [query]
        if device_ids is not None:
            queries = [query.where(HOURS.c.device_id.in_(some)) for some in _chunks(device_ids)]
        with self._database.connect() as connection:
            return _summed(row for one in queries for row in connection.execute(one).all())

    def first_hour(self, bundle_digest: str) -> int | None:
        """See `HourStore.first_hour`."""
        from sqlalchemy import func, select

        from cloud_train.store.tables import BUNDLE_HOURS as HOURS

        query = select(func.min(HOURS.c.hour).label("hour")).where(
            HOURS.c.bundle_digest == bundle_digest, HOURS.c.frames > 0
        )
        found = self._database.read(query)[0]["hour"]
        return None if found is None else int(found)

    def forget(self, *, before: int) -> int:
        """See `HourStore.forget`."""
        from cloud_train.store.tables import BUNDLE_HOURS as HOURS

        with self._database.connect(writes=True) as connection:
            return connection.execute(HOURS.delete().where(HOURS.c.hour < before)).rowcount


def write_hours(connection: Connection, device_id: str, hours: tuple[BundleHour, ...]) -> None:
    """Writes hours within a transaction; a row of the same run is replaced."""
    from cloud_train.store.tables import BUNDLE_HOURS

    own = {"device_id": device_id, "unclean_starts": 0}
    rows = [{**fields_of(hour), "confidence": list(hour.confidence), **own} for hour in hours]
    if rows:
        connection.execute(upsert(connection, BUNDLE_HOURS, rows[0], kept=frozenset(("unclean_starts",))), rows)


def add_crashes(connection: Connection, device_id: str, bundle_digest: str, *, hour: int, number: int) -> None:
    """Adds unclean starts to an hour, within a transaction, in a row of no run: the server's own."""
    empty = fields_of(BundleHour(bundle_digest=bundle_digest, hour=hour, run=""))
    row: dict[str, Any] = {**empty, "confidence": [], "device_id": device_id, "unclean_starts": number}
    connection.execute(_counting(connection), [row])


def _counting(connection: Connection) -> Any:  # noqa: ANN401 - one type a dialect
    from sqlalchemy.dialects import postgresql, sqlite

    from cloud_train.store.tables import BUNDLE_HOURS

    insert: Any = (postgresql if connection.dialect.name == "postgresql" else sqlite).insert(BUNDLE_HOURS)
    keys = [column.name for column in BUNDLE_HOURS.primary_key]
    more = BUNDLE_HOURS.c.unclean_starts + insert.excluded.unclean_starts
    return insert.on_conflict_do_update(index_elements=keys, set_={"unclean_starts": more})


def _summed(rows: Iterable[Any]) -> Histograms:
    devices: set[str] = set()
    classes: Counter[str] = Counter()
    confidence, frames = [0] * CONFIDENCE_BINS, 0
    for device_id, counted, bins, labels in rows:
        if not counted:
            continue
        devices.add(device_id)
        frames += counted
        classes.update(labels)
        for place, number in enumerate(bins):
            confidence[place] += number
    return Histograms(devices=len(devices), frames=frames, confidence=tuple(confidence), classes=dict(classes))


def _chunks(names: Sequence[str]) -> Iterable[list[str]]:
    return (list(names[start : start + _IN_CLAUSE]) for start in range(0, len(names), _IN_CLAUSE))

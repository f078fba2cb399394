"""One check-in in one transaction: what is known of the device, and what it says now."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from cloud_train.fleet_types import AuditEntry, Member, Rollout
from cloud_train.store.database import Database, insert_rows
from cloud_train.store.hours import add_crashes, write_hours
from cloud_train.store.prepared import by_key, upsert
from cloud_train.store.rollouts import newest_of
from cloud_train.store.rows import fields_of
from cloud_train.types import DeviceRecord
from edge.sync.types import BundleHour

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True, kw_only=True)
class CheckInRecord:
    """What is written down of a check-in.

    Attributes:
        device: Its newest word about itself.
        hours: What its bundles did.
        crashes: Unclean starts by the bundle that is to blame, which came to light with this check-in.
        stranger: What becomes of a device that nobody let in: the member it is made; None to leave it a stranger.
    """

    device: DeviceRecord
    hours: tuple[BundleHour, ...]
    crashes: dict[str, int]
    stranger: Member | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Known:
    """What the server knew of a device before it spoke.

    Attributes:
        member: What people decided; None for a stranger.
        device: Its word before; None for a first check-in.
    """

    member: Member | None
    device: DeviceRecord | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """What an answer to a check-in is made of.

    Attributes:
        member: What people decided; None for a stranger that was left one.
        rollout: The newest of its channel, if there was ever one.
    """

    member: Member | None
    rollout: Rollout | None


class CheckInStore(Protocol):
    """Check-ins that survive a power cut once a call has returned. Thread-safe; raises `StorageError`."""

    def check_in(self, device_id: str, record: Callable[[Known], CheckInRecord], *, channel: str) -> Answered:
        """Reads what is known, writes what `record` makes of it, reads what the answer needs; one transaction.

        Args:
            device_id: Who speaks.
            record: Pure; called once.
            channel: For members that name none.
        """
        ...


class SqlCheckInStore:
    """`CheckInStore` in the database of the store.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def check_in(self, device_id: str, record: Callable[[Known], CheckInRecord], *, channel: str) -> Answered:
        """See `CheckInStore.check_in`."""
        from cloud_train.store.tables import DEVICES

        with self._database.connect(writes=True) as connection:
            known = _known(connection, device_id)
            made = record(known)
            member = known.member
            if member is None and made.stranger is not None:
                member = _take_in(connection, made.stranger)
            row = fields_of(made.device)
            connection.execute(upsert(connection, DEVICES, row), row)
            write_hours(connection, device_id, made.hours)
            hour = int(made.device.last_seen // 3600)
            for bundle, number in made.crashes.items():
                add_crashes(connection, device_id, bundle, hour=hour, number=number)
            return Answered(member=member, rollout=newest_of(connection, (member and member.channel) or channel))


def _known(connection: Connection, device_id: str) -> Known:
    from cloud_train.store.tables import DEVICES, MEMBERS

    device, member = (
        connection.execute(by_key(table, "device_id"), {"key": device_id}).mappings().first()
        for table in (DEVICES, MEMBERS)
    )
    return Known(
        member=None if member is None else Member(**member),
        device=None if device is None else DeviceRecord(**{**device, "rejected": tuple(device["rejected"])}),
    )


def _take_in(connection: Connection, member: Member) -> Member:
    from cloud_train.store.tables import AUDIT, MEMBERS

    row: dict[str, Any] = fields_of(member)
    entry = AuditEntry(
        at=member.enrolled_at, who="server", action="device.taken_in", subject=f"device:{member.device_id}"
    )
    insert_rows(connection, MEMBERS, [row])
    insert_rows(connection, AUDIT, [fields_of(entry)])
    return member

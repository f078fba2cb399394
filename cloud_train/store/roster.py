"""The devices of a channel, as a rollout sees them: what people decided beside what each said last."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from cloud_train.fleet_types import Member
from cloud_train.store.database import Database


@dataclass(frozen=True, slots=True)
class RosterDevice:
    """One device.

    Attributes:
        member: What people decided.
        last_seen: Seconds since the epoch, UTC.
        bundle_digest: What it ran then, empty for nothing.
        rejected: Digests of bundles that failed on it.
    """

    member: Member
    last_seen: float
    bundle_digest: str
    rejected: tuple[str, ...]


class Roster(Protocol):
    """Reads devices. Thread-safe; raises `StorageError`."""

    def devices(self, channel: str, *, is_default: bool) -> tuple[RosterDevice, ...]:
        """Those of a channel that have checked in and were not shut out.

        Args:
            channel: Its name.
            is_default: Whether members that name no channel follow it.
        """
        ...


class SqlRoster:
    """`Roster` in the database of the store.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def devices(self, channel: str, *, is_default: bool) -> tuple[RosterDevice, ...]:
        """See `Roster.devices`."""
        from sqlalchemy import String, cast, select

        from cloud_train.store.tables import DEVICES, MEMBERS

        # As texts, for most are the same empty ones, and ten thousand of them take longer to parse than to read.
        labels, rejected = cast(MEMBERS.c.labels, String), cast(DEVICES.c.rejected, String)
        decided = (labels, MEMBERS.c.channel, MEMBERS.c.pinned, MEMBERS.c.held)
        said = (DEVICES.c.last_seen, DEVICES.c.bundle_digest, rejected)
        query = (
            select(DEVICES.c.device_id, *decided, *said)
            .join_from(DEVICES, MEMBERS, DEVICES.c.device_id == MEMBERS.c.device_id)
            .where(MEMBERS.c.revoked_at.is_(None), MEMBERS.c.channel.in_([channel, ""] if is_default else [channel]))
        )
        with self._database.connect() as connection:
            rows = connection.execute(query).all()
        return tuple(
            RosterDevice(
                Member(device_id=name, labels=_parsed(labels), channel=follows, pinned=pinned, held=held),
                last_seen,
                digest,
                tuple(_parsed(rejected)),
            )
            for name, labels, follows, pinned, held, last_seen, digest, rejected in rows
        )


@lru_cache(maxsize=4096)
def _parsed(text: str) -> Any:  # noqa: ANN401 - JSON; nobody changes what many share
    return json.loads(text)

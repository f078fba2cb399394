"""Rollouts: one at a time a channel, every change one transaction with its audit."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from cloud_train.errors import RolloutError
from cloud_train.fleet_types import AuditEntry, Rollout, RolloutKind, RolloutPlan, RolloutState
from cloud_train.store.database import Database, insert_rows
from cloud_train.store.prepared import by_key
from cloud_train.store.rows import fields_of
from edge import jsonvalue

if TYPE_CHECKING:
    from sqlalchemy import Connection

OPEN = (RolloutState.RUNNING, RolloutState.PAUSED, RolloutState.HALTED)
"""States of a rollout that has its channel to itself."""


class RolloutStore(Protocol):
    """Rollouts that survive a power cut once a call has returned. Thread-safe; raises `StorageError`."""

    def start(self, rollout: Rollout, entry: AuditEntry) -> Rollout:
        """Records a new one with its audit.

        Returns:
            The same with its number.

        Raises:
            RolloutError: Another one has the channel.
        """
        ...

    def change(self, before: Rollout, after: Rollout, entry: AuditEntry) -> bool:
        """Writes the next state of one, if nobody has changed it since `before` was read; the entry too, only then."""
        ...

    def rollout(self, rollout_id: int) -> Rollout | None:
        """One."""
        ...

    def rollouts(self, *, channel: str = "", limit: int = 100) -> tuple[Rollout, ...]:
        """The newest, newest first; of one channel, when given."""
        ...

    def running(self) -> tuple[Rollout, ...]:
        """Those that the rule looks after."""
        ...


class SqlRolloutStore:
    """`RolloutStore` in the database of the store.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def start(self, rollout: Rollout, entry: AuditEntry) -> Rollout:
        """See `RolloutStore.start`."""
        from cloud_train.store.tables import AUDIT, ROLLOUTS

        with self._database.connect(writes=True) as connection:
            _take_turn(connection, rollout.channel)
            busy = newest_of(connection, rollout.channel)
            if busy is not None and busy.state in OPEN:
                raise RolloutError(
                    f"rollout {busy.rollout_id} of channel {busy.channel} is {busy.state.value}",
                    hint=f"end it first: edgeloop rollout rollback {busy.rollout_id}",
                )
            row = {name: value for name, value in _row(rollout).items() if name != "rollout_id"}
            number = connection.execute(ROLLOUTS.insert().returning(ROLLOUTS.c.rollout_id), row).scalar_one()
            insert_rows(connection, AUDIT, [fields_of(replace(entry, subject=f"rollout:{number}"))])
        return replace(rollout, rollout_id=number)

    def change(self, before: Rollout, after: Rollout, entry: AuditEntry) -> bool:
        """See `RolloutStore.change`."""
        from cloud_train.store.tables import AUDIT, ROLLOUTS

        table = ROLLOUTS.c
        unchanged = (
            table.rollout_id == before.rollout_id,
            table.state == before.state.value,
            table.ring == before.ring,
            table.ring_since == before.ring_since,
        )
        with self._database.connect(writes=True) as connection:
            done = connection.execute(ROLLOUTS.update().where(*unchanged).values(_row(after))).rowcount
            if done:
                insert_rows(connection, AUDIT, [fields_of(entry)])
        return bool(done)

    def rollout(self, rollout_id: int) -> Rollout | None:
        """See `RolloutStore.rollout`."""
        from cloud_train.store.tables import ROLLOUTS

        rows = self._database.read(ROLLOUTS.select().where(ROLLOUTS.c.rollout_id == rollout_id))
        return _rollout(rows[0]) if rows else None

    def rollouts(self, *, channel: str = "", limit: int = 100) -> tuple[Rollout, ...]:
        """See `RolloutStore.rollouts`."""
        from cloud_train.store.tables import ROLLOUTS

        query = ROLLOUTS.select().order_by(ROLLOUTS.c.rollout_id.desc()).limit(limit)
        rows = self._database.read(query.where(ROLLOUTS.c.channel == channel) if channel else query)
        return tuple(_rollout(row) for row in rows)

    def running(self) -> tuple[Rollout, ...]:
        """See `RolloutStore.running`."""
        from cloud_train.store.tables import ROLLOUTS

        running = ROLLOUTS.c.state == RolloutState.RUNNING.value
        return tuple(_rollout(row) for row in self._database.read(ROLLOUTS.select().where(running)))


def rolled_back(rollouts: RolloutStore, channel: str, bundle_digest: str) -> int:
    """The number of a channel's newest rollout where that one was of this bundle and has been rolled back, else 0."""
    newest = next(iter(rollouts.rollouts(channel=channel, limit=1)), None)
    if newest is None or newest.state is not RolloutState.ROLLED_BACK or newest.bundle_digest != bundle_digest:
        return 0
    return newest.rollout_id


def newest_of(connection: Connection, channel: str) -> Rollout | None:
    """The newest rollout of a channel, within a transaction."""
    row = connection.execute(_newest(), {"key": channel}).mappings().first()
    return None if row is None else _rollout(row)


@lru_cache(maxsize=1)
def _newest() -> Any:  # noqa: ANN401 - a select; built once, for it runs at every check-in
    from cloud_train.store.tables import ROLLOUTS

    return by_key(ROLLOUTS, "channel").order_by(ROLLOUTS.c.rollout_id.desc()).limit(1)


def _take_turn(connection: Connection, channel: str) -> None:
    """Two starts on one channel come one after the other; SQLite lets one writer in anyhow."""
    if connection.dialect.name == "postgresql":
        from sqlalchemy import func, select

        connection.execute(select(func.pg_advisory_xact_lock(func.hashtext(f"edgeloop rollout {channel}"))))


def _row(rollout: Rollout) -> dict[str, Any]:
    return {
        **fields_of(rollout),
        "kind": rollout.kind.value,
        "state": rollout.state.value,
        "plan": jsonvalue.to_json(rollout.plan),
    }


def _rollout(row: Mapping[str, Any]) -> Rollout:
    enums = {"kind": RolloutKind(row["kind"]), "state": RolloutState(row["state"])}
    plan = jsonvalue.from_json(RolloutPlan, row["plan"], where=f"rollout {row['rollout_id']}")
    return Rollout(**{**row, **enums, "plan": plan})

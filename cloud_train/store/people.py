"""People who may use the API, by the hash of their token."""

from __future__ import annotations

from typing import Any, Protocol

from cloud_train.errors import UnknownPersonError
from cloud_train.fleet_types import AuditEntry, Person, Role
from cloud_train.store.database import Database, insert_rows
from cloud_train.store.rows import fields_of
from edge.errors import UsageError


class PeopleStore(Protocol):
    """Rows that survive a power cut once a call has returned. Thread-safe; raises `StorageError`."""

    def add(self, person: Person, entry: AuditEntry) -> None:
        """Records somebody; a name whose token was revoked may be given anew.

        Raises:
            UsageError: The name belongs to somebody whose token works.
        """
        ...

    def by_token(self, token_hash: str) -> Person | None:
        """Who has a token; revoked ones too."""
        ...

    def by_name(self, name: str) -> Person | None:
        """Who is called so; revoked ones too."""
        ...

    def all(self) -> tuple[Person, ...]:
        """Everybody by name, revoked ones too."""
        ...

    def revoke(self, name: str, entry: AuditEntry) -> None:
        """Ends somebody's token from `entry.at` on.

        Raises:
            UnknownPersonError: No such person.
        """
        ...


class SqlPeopleStore:
    """`PeopleStore` in the database of the store.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def add(self, person: Person, entry: AuditEntry) -> None:
        """See `PeopleStore.add`."""
        from cloud_train.store.tables import AUDIT, PEOPLE

        with self._database.connect(writes=True) as connection:
            same = PEOPLE.select().where(PEOPLE.c.name == person.name).with_for_update()
            there = connection.execute(same).mappings().first()
            if there is not None and there["revoked_at"] is None:
                raise UsageError(f"{person.name!r} has a token already", hint="revoke it first, or take another name")
            row = {**fields_of(person), "role": person.role.value}
            insert_rows(connection, PEOPLE, [row], replace=True)
            insert_rows(connection, AUDIT, [fields_of(entry)])

    def by_token(self, token_hash: str) -> Person | None:
        """See `PeopleStore.by_token`."""
        from cloud_train.store.tables import PEOPLE

        rows = self._database.read(PEOPLE.select().where(PEOPLE.c.token_hash == token_hash))
        return _person(rows[0]) if rows else None

    def by_name(self, name: str) -> Person | None:
        """See `PeopleStore.by_name`."""
        from cloud_train.store.tables import PEOPLE

        rows = self._database.read(PEOPLE.select().where(PEOPLE.c.name == name))
        return _person(rows[0]) if rows else None

    def all(self) -> tuple[Person, ...]:
        """See `PeopleStore.all`."""
        from cloud_train.store.tables import PEOPLE

        return tuple(_person(row) for row in self._database.read(PEOPLE.select().order_by(PEOPLE.c.name)))

    def revoke(self, name: str, entry: AuditEntry) -> None:
        """See `PeopleStore.revoke`."""
        from cloud_train.store.tables import AUDIT, PEOPLE

        with self._database.connect(writes=True) as connection:
            ended = PEOPLE.update().where(PEOPLE.c.name == name, PEOPLE.c.revoked_at.is_(None))
            if connection.execute(ended.values(revoked_at=entry.at)).rowcount == 0:
                raise UnknownPersonError(f"nobody called {name!r} has a token", hint="see `edgeloop fleet people list`")
            insert_rows(connection, AUDIT, [fields_of(entry)])


def _person(row: dict[str, Any]) -> Person:
    return Person(**{**row, "role": Role(row["role"])})

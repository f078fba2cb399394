"""People and their bearer tokens. A token is shown once, when it is made; the fleet keeps its hash."""

from __future__ import annotations

import hmac
from collections.abc import Callable

from cloud_train.fleet.attempts import Attempts
from cloud_train.fleet.codes import hash_of_token, new_token
from cloud_train.fleet.members import By
from cloud_train.fleet.names import check_person
from cloud_train.fleet_types import AuditEntry, Person, Role
from cloud_train.store.audit import AuditLog
from cloud_train.store.people import PeopleStore


class People:
    """Who may use the API. Thread-safe.

    Args:
        store: Where they are recorded.
        audit: Where failures are written down.
        attempts: Counts wrong tokens by address.
    """

    def __init__(self, store: PeopleStore, audit: AuditLog, *, attempts: Attempts | None = None) -> None:
        self._store = store
        self._audit = audit
        self._attempts = attempts or Attempts()

    def add(self, name: str, role: Role, by: By, *, random_bytes: Callable[[int], bytes]) -> str:
        """Gives somebody a token.

        Args:
            name: Theirs; one whose token was revoked may have a new one.
            role: What they may do.
            by: Who adds them.
            random_bytes: `secrets.token_bytes`.

        Returns:
            The token; it cannot be read again.

        Raises:
            UsageError: The name is malformed, or has a token already.
        """
        token = new_token(random_bytes)
        person = Person(name=check_person(name), role=role, token_hash=hash_of_token(token), made_at=by.now)
        detail = {"role": role.value}
        self._store.add(
            person, AuditEntry(at=by.now, who=by.who, action="people.added", subject=_subject(name), detail=detail)
        )
        return token

    def revoke(self, name: str, by: By) -> None:
        """Ends somebody's token, from the next request on.

        Raises:
            UnknownPersonError: Nobody of this name has one.
        """
        self._store.revoke(name, AuditEntry(at=by.now, who=by.who, action="people.revoked", subject=_subject(name)))

    def find(self, name: str) -> Person | None:
        """Who is called so, those whose tokens were revoked too."""
        return self._store.by_name(name)

    def all(self) -> tuple[Person, ...]:
        """Everybody by name, those whose tokens were revoked too."""
        return self._store.all()

    def authenticate(self, token: str, *, now: float, peer: str = "") -> Person | None:
        """Whose token this is.

        Args:
            token: As it came.
            now: Seconds since the epoch, UTC.
            peer: The address that it came from; failures are counted by it.

        Returns:
            The person; None for a token that nobody has, or that was revoked.

        Raises:
            RoadError: Too many wrong tokens from this address.
            StorageError: The database failed.
        """
        self._attempts.check(peer, now)
        token_hash = hash_of_token(token)
        person = self._store.by_token(token_hash)
        if person is not None and person.revoked_at is None and hmac.compare_digest(person.token_hash, token_hash):
            return person
        self._attempts.failed(peer, now)
        subject = _subject(person.name) if person else "people"
        reason = "revoked" if person else "unknown token"
        entry = AuditEntry(
            at=now, who=f"peer:{peer}", action="people.refused", subject=subject, detail={"reason": reason}
        )
        self._audit.record(entry)
        return None


def _subject(name: str) -> str:
    return f"person:{name}"

"""Who belongs to the fleet: members, the codes that let them in, the certificates that speak for them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from cloud_train.errors import UnknownDeviceError
from cloud_train.fleet_types import AuditEntry, CertificateRecord, EnrolmentCode, Member
from cloud_train.store.admission import Admission, Verdict, verdict_on
from cloud_train.store.database import Database, insert_rows
from cloud_train.store.rows import fields_of
from edge import durable
from edge.errors import UsageError

if TYPE_CHECKING:
    from sqlalchemy import Connection

_IN_CLAUSE = 500


@dataclass(frozen=True, slots=True, kw_only=True)
class MemberChange:
    """What people change about a member; None leaves a thing as it is.

    Attributes:
        labels: All of its labels.
        channel: The update channel it follows.
        pinned: Digest of the bundle it shall run whatever its channel offers, empty for none.
        held: Whether it shall stay on what it runs.
        update_windows: Hours in which it may change its bundle, empty for any.
    """

    labels: dict[str, str] | None = None
    channel: str | None = None
    pinned: str | None = None
    held: bool | None = None
    update_windows: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Speaker:
    """For whom a certificate speaks.

    Attributes:
        device_id: The member.
        not_after: When the certificate expires, seconds since the epoch.
        is_shut_out: Whether the certificate or its member was revoked.
    """

    device_id: str
    not_after: float
    is_shut_out: bool


class FleetStore(Protocol):
    """Rows that survive a power cut once a call has returned. Thread-safe; raises `StorageError`.

    What changes something takes the entry of the audit and writes both in one transaction.
    """

    def member(self, device_id: str) -> Member | None:
        """One member, None for a device that nobody let in."""
        ...

    def members(self, *, channel: str | None = None) -> tuple[Member, ...]:
        """All of them by name; of one channel, when given. Revoked ones too."""
        ...

    def change(self, device_id: str, change: MemberChange, entry: AuditEntry) -> Member:
        """Changes what people decided about a member.

        Raises:
            UnknownDeviceError: No such member.
        """
        ...

    def revoke(self, device_id: str, entry: AuditEntry) -> None:
        """Shuts a member out from `entry.at` on: its certificates, and every code that it could come back with.

        Raises:
            UnknownDeviceError: No such member.
        """
        ...

    def readmit(self, device_id: str, entry: AuditEntry) -> None:
        """Lets a revoked member speak again with the certificate it has.

        Raises:
            UnknownDeviceError: No such member.
        """
        ...

    def add_codes(self, codes: tuple[EnrolmentCode, ...], entry: AuditEntry) -> None:
        """Records codes."""
        ...

    def code(self, code_hash: str) -> EnrolmentCode | None:
        """One code."""
        ...

    def admit(self, admission: Admission, entry: AuditEntry) -> Verdict:
        """Uses a code, once; a second time only for the key that it was used by.

        A code that names a member gives that name to the new key, and the member's older certificates end. A code
        without a name never takes one that is somebody's.
        """
        ...

    def register(self, certificate: CertificateRecord | None, member: Member, entry: AuditEntry) -> None:
        """Takes in a member without a code, or a certificate that somebody brought for one that is there.

        Raises:
            UsageError: The certificate speaks for another member, or was revoked.
        """
        ...

    def add_certificate(self, certificate: CertificateRecord, entry: AuditEntry, *, by: str = "") -> bool:
        """Records the next certificate of a member; False, and nothing, for one that was revoked.

        Args:
            certificate: The next one.
            entry: For the audit.
            by: Fingerprint of the certificate that asked, which must still count; empty for nobody's.
        """
        ...

    def certificates(self, device_id: str) -> tuple[CertificateRecord, ...]:
        """Those of one device, the newest first."""
        ...

    def speaker(self, fingerprint: str) -> Speaker | None:
        """For whom a certificate speaks; None for one that nobody knows."""
        ...

    def shut_out(self, fingerprints: Iterable[str]) -> frozenset[str]:
        """Those of some certificates that do not count any more, or never did."""
        ...


class SqlFleetStore:
    """`FleetStore` in the database of the store.

    Args:
        database: Where.
    """

    def __init__(self, database: Database) -> None:
        self._database = database

    def member(self, device_id: str) -> Member | None:
        """See `FleetStore.member`."""
        from cloud_train.store.tables import MEMBERS

        rows = self._database.read(MEMBERS.select().where(MEMBERS.c.device_id == device_id))
        return Member(**rows[0]) if rows else None

    def members(self, *, channel: str | None = None) -> tuple[Member, ...]:
        """See `FleetStore.members`."""
        from cloud_train.store.tables import MEMBERS

        query = MEMBERS.select().order_by(MEMBERS.c.device_id)
        rows = self._database.read(query if channel is None else query.where(MEMBERS.c.channel == channel))
        return tuple(Member(**row) for row in rows)

    def change(self, device_id: str, change: MemberChange, entry: AuditEntry) -> Member:
        """See `FleetStore.change`."""
        values = {name: value for name, value in fields_of(change).items() if value is not None}
        with self._database.connect(writes=True) as connection:
            _update_member(connection, device_id, values)
            _note(connection, entry)
        member = self.member(device_id)
        assert member is not None  # noqa: S101 - members are never deleted
        return member

    def revoke(self, device_id: str, entry: AuditEntry) -> None:
        """See `FleetStore.revoke`."""
        from sqlalchemy import or_

        from cloud_train.store.tables import CODES

        durable.reached("fleet.revoke:before")
        with self._database.connect(writes=True) as connection:
            _update_member(connection, device_id, {"revoked_at": entry.at})
            theirs = or_(CODES.c.used_by == device_id, CODES.c.device_id == device_id)
            _end_codes(connection, theirs)
            _note(connection, entry)
        durable.reached("fleet.revoke:after")

    def readmit(self, device_id: str, entry: AuditEntry) -> None:
        """See `FleetStore.readmit`."""
        with self._database.connect(writes=True) as connection:
            _update_member(connection, device_id, {"revoked_at": None})
            _note(connection, entry)

    def add_codes(self, codes: tuple[EnrolmentCode, ...], entry: AuditEntry) -> None:
        """See `FleetStore.add_codes`."""
        from cloud_train.store.tables import CODES

        with self._database.connect(writes=True) as connection:
            insert_rows(connection, CODES, [fields_of(code) for code in codes])
            _note(connection, entry)

    def code(self, code_hash: str) -> EnrolmentCode | None:
        """See `FleetStore.code`."""
        from cloud_train.store.tables import CODES

        rows = self._database.read(CODES.select().where(CODES.c.code_hash == code_hash))
        return EnrolmentCode(**rows[0]) if rows else None

    def admit(self, admission: Admission, entry: AuditEntry) -> Verdict:
        """See `FleetStore.admit`."""
        from cloud_train.store.tables import CERTIFICATES, CODES, MEMBERS

        durable.reached("fleet.admit:before")
        with self._database.connect(writes=True) as connection:
            code = _locked(connection, CODES.select().where(CODES.c.code_hash == admission.code_hash))
            member = _locked(connection, MEMBERS.select().where(MEMBERS.c.device_id == admission.device_id))
            known_code = EnrolmentCode(**code) if code else None
            known_member = Member(**member) if member else None
            verdict = verdict_on(known_code, known_member, admission)
            if verdict is not Verdict.ADMITTED or known_code is None:
                return verdict
            if known_code.used_at is None:
                _use(connection, known_code, known_member, admission)
            insert_rows(connection, CERTIFICATES, [fields_of(admission.certificate)])
            _note(connection, entry)
        durable.reached("fleet.admit:after")
        return verdict

    def register(self, certificate: CertificateRecord | None, member: Member, entry: AuditEntry) -> None:
        """See `FleetStore.register`."""
        from cloud_train.store.tables import CERTIFICATES, MEMBERS

        with self._database.connect(writes=True) as connection:
            insert_rows(connection, MEMBERS, [fields_of(member)])
            if certificate is not None:
                insert_rows(connection, CERTIFICATES, [fields_of(certificate)])
                same = CERTIFICATES.select().where(CERTIFICATES.c.fingerprint == certificate.fingerprint)
                _require_own(connection.execute(same).mappings().one(), certificate)
            _note(connection, entry)

    def add_certificate(self, certificate: CertificateRecord, entry: AuditEntry, *, by: str = "") -> bool:
        """See `FleetStore.add_certificate`."""
        from cloud_train.store.tables import CERTIFICATES, MEMBERS

        with self._database.connect(writes=True) as connection:
            member = _locked(connection, MEMBERS.select().where(MEMBERS.c.device_id == certificate.device_id))
            if member is None or member["revoked_at"] is not None:
                return False
            asking = _locked(connection, CERTIFICATES.select().where(CERTIFICATES.c.fingerprint == by)) if by else None
            if by and (asking is None or asking["revoked_at"] is not None):
                return False
            insert_rows(connection, CERTIFICATES, [fields_of(certificate)])
            _note(connection, entry)
        return True

    def certificates(self, device_id: str) -> tuple[CertificateRecord, ...]:
        """See `FleetStore.certificates`."""
        from cloud_train.store.tables import CERTIFICATES

        query = CERTIFICATES.select().where(CERTIFICATES.c.device_id == device_id)
        rows = self._database.read(query.order_by(CERTIFICATES.c.issued_at.desc(), CERTIFICATES.c.fingerprint))
        return tuple(CertificateRecord(**row) for row in rows)

    def speaker(self, fingerprint: str) -> Speaker | None:
        """See `FleetStore.speaker`."""
        with self._database.connect() as connection:
            row = connection.execute(_one_speaker(), {"asked": fingerprint}).one_or_none()
        if row is None:
            return None
        device_id, not_after, *revoked = row
        return Speaker(device_id=device_id, not_after=not_after, is_shut_out=any(at is not None for at in revoked))

    def shut_out(self, fingerprints: Iterable[str]) -> frozenset[str]:
        """See `FleetStore.shut_out`."""
        from sqlalchemy import select

        from cloud_train.store.tables import CERTIFICATES, MEMBERS

        asked = sorted(set(fingerprints))
        good: set[str] = set()
        both = CERTIFICATES.join(MEMBERS, MEMBERS.c.device_id == CERTIFICATES.c.device_id)
        valid = CERTIFICATES.c.revoked_at.is_(None), MEMBERS.c.revoked_at.is_(None)
        for start in range(0, len(asked), _IN_CLAUSE):
            some = CERTIFICATES.c.fingerprint.in_(asked[start : start + _IN_CLAUSE])
            query = select(CERTIFICATES.c.fingerprint).select_from(both).where(some, *valid)
            with self._database.connect() as connection:
                good.update(connection.execute(query).scalars())
        return frozenset(asked) - good


def _use(connection: Connection, code: EnrolmentCode, member: Member | None, admission: Admission) -> None:
    """The first use of a code: its member comes to be, or changes its key."""
    from cloud_train.store.tables import CERTIFICATES, CODES, MEMBERS

    device_id, now = admission.device_id, admission.now
    _end_codes(connection, CODES.c.used_by == device_id)
    used = {"used_at": now, "used_by": device_id, "used_key": admission.key_hash}
    connection.execute(CODES.update().where(CODES.c.code_hash == code.code_hash).values(**used))
    if member is None:
        fresh = Member(device_id=device_id, labels=code.labels, channel=code.channel, enrolled_at=now)
        connection.execute(MEMBERS.insert(), [fields_of(fresh)])
        return
    told = {"labels": {**member.labels, **code.labels}, "channel": code.channel or member.channel}
    _update_member(connection, device_id, {**told, "enrolled_at": now, "revoked_at": None})
    older = CERTIFICATES.update().where(CERTIFICATES.c.device_id == device_id, CERTIFICATES.c.revoked_at.is_(None))
    connection.execute(older.values(revoked_at=now))


@lru_cache(maxsize=1)
def _one_speaker() -> Any:  # noqa: ANN401 - a select
    """Built once: this is asked at every call of every device."""
    from sqlalchemy import bindparam, select

    from cloud_train.store.tables import CERTIFICATES, MEMBERS

    both = CERTIFICATES.join(MEMBERS, MEMBERS.c.device_id == CERTIFICATES.c.device_id)
    columns = CERTIFICATES.c.device_id, CERTIFICATES.c.not_after, CERTIFICATES.c.revoked_at, MEMBERS.c.revoked_at
    return select(*columns).select_from(both).where(CERTIFICATES.c.fingerprint == bindparam("asked"))


def _require_own(row: Mapping[str, Any], certificate: CertificateRecord) -> None:
    if row["device_id"] != certificate.device_id:
        raise UsageError(f"this certificate speaks for {row['device_id']!r}", hint="bring another one for each device")
    if row["revoked_at"] is not None:
        raise UsageError("this certificate was revoked", hint="bring another one")


def _locked(connection: Connection, query: Any) -> dict[str, Any] | None:  # noqa: ANN401 - any select
    row = connection.execute(query.with_for_update()).mappings().first()
    return None if row is None else dict(row)


def _update_member(connection: Connection, device_id: str, values: dict[str, Any]) -> None:
    from cloud_train.store.tables import MEMBERS

    update = MEMBERS.update().where(MEMBERS.c.device_id == device_id)
    if connection.execute(update.values(**(values or {"device_id": device_id}))).rowcount == 0:
        raise UnknownDeviceError(f"no device {device_id!r} in this fleet", hint="see them with `edgeloop fleet list`")


def _end_codes(connection: Connection, which: Any) -> None:  # noqa: ANN401 - any condition
    """For good, whatever the clocks of several servers say."""
    from cloud_train.store.tables import CODES

    connection.execute(CODES.update().where(which).values(expires_at=0.0))


def _note(connection: Connection, entry: AuditEntry) -> None:
    from cloud_train.store.tables import AUDIT

    insert_rows(connection, AUDIT, [fields_of(entry)])

"""Where people work on the fleet from a command line: one store, the hand of whoever is logged in."""

from __future__ import annotations

import getpass
import re
import secrets
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from cloud_train.errors import UnknownDeviceError
from cloud_train.fleet import members
from cloud_train.fleet.authority import open_authority
from cloud_train.fleet.handing_out import check_out_folder, enrol_address, enrolment_file, write_enrolment_files
from cloud_train.fleet.members import By, NewCode
from cloud_train.fleet.names import parse_labels
from cloud_train.fleet.people import People
from cloud_train.fleet_types import AuditEntry, CertificateRecord, Member, Role
from cloud_train.publish.repository import KEYS_NAME
from cloud_train.publish.sealing import fleet_key_text
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import Database
from cloud_train.store.layout import StoreLayout
from cloud_train.store.members import SqlFleetStore
from cloud_train.store.opened import open_store
from cloud_train.store.people import SqlPeopleStore
from edge.errors import UsageError

_FIRST_ROOT = "metadata/1.root.json"
_UNPLAIN = re.compile(r"[^A-Za-z0-9_.@-]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """What is known of one device.

    Attributes:
        member: What people decided.
        certificates: What speaks or spoke for it, the newest first.
        audit: What was done to it, the newest first.
    """

    member: Member
    certificates: tuple[CertificateRecord, ...]
    audit: tuple[AuditEntry, ...]


def open_office(store: Path) -> Office:
    """Opens the fleet of a store.

    Raises:
        StorageError: The store cannot be opened.
    """
    return Office(store, open_store(store).database, who=f"person:{_login()}", clock=time.time)


class Office:
    """What the commands do.

    Args:
        store: The store folder.
        database: Its database; closed with the office.
        who: Whose hand the audit names.
        clock: Seconds since the epoch, UTC.
    """

    def __init__(self, store: Path, database: Database, *, who: str, clock: Callable[[], float]) -> None:
        self._store = StoreLayout(root=store)
        self._database = database
        self._who = who
        self._clock = clock
        self._audit = SqlAuditLog(database)
        self.fleet = SqlFleetStore(database)
        self.people = People(SqlPeopleStore(database), self._audit)

    def enroll(
        self,
        *,
        device_id: str,
        labels: tuple[str, ...],
        channel: str,
        expires_hours: float,
        count: int,
        out: Path | None,
        server: str | None,
        enroll_server: str,
        ca: Path | None,
    ) -> tuple[tuple[NewCode, ...], tuple[Path, ...]]:
        """Makes codes and, for `out`, files.

        Raises:
            UsageError: A value makes no sense; then no code was made.
            AuthorityError: The fleet has no authority yet.
        """
        address = ""
        authority_pem = b""
        if out is not None:
            if not server:
                raise UsageError("enrolment files name the server", hint="give --server HOST:PORT")
            address = enrol_address(server, enroll_server)
            authority_pem = open_authority(ca or self._store.authority).trusted_pem
            check_out_folder(out)
        made = members.make_codes(
            self.fleet,
            self._by(),
            random_bytes=secrets.token_bytes,
            device_id=device_id,
            labels=parse_labels(labels),
            channel=channel,
            hours=expires_hours,
            count=count,
        )
        if out is None or not server:
            return made, ()
        files = tuple(
            enrolment_file(
                one,
                server=server,
                enroll_server=address,
                authority_pem=authority_pem,
                root_json=self._root_json(),
                fleet_key=fleet_key_text(self._store.root / KEYS_NAME),
            )
            for one in made
        )
        return made, write_enrolment_files(out, files)

    def register(self, device_id: str, certificate: Path | None, labels: tuple[str, ...]) -> Member:
        """Takes in a device without a code."""
        pem = None if certificate is None else _read(certificate)
        return members.register(self.fleet, self._by(), device_id, certificate_pem=pem, labels=parse_labels(labels))

    def members(self, channel: str | None, labels: tuple[str, ...]) -> tuple[Member, ...]:
        """Those of a channel that have all of some labels."""
        wanted = parse_labels(labels).items()
        return tuple(one for one in self.fleet.members(channel=channel) if wanted <= one.labels.items())

    def show(self, device_id: str) -> Shown:
        """Everything about one device.

        Raises:
            UnknownDeviceError: No such device.
        """
        member = self.fleet.member(device_id)
        if member is None:
            hint = "see them with `edgeloop fleet list`"
            raise UnknownDeviceError(f"no device {device_id[:80]!r} in this fleet", hint=hint)
        entries = self._audit.about(f"device:{device_id}", limit=20)
        return Shown(member=member, certificates=self.fleet.certificates(device_id), audit=entries)

    def revoke(self, device_id: str) -> None:
        """Shuts a device out."""
        members.revoke(self.fleet, self._by(), device_id)

    def readmit(self, device_id: str) -> None:
        """Lets a device in again."""
        members.readmit(self.fleet, self._by(), device_id)

    def label(self, device_id: str, labels: tuple[str, ...], remove: tuple[str, ...]) -> Member:
        """Sets labels and takes some away."""
        return members.label(self.fleet, self._by(), device_id, parse_labels(labels), remove=remove)

    def follow(self, device_id: str, channel: str) -> Member:
        """Changes a device's channel."""
        return members.follow(self.fleet, self._by(), device_id, channel)

    def pin(self, device_id: str, bundle_digest: str) -> Member:
        """Pins a device to a bundle; the empty digest ends that."""
        return members.pin(self.fleet, self._by(), device_id, bundle_digest)

    def hold(self, device_id: str, *, held: bool) -> Member:
        """Holds a device, or lets it go."""
        return members.hold(self.fleet, self._by(), device_id, held=held)

    def set_windows(self, device_id: str, hours: str) -> Member:
        """Says when a device may change its bundle."""
        return members.set_windows(self.fleet, self._by(), device_id, hours)

    def add_person(self, name: str, role: Role) -> str:
        """Gives somebody a token."""
        return self.people.add(name, role, self._by(), random_bytes=secrets.token_bytes)

    def revoke_person(self, name: str) -> None:
        """Ends somebody's token."""
        self.people.revoke(name, self._by())

    def close(self) -> None:
        """Closes the database. Calling it twice is harmless."""
        self._database.close()

    def _by(self) -> By:
        return By(who=self._who, now=self._clock())

    def _root_json(self) -> bytes:
        """The first root of the repository, if anything was ever published."""
        with open_store(self._store.root) as store:
            try:
                return b"".join(store.published.read(_FIRST_ROOT, 0))
            except FileNotFoundError:
                return b""


def _login() -> str:
    try:
        return _UNPLAIN.sub("_", getpass.getuser())[:64]
    except (KeyError, OSError):  # a user without a name, as in a container
        return "unknown"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as cause:
        raise UsageError(f"cannot read {path}: {(cause.strerror or 'no reason given').lower()}") from cause

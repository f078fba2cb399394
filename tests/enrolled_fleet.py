"""A real server that speaks mutual TLS, and devices of its fleet, for tests."""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from cloud_train.fleet import members
from cloud_train.fleet.authority import open_authority
from cloud_train.fleet.members import By
from cloud_train.fleet.people import People
from cloud_train.ingest.server import running_server
from cloud_train.server_info import ServerInfo
from cloud_train.store.audit import SqlAuditLog
from cloud_train.store.database import open_database
from cloud_train.store.layout import StoreLayout
from cloud_train.store.members import SqlFleetStore
from cloud_train.store.people import SqlPeopleStore
from edge.identity.command import credentials_of, enroll_device
from edge.identity.types import EnrolmentFile, Identity
from edge.sync.grpc_transport import GrpcTransport
from edge.sync.types import DeviceStatus

ADMIN = "person:admin"


class EnrolledFleet:
    """The hand of an admin on one store, and the addresses of its server.

    Args:
        store: The store folder; its server has made the authority.
        info: Where the server listens.
    """

    def __init__(self, store: Path, info: ServerInfo) -> None:
        self.store = store
        self.info = info
        self.database = open_database(StoreLayout(root=store).meta)
        self.members = SqlFleetStore(self.database)
        self.audit = SqlAuditLog(self.database)
        self.people = People(SqlPeopleStore(self.database), self.audit)

    @property
    def authority(self) -> bytes:
        return open_authority(StoreLayout(root=self.store).authority).trusted_pem

    @property
    def enroll_target(self) -> str:
        return f"127.0.0.1:{self.info.enroll_port}"

    def by(self) -> By:
        return By(who=ADMIN, now=time.time())

    def code(self, device_id: str = "", **told: object) -> str:
        (made,) = members.make_codes(
            self.members, self.by(), random_bytes=secrets.token_bytes, device_id=device_id, **told
        )
        return made.code

    def file(self, device_id: str = "", **told: object) -> EnrolmentFile:
        return EnrolmentFile(
            server=self.info.target,
            enroll_server=self.enroll_target,
            authority_pem=self.authority.decode(),
            code=self.code(device_id, **told),
            device_id=device_id,
        )

    def enrol(self, home: Path, device_id: str = "", **told: object) -> Identity:
        return enroll_device(home, self.file(device_id, **told))[0]

    def road(self, identity: Identity, **changes: object) -> contextlib.closing[GrpcTransport]:
        """The road of an enrolled device."""
        own = credentials_of(identity)
        return contextlib.closing(GrpcTransport(self.info.target, identity=own, **changes))

    def actions(self, subject: str) -> list[str]:
        return [entry.action for entry in self.audit.about(subject)]


@contextlib.contextmanager
def enrolled_fleet(store: Path, **changes: object) -> Iterator[EnrolledFleet]:
    """A server that speaks TLS in this process, and the fleet behind it."""
    with running_server(store, **{"plaintext": False, **changes}) as info:
        fleet = EnrolledFleet(store, info)
        try:
            yield fleet
        finally:
            fleet.database.close()


def a_status(device_id: str) -> DeviceStatus:
    """A check-in with nothing in it."""
    return DeviceStatus(
        device_id=device_id,
        software="edgeloop test",
        bundle_digest="",
        bundle_version=0,
        outbox_pending=0,
        frames=0,
        accepted=0,
        confirmed=0,
        unknown=0,
        kept=0,
        latency_p50_ms=0.0,
    )


def until(happened: Callable[[], bool], *, timeout_s: float = 20.0) -> None:
    """Waits for something."""
    deadline = time.monotonic() + timeout_s
    while not happened():
        assert time.monotonic() < deadline, "it did not happen"
        time.sleep(0.02)

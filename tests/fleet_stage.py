"""Where attacks on a server are played: a real server with mutual TLS, an honest device, and what may not change."""

from __future__ import annotations

import contextlib
import itertools
import secrets
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc
import httpx
from enrolled_fleet import EnrolledFleet, enrolled_fleet
from sample_values import make_picture_sample, offer_of

from cloud_train.fleet_types import Role
from cloud_train.ingest import background
from cloud_train.store.tables import AUDIT, BUNDLE_HOURS, CERTIFICATES, CODES, DEVICES, LABELS, MEMBERS, SAMPLES
from edge.identity.types import Identity
from edge.outbox.base import Sample
from edge.sync.types import ReceiptStatus
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

SETTINGS = {
    "http_listen": "127.0.0.1:0",
    "handshake_s": 1.0,
    "push_idle_s": 1.0,
    "push_age_s": 2.5,
    "max_partial_bytes": 60_000,
}
ANSWERED_S = 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How an attack ended for the attacker.

    Attributes:
        status: Name of a gRPC code, status of a receipt, number of an HTTP answer, or `closed`.
        words: What was said.
    """

    status: str
    words: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Attack:
    """A row of the table.

    Attributes:
        item: What it is of the issue's list.
        play: Attacks; calls `stage.from_here()` when what it had to prepare is done.
        status: See `Ending`.
        words: Part of what is said.
        audit: Action of the entry that it leaves, empty for none.
        unheard: Why it leaves none.
        may_leave: Of the store's content, what may be more afterwards.
    """

    item: str
    play: Callable[[Stage], Ending]
    status: str
    words: str = ""
    audit: str = ""
    unheard: str = ""
    may_leave: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        return self.play.__name__


@dataclass(frozen=True, slots=True, kw_only=True)
class Played:
    """What became of an attack.

    Attributes:
        ending: For the attacker.
        changed: What is different in the store, by its name.
        partial_bytes: Unfinished uploads.
        is_served: Whether an honest device was served right after it.
        since: The last entry of the audit before it.
    """

    ending: Ending
    changed: tuple[str, ...]
    partial_bytes: int
    is_served: bool
    since: int


@dataclass
class Stage:
    """A server and everybody who speaks to it. Made by `open_stage`.

    Attributes:
        fleet: The server's store.
        homes: Where identities lie.
        admin: Token of somebody who may do everything.
        viewer: Token of somebody who may look.
        known: A sample of the device `victim` that the server has.
        honest: A device that means well.
    """

    fleet: EnrolledFleet
    homes: Path
    admin: str = field(repr=False)
    viewer: str = field(repr=False)
    known: Sample = field(repr=False)
    honest: Identity = field(repr=False)
    _played: dict[str, Played] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: itertools.count(1000))
    _before: tuple[int, dict[str, object]] = (0, {})

    def attacker(self) -> Identity:
        """A device of the fleet that turned bad; a new one for each attack, so that none is over its limits."""
        number = next(self._numbers)
        own = self.fleet.enrol(self.homes / str(number), f"mallory-{number}")
        self.from_here()
        return own

    def sample(self, device_id: str, **changes: object) -> Sample:
        """A sample that nobody has sent yet."""
        return make_picture_sample(next(self._numbers), device_id=device_id, **changes)

    @contextlib.contextmanager
    def channel(self, own: Identity) -> Iterator[grpc.Channel]:
        """A connection of a device, below everything that would keep it honest."""
        pems = own.authority_pem.encode(), own.key_pem.encode(), own.certificate_pem.encode()
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_send_message_length", -1)]
        credentials = grpc.ssl_channel_credentials(*pems)
        with grpc.secure_channel(self.fleet.info.target, credentials, options=options) as channel:
            yield channel

    @contextlib.contextmanager
    def stranger(self, target: str = "") -> Iterator[grpc.Channel]:
        """A connection without a certificate, to the port where devices enrol."""
        credentials = grpc.ssl_channel_credentials(self.fleet.authority)
        with grpc.secure_channel(target or self.fleet.enroll_target, credentials) as channel:
            yield channel

    def http(self, token: str) -> httpx.Client:
        """A program at the API."""
        headers = {"Authorization": f"Bearer {token}"}
        return httpx.Client(base_url=f"http://127.0.0.1:{self.fleet.info.http_port}", headers=headers, trust_env=False)

    def from_here(self) -> None:
        """Nothing may change from now on."""
        self._before = self._last_entry(), self.content()

    def content(self) -> dict[str, object]:
        """Everything that an attack could change, but for when a device was last seen."""
        database, store = self.fleet.database, self.fleet.store
        held: dict[str, object] = {
            table.name: sorted(map(repr, database.read(table.select())))
            for table in (SAMPLES, LABELS, MEMBERS, CODES, CERTIFICATES, BUNDLE_HOURS)
        }
        seen = database.read(DEVICES.select())
        held["devices"] = sorted((row["device_id"], row["bundle_digest"], row["frames"]) for row in seen)
        for folder in ("blobs", "ca", "repository"):
            held[folder] = sorted(str(path) for path in (store / folder).rglob("*"))
        beside = [path.name for path in (*store.iterdir(), *store.parent.iterdir())]
        held["elsewhere"] = sorted(name for name in beside if not name.startswith("meta.sqlite"))
        return held

    def play(self, attack: Attack) -> Played:
        """What becomes of an attack; played once, however often asked."""
        if attack.name not in self._played:
            self.from_here()
            ending = attack.play(self)
            since, before = self._before
            after = self.content()
            changed = tuple(name for name in before if before[name] != after[name] and name not in attack.may_leave)
            partial = sum(path.stat().st_size for path in (self.fleet.store / "partial").iterdir())
            self._played[attack.name] = Played(
                ending=ending, changed=changed, partial_bytes=partial, is_served=self.serves_honestly(), since=since
            )
        return self._played[attack.name]

    def serves_honestly(self) -> bool:
        """Whether an honest device gets a receipt."""
        sample = self.sample("honest")
        with self.channel(self.honest) as channel:
            samples = stubs.SamplesStub(channel)
            offered = samples.Offer(convert.offer_request_to_message((offer_of(sample),)), timeout=ANSWERED_S)
            request = convert.put_request_to_message(offer_of(sample), sample.payload)
            receipt = samples.Put(request, timeout=ANSWERED_S)
        return list(offered.missing) == [sample.digest] and receipt.status == ReceiptStatus.STORED.value

    def heard(self, action: str, since: int, *, patience_s: float) -> bool:
        """Whether the audit has an entry, now or within a while."""
        query = AUDIT.select().where(AUDIT.c.id > since, AUDIT.c.action == action)
        deadline = time.monotonic() + patience_s
        while not (found := self.fleet.database.read(query)) and time.monotonic() < deadline:
            time.sleep(0.05)
        return bool(found)

    def _last_entry(self) -> int:
        newest = self.fleet.database.read(AUDIT.select().order_by(AUDIT.c.id.desc()).limit(1))
        return int(newest[0]["id"]) if newest else 0


@contextlib.contextmanager
def open_stage(folder: Path) -> Iterator[Stage]:
    """A stage whose server writes its journal at once rather than every second."""
    kept, background._JOURNAL_S = background._JOURNAL_S, 0.05
    try:
        with enrolled_fleet(folder / "store", **SETTINGS) as fleet:
            tokens = {
                role: fleet.people.add(role.value, role, fleet.by(), random_bytes=secrets.token_bytes) for role in Role
            }
            known = make_picture_sample(1, device_id="victim")
            honest = fleet.enrol(folder / "homes" / "honest", "honest")
            stage = Stage(fleet, folder / "homes", tokens[Role.ADMIN], tokens[Role.VIEWER], known, honest)
            with stage.channel(fleet.enrol(folder / "homes" / "victim", "victim")) as channel:
                request = convert.put_request_to_message(offer_of(known), known.payload)
                stubs.SamplesStub(channel).Put(request, timeout=ANSWERED_S)
                stubs.FleetStub(channel).CheckIn(wire.CheckInRequest(device_id="victim", software="x"), timeout=9)
            yield stage
    finally:
        background._JOURNAL_S = kept


def ending_of(call: Callable[[], object]) -> Ending:
    """How a call ended: its error, its receipt, or plain OK."""
    try:
        answer = call()
    except grpc.RpcError as error:
        return Ending(status=error.code().name, words=error.details() or "")
    if isinstance(answer, httpx.Response):
        return Ending(status=str(answer.status_code), words=answer.text)
    if isinstance(answer, wire.PushReceipt):
        return Ending(status=answer.status, words=answer.reason)
    return Ending(status="OK", words=str(answer))

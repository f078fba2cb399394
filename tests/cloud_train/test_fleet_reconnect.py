"""A thousand devices come back at once after an outage: jittered backoff and told waits keep the server answering.

The server is a process that is killed and started again; the devices are as many connections with as many certificates,
which try again as the device's link does: `backoff.delay`, or longer where the server asks for it.
"""

from __future__ import annotations

import asyncio
import random
import socket
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from serving import ServerProcess

from cloud_train.fleet.authority import open_authority
from cloud_train.fleet_types import CertificateRecord, Member
from cloud_train.store.database import open_database
from cloud_train.store.layout import StoreLayout
from cloud_train.store.rows import fields_of
from cloud_train.store.tables import CERTIFICATES, DEVICES, MEMBERS
from edge.identity import request
from edge.settings import AgentSettings
from edge.sync import backoff, grpc_transport
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

DOWN_S = 0.5
MOST_TRIES = 12
CALL_S, HEALTH_S = 20.0, 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A fleet and how it behaves.

    Attributes:
        number: Devices.
        max_calls: Calls that the server takes at a time.
        base_s: Longest wait of a device after its first failure.
        cap_s: Longest wait ever.
    """

    number: int
    max_calls: int
    base_s: float
    cap_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """A device with its own certificate. They share a key, which nobody compares, to be made quickly."""

    name: str
    credentials: grpc.ChannelCredentials


@dataclass(frozen=True, slots=True, kw_only=True)
class Back:
    """How a device came back.

    Attributes:
        tries: Calls until one was answered.
        told: Of these, how often the server said for how long to wait.
    """

    tries: int
    told: int


def enrol_many(store: Path, number: int) -> list[Device]:
    """Certificates of a store's own authority, recorded as enrolment would."""
    authority, now = open_authority(StoreLayout(root=store).authority), time.time()
    key = request.new_key()
    asked = request.signing_request(key)
    issued = {f"till-{index}": authority.issue_device(asked, f"till-{index}", now) for index in range(number)}
    with closing(open_database(StoreLayout(root=store).meta)) as database:
        database.write(MEMBERS, [fields_of(Member(device_id=name, enrolled_at=now)) for name in issued])
        records = [
            CertificateRecord(fingerprint=one.fingerprint, device_id=name, issued_at=now, not_after=one.not_after)
            for name, one in issued.items()
        ]
        database.write(CERTIFICATES, [fields_of(record) for record in records])
    trusted = authority.trusted_pem
    return [
        Device(name=name, credentials=grpc.ssl_channel_credentials(trusted, key, one.certificate_pem))
        for name, one in issued.items()
    ]


async def come_back(device: Device, target: str, dice: random.Random, case: Case) -> Back:
    """Checks in until it is answered, as `edge.link` would."""
    await asyncio.sleep(dice.random())
    options = [*grpc_transport._OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    told = 0
    async with grpc.aio.secure_channel(target, device.credentials, options=options) as channel:
        stub = stubs.FleetStub(channel)
        for tries in range(1, MOST_TRIES + 1):
            try:
                await stub.CheckIn(wire.CheckInRequest(device_id=device.name, software="x"), timeout=CALL_S)
            except grpc.aio.AioRpcError as error:
                asked_s = grpc_transport._retry_after_s(error)
                told += asked_s is not None
                wait_s = backoff.delay(tries - 1, base_s=case.base_s, cap_s=case.cap_s, jitter=dice.random())
                await asyncio.sleep(max(wait_s, asked_s or 0.0))
            else:
                return Back(tries=tries, told=told)
    raise AssertionError(f"{device.name} did not come back in {MOST_TRIES} tries")


@asynccontextmanager
async def watching_health(target: str, authority: bytes) -> AsyncIterator[list[int]]:
    """What the server says of its health, several times a second."""
    seen: list[int] = []

    async def look() -> None:
        async with grpc.aio.secure_channel(target, grpc.ssl_channel_credentials(authority)) as channel:
            stub = health_pb2_grpc.HealthStub(channel)
            while True:
                seen.append((await stub.Check(health_pb2.HealthCheckRequest(), timeout=HEALTH_S)).status)
                await asyncio.sleep(0.2)

    looking = asyncio.create_task(look())
    try:
        yield seen
    finally:
        if not looking.done():
            looking.cancel()
        ended = (await asyncio.gather(looking, return_exceptions=True))[0]
        assert isinstance(ended, asyncio.CancelledError), f"the server did not say how it fares: {ended!r}"


async def outage(store: Path, port: int, devices: list[Device], case: Case) -> tuple[list[Back], list[int]]:
    """The server is gone when the devices begin to call, and comes back while they try."""
    dice, target = random.Random(20), f"127.0.0.1:{port}"
    calling = asyncio.gather(*(come_back(device, target, random.Random(dice.random()), case) for device in devices))
    await asyncio.sleep(DOWN_S)
    server = ServerProcess(store, *options(port))
    await asyncio.to_thread(server.__enter__)
    falling = asyncio.create_task(end_of(server))
    try:
        authority = open_authority(StoreLayout(root=store).authority).trusted_pem
        async with watching_health(f"127.0.0.1:{port + 1}", authority) as health:
            await asyncio.wait((calling, falling), return_when=asyncio.FIRST_COMPLETED)
            assert not falling.done(), f"the server fell: exit code {falling.result()}"
        return list(calling.result()), health
    finally:
        falling.cancel()
        calling.cancel()
        await asyncio.gather(calling, falling, return_exceptions=True)
        await asyncio.to_thread(server.__exit__)


async def end_of(server: ServerProcess) -> int:
    """The exit code of a server that should have none."""
    while (code := server.process.poll()) is None:
        await asyncio.sleep(0.2)
    return code


def options(port: int) -> tuple[str, ...]:
    return "--tls", "--no-worker", "--no-http", "--listen", f"127.0.0.1:{port}"


def two_free_ports() -> int:
    """The first of two ports beside each other."""
    for port in random.SystemRandom().sample(range(20_000, 30_000), 100):
        with socket.socket() as first, socket.socket() as second:
            try:
                first.bind(("127.0.0.1", port))
                second.bind(("127.0.0.1", port + 1))
            except OSError:
                continue
            return port
    raise AssertionError("no two free ports beside each other")


QUICK = Case(number=100, max_calls=100, base_s=0.3, cap_s=2.0)
WHOLE = Case(
    number=1000,
    max_calls=10,
    base_s=AgentSettings(home=Path()).backoff_base_s,
    cap_s=AgentSettings(home=Path()).backoff_cap_s,
)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(QUICK, id="100"),
        pytest.param(
            WHOLE,
            id="1000 pressed",
            marks=[pytest.mark.slow],
        ),
    ],
)
def test_a_fleet_comes_back(tmp_path: Path, case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the server takes fewer calls at a time than come, it tells devices to wait, each for another time."""
    monkeypatch.setenv("EDGELOOP_SERVE_MAX_CALLS", str(case.max_calls))
    store, port = tmp_path / "store", two_free_ports()
    with ServerProcess(store, *options(port)):
        devices = enrol_many(store, case.number)
    back, health = asyncio.run(outage(store, port, devices, case))
    assert len(back) == case.number
    assert min(one.tries for one in back) > 1, "the outage was none"
    if case.max_calls < case.number:
        assert sum(one.told for one in back) > 0, "the server told nobody to wait: it was never pressed"
    assert len(health) > 3
    assert set(health) == {health_pb2.HealthCheckResponse.SERVING}
    with closing(open_database(StoreLayout(root=store).meta)) as database:
        assert len(database.read(DEVICES.select())) == case.number

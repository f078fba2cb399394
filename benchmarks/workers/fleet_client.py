"""Many devices in one process, each with a connection of its own; prints one JSON line at the end."""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import grpc

from benchmarks.workers.ingest_samples import samples
from edge.outbox.base import Sample
from edge.sync.types import DeviceStatus
from edge.sync.upload import chunks_of
from edge.wire import convert
from edge.wire.v1 import edgeloop_pb2 as wire
from edge.wire.v1 import edgeloop_pb2_grpc as stubs

CHECK_IN_S = 60.0
BATCH = 8


@dataclass(slots=True)
class Seen:
    """What the devices saw."""

    receipts_ms: list[float] = field(default_factory=list)
    check_ins_ms: list[float] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)


def status(device_id: str) -> wire.CheckInRequest:
    """What a device says of itself."""
    return convert.check_in_request_to_message(
        DeviceStatus(
            device_id=device_id,
            software="edgeloop bench",
            bundle_digest="ab" * 32,
            bundle_version=3,
            outbox_pending=7,
            frames=100,
            accepted=50,
            confirmed=30,
            unknown=20,
            kept=10,
            latency_p50_ms=4.5,
        )
    )


async def check_in(device_id: str, road: grpc.aio.Channel, until: float, seen: Seen, rng: random.Random) -> None:
    """Once a minute, at a second of its own."""
    await asyncio.sleep(rng.uniform(0, CHECK_IN_S))
    while time.monotonic() < until:
        begun = time.monotonic()
        try:
            await stubs.FleetStub(road).CheckIn(status(device_id), timeout=20)
            seen.check_ins_ms.append((time.monotonic() - begun) * 1000)
        except grpc.RpcError as error:
            seen.errors.append(f"check-in: {error.code()} {error.details()}")
        await asyncio.sleep(CHECK_IN_S - (time.monotonic() - begun))


async def upload(
    device_id: str, road: grpc.aio.Channel, until: float, seen: Seen, rate: float, rng: random.Random
) -> None:
    """Batches of samples, as a device drains its outbox; each device at a moment of its own."""
    await asyncio.sleep(rng.uniform(0, BATCH / rate))
    number = 0
    while time.monotonic() < until:
        begun = time.monotonic()
        some = samples(BATCH, seed=f"{device_id}-{number}", device_id=device_id)
        try:
            await _send(road, some, seen)
        except grpc.RpcError as error:
            seen.errors.append(f"push: {error.code()} {error.details()}")
        number += 1
        await asyncio.sleep(max(0.0, BATCH / rate - (time.monotonic() - begun)))


async def _send(road: grpc.aio.Channel, some: list[Sample], seen: Seen) -> None:
    sent: dict[str, float] = {}

    async def messages() -> AsyncIterator[wire.Chunk]:
        for sample in some:
            for chunk in chunks_of(sample, 0):
                sent[sample.digest] = time.monotonic()
                yield convert.chunk_to_message(chunk)

    async for message in stubs.SamplesStub(road).Push(messages(), timeout=60):
        receipt = convert.push_receipt_from_message(message)
        seen.receipts_ms.append((time.monotonic() - sent[receipt.digest]) * 1000)


def connect(target: str, keys: Path, device_id: str) -> grpc.aio.Channel:
    """A connection that no other device shares."""
    parts = (keys / name for name in ("authority.pem", "key.pem", f"{device_id}.pem"))
    credentials = grpc.ssl_channel_credentials(*(part.read_bytes() for part in parts))
    return grpc.aio.secure_channel(target, credentials, options=[("grpc.use_local_subchannel_pool", 1)])


async def run(target: str, keys: Path, devices: int, uploading: int, seconds: float, rate: float) -> Seen:
    """All devices, for so long."""
    seen, rng = Seen(), random.Random(1)  # noqa: S311 - when devices speak is no secret
    names = [f"bench-{number}" for number in range(devices)]
    roads = {name: connect(target, keys, name) for name in names}
    for start in range(0, devices, 50):
        await asyncio.gather(*(roads[name].channel_ready() for name in names[start : start + 50]))
    until = time.monotonic() + seconds
    tasks = [check_in(name, roads[name], until, seen, rng) for name in names]
    tasks += [upload(name, roads[name], until, seen, rate, rng) for name in names[:uploading]]
    running = asyncio.gather(*tasks)
    await asyncio.wait((running,), timeout=seconds + 30)
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    for road in roads.values():
        await road.close()
    return seen


def quantile(values: list[float], share: float) -> float:
    """Nearest rank."""
    ordered = sorted(values) or [0.0]
    return ordered[min(len(ordered) - 1, int(share * len(ordered)))]


if __name__ == "__main__":
    target, keys, devices, uploading, seconds, rate = sys.argv[1:]
    found = asyncio.run(run(target, Path(keys), int(devices), int(uploading), float(seconds), float(rate)))
    for error in sorted(set(found.errors))[:5]:
        print(error, file=sys.stderr)
    told = {
        "devices": int(devices),
        "samples": len(found.receipts_ms),
        "check_ins": len(found.check_ins_ms),
        "receipt_p50_ms": quantile(found.receipts_ms, 0.5),
        "receipt_p99_ms": quantile(found.receipts_ms, 0.99),
        "check_in_p99_ms": quantile(found.check_ins_ms, 0.99),
        "errors": len(found.errors),
    }
    print(json.dumps(told))

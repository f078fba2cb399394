"""Devices of the chaos test, one or many in a process: real outbox, real uploader, real updater, over mTLS.

    python chaos_device.py PLAN

PLAN is a JSON file: see `Plan`. Says `ready` once every device lives. Ends by itself when the file `stop` beside PLAN
is there; a process may be killed at any moment, and the same command takes its devices up again.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
sys.path.insert(0, str(Path(__file__).resolve().parent))
# The repository comes first: `tests/edge` would pass for the package `edge` otherwise.
sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from chaos_journal import KEPT, TRIED, ChaosJournal
from sample_values import make_picture_sample

from edge.engine import open_engine
from edge.errors import StorageError
from edge.following import Following
from edge.identity.store import IdentityStore
from edge.identity.types import Identity
from edge.link import Link, LinkParts
from edge.outbox.base import OutboxLimits
from edge.outbox.sqlite import SqliteOutbox
from edge.settings import AgentSettings
from edge.sync.credentials import ClientIdentity
from edge.sync.grpc_transport import GrpcTransport
from edge.telemetry import Telemetry
from edge.update.selftest import hardware_fingerprint, self_test
from edge.update.slots import Slots
from edge.update.trust import TrustStore
from edge.update.updater import Updater

SIDES = (24,) * 14 + (64,) * 5 + (330,)  # 1.8 kB, 12 kB, 330 kB: the last travels in two pieces
SHARED_PICTURES = 40


@dataclass(frozen=True)
class Plan:
    """What one process does.

    `devices` maps each name to its first target's index; `seed` and the life's number make what it does random.
    """

    folder: Path
    targets: tuple[str, ...]
    devices: tuple[str, ...]
    interval_s: float
    seed: int

    @classmethod
    def read(cls, file: Path) -> Plan:
        said = json.loads(file.read_text())
        return cls(
            folder=Path(said["folder"]),
            targets=tuple(said["targets"]),
            devices=tuple(said["devices"]),
            interval_s=said["interval_s"],
            seed=said["seed"],
        )


class ChaosDevice:
    """One device: keeps pictures now and then, and lives with whatever happens to its road."""

    def __init__(self, plan: Plan, name: str, life: int) -> None:
        self.home = plan.folder / "homes" / name
        self._name = name
        self._plan = plan
        self._random = random.Random(f"{plan.seed} {name} {life}")
        self._journal = ChaosJournal(plan.folder / "journals" / f"{name}.journal")
        self._outbox = SqliteOutbox(self.home / "outbox.sqlite", OutboxLimits(max_bytes=200_000_000))
        self._outbox.release_all()
        self._slots = Slots(self.home)
        self._slots.count_start()
        self._telemetry = Telemetry(run=f"{self._random.getrandbits(32):08x}")
        self._link = self._make_link(plan.targets[(life + len(name) + ord(name[-1])) % len(plan.targets)])
        self._stop_producing = threading.Event()
        self._producer = threading.Thread(target=self._produce, daemon=True)

    def start(self) -> None:
        self._work_with_what_runs()
        self._link.start()
        self._producer.start()

    def stop_producing(self) -> None:
        self._stop_producing.set()

    def is_done(self) -> bool:
        """Whether nothing waits any more."""
        return not self._producer.is_alive() and self._outbox.stats().pending == 0

    @property
    def failure(self) -> BaseException | None:
        return self._link.fatal

    def end(self) -> None:
        self._link.stop(timeout_s=10)
        self._outbox.close()

    def state(self) -> dict[str, object]:
        stats = self._outbox.stats()
        return {
            "bundle": self._slots.active.bundle_digest,
            "pending": stats.pending,
            "parked": stats.parked,
            "trouble": self._telemetry.counts().last_error,
        }

    def _make_link(self, target: str) -> Link:
        settings = AgentSettings(
            home=self.home,
            device_id=self._name,
            channel="stable",
            check_in_s=10.0,
            update_interval_s=60.0,
            call_timeout_s=8.0,
            backoff_base_s=0.5,
            backoff_cap_s=8.0,
        )
        transport = open_road(self.home, target, timeout_s=settings.call_timeout_s)
        trust = TrustStore(self.home, transport, channel=settings.channel)
        updater = Updater(self._slots, trust, transport, self_test=self_test, fingerprint=hardware_fingerprint)
        return Link(
            LinkParts(
                settings=settings,
                outbox=self._outbox,
                transport=transport,
                slots=self._slots,
                updater=updater,
                following=Following(self.home, own=settings.channel),
                telemetry=self._telemetry,
                prepare=self._work_with_what_runs,
                say=lambda line: print(f"{self._name}: {line}", file=sys.stderr, flush=True),
                clock=time.time,
                jitter=random.random,
            )
        )

    def _work_with_what_runs(self) -> None:
        """What the agent does after a start or an update: load, answer, and so end the trial."""
        bundle = self._slots.open_active()
        if bundle is None:
            return
        engine = open_engine(bundle)
        try:
            for number in range(10):
                inference = engine.infer(make_picture_sample(number).payload)
                self._telemetry.answered(inference, bundle.manifest.version)
        finally:
            engine.close()
        self._slots.confirm(bundle.digest)

    def _produce(self) -> None:
        while not self._stop_producing.wait(self._random.uniform(0.2, 1.8) * self._plan.interval_s):
            self._keep()

    def _keep(self) -> None:
        shared = self._random.random() < 0.02
        what = self._random.randrange(SHARED_PICTURES) if shared else self._random.getrandbits(64)
        side = 24 if shared else self._random.choice(SIDES)
        sample = make_picture_sample(what, side=side, device_id=self._name, source="chaos")
        self._journal.note(TRIED, sample.digest)
        try:
            kept = self._outbox.put(sample, now=time.time())
        except StorageError as error:
            print(f"{self._name}: {error}", file=sys.stderr, flush=True)
            return
        if kept:
            self._journal.note(KEPT, sample.digest)


def open_road(home: Path, target: str, *, timeout_s: float) -> GrpcTransport:
    """To a server of the fleet, with the identity that the device got when it was enrolled."""
    identity = IdentityStore(home).read()
    assert identity is not None, f"{home} was never enrolled"
    return GrpcTransport(target, identity=client_identity(identity), timeout_s=timeout_s)


def client_identity(identity: Identity) -> ClientIdentity:
    return ClientIdentity(
        device_id=identity.device_id,
        key_pem=identity.key_pem.encode(),
        certificate_pem=identity.certificate_pem.encode(),
        authority_pem=identity.authority_pem.encode(),
    )


def main(plan_file: Path) -> None:
    plan = Plan.read(plan_file)
    life = time.time_ns()
    devices = [ChaosDevice(plan, name, life) for name in plan.devices]
    for device in devices:
        device.start()
    print("ready", flush=True)
    stop, drained = plan.folder / "stop", plan.folder / "drain"
    report = plan_file.with_suffix(".report")
    while not stop.exists():
        time.sleep(0.5)
        if drained.exists():
            for device in devices:
                device.stop_producing()
            write_report(report, plan, devices)
        if failed := [device.failure for device in devices if device.failure]:
            raise failed[0]
    for device in devices:
        device.end()


def write_report(file: Path, plan: Plan, devices: list[ChaosDevice]) -> None:
    states = {
        name: {**device.state(), "done": device.is_done()} for name, device in zip(plan.devices, devices, strict=True)
    }
    fresh = file.with_suffix(".new")
    fresh.write_text(json.dumps(states))
    fresh.replace(file)


if __name__ == "__main__":
    main(Path(sys.argv[1]))

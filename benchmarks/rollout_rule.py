"""What a look at a rollout costs with 10,000 devices and 48 hours of statistics, and what a check-in costs.

python benchmarks/rollout_rule.py [--devices 10000] [--hours 48] [--database URL]
"""

from __future__ import annotations

import argparse
import random
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from sqlalchemy import Connection

from cloud_train.fleet.assign import is_in_ring
from cloud_train.fleet.check_in import Channel, CheckInParts, CheckInRules, check_in
from cloud_train.fleet.rollout import judge
from cloud_train.fleet.watch import WatchParts, look
from cloud_train.fleet_types import Member, Ring, Rollout, RolloutPlan
from cloud_train.store.check_ins import SqlCheckInStore
from cloud_train.store.database import Database, open_database
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.rollouts import SqlRolloutStore
from cloud_train.store.roster import SqlRoster
from cloud_train.store.rows import fields_of
from edge.sync.types import BundleHour, DeviceStatus

BASE, NEW = "a" * 64, "b" * 64
NOW = 1_700_000_000.0


def rollout() -> Rollout:
    """Half of the fleet has the new bundle, for a day."""
    plan = RolloutPlan(rings=(Ring(percent=50.0), Ring(percent=100.0)))
    since = NOW - 86_400
    return Rollout(
        rollout_id=1,
        channel="stable",
        bundle_digest=NEW,
        base_digest=BASE,
        plan=plan,
        started_at=since,
        ring_since=since,
    )


def fill_all(database: Database, num_devices: int, num_hours: int) -> None:
    """In one transaction."""
    with database.connect(writes=True) as connection:
        fill(connection, num_devices, num_hours)


def fill(connection: Connection, num_devices: int, num_hours: int) -> None:
    """Devices with as much to tell as real ones."""
    from cloud_train.store.database import insert_rows
    from cloud_train.store.tables import BUNDLE_HOURS, DEVICES, MEMBERS

    drawn, present = random.Random(1), int(NOW // 3600)  # noqa: S311
    for number in range(num_devices):
        member = Member(device_id=f"kiosk-{number}")
        digest = NEW if is_in_ring(member, rollout()) else BASE
        hours = [row(member.device_id, digest if ago < 24 else BASE, present - ago, drawn) for ago in range(num_hours)]
        device = {
            "device_id": member.device_id,
            "last_seen": NOW,
            "bundle_digest": digest,
            "bundle_version": 1,
            "frames": 1,
            "last_error": "",
            "rejected": [],
        }
        for table, rows in ((BUNDLE_HOURS, hours), (DEVICES, [device]), (MEMBERS, [fields_of(member)])):
            insert_rows(connection, table, rows)


def row(device: str, digest: str, hour: int, drawn: random.Random) -> dict[str, object]:
    """One hour of one device."""
    said = bundle_hour(digest, hour, drawn)
    fields = fields_of(said)
    return {**fields, "confidence": list(said.confidence), "device_id": device, "unclean_starts": 0}


def bundle_hour(digest: str, hour: int, drawn: random.Random) -> BundleHour:
    """What a busy kiosk tells of an hour."""
    frames = drawn.randrange(500, 3000)
    accepted = int(frames * drawn.gauss(0.8, 0.03))
    unknown = (frames - accepted) // 2
    return BundleHour(
        bundle_digest=digest,
        hour=hour,
        run="0123abcd",
        frames=frames,
        accepted=accepted,
        confirmed=frames - accepted - unknown,
        unknown=unknown,
        confidence=tuple(drawn.randrange(300) for _ in range(20)),
        classes={f"product {number}": drawn.randrange(200) for number in range(24)},
        latency_p50_ms=20.0,
        latency_p90_ms=drawn.gauss(40.0, 2.0),
        latency_p99_ms=80.0,
    )


def seconds(call: Callable[[], object], *, times: int) -> tuple[float, float]:
    """Median seconds of wall clock and of processor."""
    walls, cpus = [], []
    for _ in range(times):
        wall, cpu = time.perf_counter(), time.process_time()
        call()
        walls.append(time.perf_counter() - wall)
        cpus.append(time.process_time() - cpu)
    return statistics.median(walls), statistics.median(cpus)


def main() -> None:
    """Prints the figures."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--devices", type=int, default=10_000)
    parser.add_argument("--hours", type=int, default=48)
    parser.add_argument("--database", default="")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        database = open_database(options.database or Path(folder) / "meta.sqlite")
        fill_all(database, options.devices, options.hours)
        measure(database, options.devices)
        database.close()


def measure(database: Database, num_devices: int) -> None:
    """Prints what a look and a check-in cost."""
    parts = WatchParts(
        rollouts=SqlRolloutStore(database),
        hours=SqlHourStore(database),
        roster=SqlRoster(database),
        default_channel="stable",
    )
    found = look(rollout(), parts, now=NOW)
    print(f"verdict: {found.verdict.action.value}: {found.verdict.reason}")
    wall, cpu = seconds(lambda: look(rollout(), parts, now=NOW), times=5)
    print(f"look at {num_devices} devices, SQL and rule: {wall:.3f} s, {cpu:.3f} s of processor")
    wall, _ = seconds(lambda: judge(found.rollout, found.new, found.old, NOW), times=50)
    print(f"rule alone, figures at hand: {wall * 1000:.2f} ms")
    print_check_in(database, num_devices)


def print_check_in(database: Database, num_devices: int) -> None:
    """Prints what a check-in with two hours costs."""
    channel = Channel(settled=BASE, offered=frozenset((BASE, NEW)))
    desk = CheckInParts(
        store=SqlCheckInStore(database),
        read_channel=lambda name: channel,
        rules=CheckInRules(channel="stable", check_in_s=30.0),
    )
    drawn, present = random.Random(2), int(NOW // 3600)  # noqa: S311

    def one() -> None:
        hours = tuple(bundle_hour(BASE, present - ago, drawn) for ago in (1, 0))
        status = DeviceStatus(
            device_id=f"kiosk-{drawn.randrange(num_devices)}",
            software="edgeloop",
            bundle_digest=BASE,
            bundle_version=1,
            outbox_pending=1,
            frames=1,
            accepted=1,
            confirmed=0,
            unknown=0,
            kept=1,
            latency_p50_ms=20.0,
            hours=hours,
        )
        check_in(status, desk, now=NOW, takes_strangers=True)

    wall, cpu = seconds(one, times=400)
    print(f"check-in with two hours: {wall * 1000:.2f} ms, {cpu * 1000:.2f} ms of processor")


if __name__ == "__main__":
    main()

"""A fleet in a database, without any devices: members, last check-ins, hours, a rollout half way, an audit.

Seeded, so that two runs have the same fleet. For the benchmark of the pages and for their tests.
"""

from __future__ import annotations

import hashlib
import random
from typing import Any

from cloud_train.fleet_types import HealthLimits, Ring, Rollout, RolloutPlan
from cloud_train.store.database import Database
from edge import jsonvalue
from edge.sync.types import CONFIDENCE_BINS

OLD, NEW, OLDER = (hashlib.sha256(name.encode()).hexdigest() for name in ("old", "new", "older"))
RINGS = (1.0, 10.0, 50.0, 100.0)
NEW_SHARE = 0.1
_ERRORS = ("camera:0 gives no frames", "the outbox is full", "the server cannot be reached: connection refused")
_BATCH = 2000


def device_name(number: int) -> str:
    """The name of the device of a number."""
    return f"kiosk-{number:05d}"


def fill_fleet(database: Database, *, devices: int, with_hours: int, hours: int, now: float) -> None:
    """Writes a fleet.

    Args:
        database: Empty, with its tables.
        devices: How many.
        with_hours: How many of these have statistics; they are spread over the fleet.
        hours: Of how many hours.
        now: Seconds since the epoch, UTC.
    """
    from cloud_train.store.tables import AUDIT, BUNDLE_HOURS, DEVICES, MEMBERS, RELEASES, ROLLOUTS

    rng = random.Random(7)  # noqa: S311
    names = [device_name(number) for number in range(devices)]
    database.write(RELEASES, [_release(digest, version, now) for version, digest in enumerate((OLDER, OLD, NEW), 1)])
    database.write(ROLLOUTS, [_rollout(now)])
    _write(database, MEMBERS, [member_row(name, number, now) for number, name in enumerate(names)])
    _write(database, DEVICES, [device_row(name, rng, now) for name in names])
    every = max(1, devices // max(1, with_hours))
    rows = [row for name in names[::every] for row in _hours(name, rng, hours, int(now // 3600))]
    _write(database, BUNDLE_HOURS, rows)
    _write(database, AUDIT, [_entry(name, number, now) for number, name in enumerate(names)])


def _write(database: Database, table: Any, rows: list[dict[str, Any]]) -> None:  # noqa: ANN401 - any table
    for start in range(0, len(rows), _BATCH):
        database.write(table, rows[start : start + _BATCH])


def _release(digest: str, version: int, now: float) -> dict[str, Any]:
    return {
        "channel": "stable",
        "bundle_digest": digest,
        "name": "shelf",
        "version": version,
        "metadata_version": version,
        "published_at": now - 86_400 * (10 - version),
    }


def _rollout(now: float) -> dict[str, Any]:
    plan = RolloutPlan(rings=tuple(Ring(percent=percent) for percent in RINGS), limits=HealthLimits())
    rollout = Rollout(
        channel="stable",
        bundle_digest=NEW,
        base_digest=OLD,
        plan=plan,
        ring=1,
        started_at=now - 12 * 3600,
        ring_since=now - 6 * 3600,
        reason="ring 1 of 4: healthy",
        made_by="anna",
    )
    fields = {name: getattr(rollout, name) for name in rollout.__slots__ if name != "rollout_id"}
    return {**fields, "kind": "rollout", "state": "running", "plan": jsonvalue.to_json(plan)}


def member_row(name: str, number: int, now: float) -> dict[str, Any]:
    """What people decided about the device of a number."""
    return {
        "device_id": name,
        "labels": {"store": str(number % 200), "kind": "shelf" if number % 3 else "till"},
        "channel": "",
        "enrolled_at": now - 86_400 * 30,
        "revoked_at": now - 3600 if number % 499 == 498 else None,
        "pinned": OLDER if number % 997 == 5 else "",
        "held": number % 751 == 3,
        "update_windows": "22:00-06:00" if number % 2 else "",
    }


def device_row(name: str, rng: random.Random, now: float) -> dict[str, Any]:
    """A last check-in of a device."""
    digest, version = rng.choices(((OLD, 2), (NEW, 3), (OLDER, 1), ("", 0)), (86, 10, 3, 1))[0]
    is_silent = rng.random() < 0.03
    return {
        "device_id": name,
        "last_seen": now - (rng.uniform(1000, 10 * 86_400) if is_silent else rng.uniform(0, 40)),
        "bundle_digest": digest,
        "bundle_version": version,
        "frames": rng.randrange(1_000_000),
        "last_error": rng.choice(_ERRORS) if rng.random() < 0.02 else "",
        "software": "edgeloop 0.1.0",
        "platform": "aarch64 linux",
        "outbox_pending": int(rng.expovariate(1 / 20)),
        "outbox_bytes": rng.randrange(2_000_000),
        "outbox_parked": int(rng.random() < 0.01),
        "starts": rng.randrange(1, 40),
        "unclean_starts": rng.randrange(3),
        "on_trial": digest == NEW and rng.random() < 0.2,
        "rejected": [],
        "clock_skew_s": rng.gauss(0, 1),
        "latency_p50_ms": rng.uniform(20, 60),
    }


def _hours(name: str, rng: random.Random, hours: int, last: int) -> list[dict[str, Any]]:
    moved = hash_share(name) < NEW_SHARE
    return [
        hour_row(name, last - back, NEW if back < 6 and moved else OLD, rng.randrange(20, 400), rng)
        for back in range(hours)
    ]


def hour_row(name: str, hour: int, bundle_digest: str, frames: int, rng: random.Random) -> dict[str, Any]:
    """What a device did in an hour; the new bundle names other classes than the old one."""
    accepted, confirmed = int(frames * 0.86), int(frames * 0.09)
    red = frames // (20 if bundle_digest == NEW else 2)
    return {
        "device_id": name,
        "bundle_digest": bundle_digest,
        "hour": hour,
        "run": "00000001",
        "frames": frames,
        "accepted": accepted,
        "confirmed": confirmed,
        "unknown": frames - accepted - confirmed,
        "failed": int(rng.random() < 0.05),
        "kept": confirmed,
        "confidence": [frames // CONFIDENCE_BINS] * CONFIDENCE_BINS,
        "classes": {"red": red, "blue": frames - red},
        "latency_p50_ms": 30.0,
        "latency_p90_ms": rng.uniform(40, 60),
        "latency_p99_ms": 90.0,
        "outbox_depth": 3,
        "unclean_starts": 0,
    }


def hash_share(name: str) -> float:
    """A number in [0, 1) that a name always has."""
    return int.from_bytes(hashlib.sha256(name.encode()).digest()[:4]) / 2**32


def _entry(name: str, number: int, now: float) -> dict[str, Any]:
    return {
        "at": now - 86_400 + number,
        "who": "person:anna" if number % 5 else "server",
        "action": "device.labelled" if number % 5 else "enrol.admitted",
        "subject": f"device:{name}",
        "detail": {"labels": f"store={number % 200}"},
    }

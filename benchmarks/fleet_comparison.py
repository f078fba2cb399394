"""An A/B comparison in a fleet that `benchmarks.fleet_store` has filled: devices of a channel of its own."""

from __future__ import annotations

import hashlib
import random
from typing import Any

from benchmarks.fleet_store import NEW, OLD, device_row, hour_row, member_row
from cloud_train.fleet.assign import arm
from cloud_train.fleet_types import Member, Ring, Rollout, RolloutKind, RolloutPlan
from cloud_train.store.database import Database
from edge import jsonvalue
from edge.types import FeedbackKind

CHANNEL, HOURS = "pilot", 10
ACCEPT = {"A": 0.80, "B": 0.90}
RIGHT = {"A": 0.60, "B": 0.85}


def add_comparison(database: Database, *, rollout_id: int, devices: int, now: float) -> None:
    """Writes a comparison that has run for ten hours, in which B is better.

    Args:
        database: Filled.
        rollout_id: Its number.
        devices: How many take part.
        now: Seconds since the epoch, UTC.
    """
    from cloud_train.store.tables import BUNDLE_HOURS, DEVICES, LABELS, MEMBERS, ROLLOUTS, SAMPLES

    rng = random.Random(11)  # noqa: S311
    rollout = _comparison(rollout_id, now)
    arms = {f"pilot-{number:03d}": "" for number in range(devices)}
    arms = {name: arm(Member(device_id=name), rollout) for name in arms}
    fields = {name: getattr(rollout, name) for name in rollout.__slots__}
    row = {**fields, "kind": "ab", "state": "running", "plan": jsonvalue.to_json(rollout.plan)}
    database.write(ROLLOUTS, [row])
    plain = {"channel": CHANNEL, "revoked_at": None, "pinned": "", "held": False}
    database.write(MEMBERS, [{**member_row(name, 7, now), **plain} for name in arms])
    database.write(DEVICES, [{**device_row(name, rng, now), **_runs(side, now)} for name, side in arms.items()])
    database.write(BUNDLE_HOURS, [row for name, side in arms.items() for row in _hours(name, side, rng, now)])
    samples = [_sample(name, side, number, now) for name, side in arms.items() for number in range(20)]
    database.write(SAMPLES, samples)
    database.write(LABELS, [_answer(sample, rng, now) for sample in samples])


def _comparison(rollout_id: int, now: float) -> Rollout:
    return Rollout(
        rollout_id=rollout_id,
        channel=CHANNEL,
        kind=RolloutKind.AB,
        bundle_digest=NEW,
        base_digest=OLD,
        plan=RolloutPlan(rings=(Ring(percent=100.0),)),
        started_at=now - HOURS * 3600,
        ring_since=now - HOURS * 3600,
        made_by="anna",
    )


def _bundle(side: str) -> str:
    return NEW if side == "B" else OLD


def _runs(side: str, now: float) -> dict[str, Any]:
    version = 3 if side == "B" else 2
    return {"bundle_digest": _bundle(side), "bundle_version": version, "last_seen": now - 20, "on_trial": False}


def _hours(name: str, side: str, rng: random.Random, now: float) -> list[dict[str, Any]]:
    rows = []
    for back in range(1, HOURS):
        share = min(1.0, max(0.0, rng.gauss(ACCEPT[side], 0.03)))
        frames = rng.randrange(100, 300)
        counts = {"accepted": int(frames * share), "confirmed": frames - int(frames * share), "unknown": 0}
        row = hour_row(name, int(now // 3600) - back, _bundle(side), frames, rng)
        rows.append({**row, **counts, "kept": counts["confirmed"]})
    return rows


def _sample(name: str, side: str, number: int, now: float) -> dict[str, Any]:
    return {
        "digest": hashlib.sha256(f"{name} {number}".encode()).hexdigest(),
        "size_bytes": 1000,
        "received_at": now - 3600,
        "device_id": name,
        "captured_at": now - 3700,
        "source": "camera:0",
        "prediction_id": f"{number}",
        "bundle_digest": _bundle(side),
        "label": "red",
        "confidence": 0.5,
        "margin": 0.1,
        "outcome": "confirm",
        "reason": "low_confidence",
        "value": 0.5,
    }


def _answer(sample: dict[str, Any], rng: random.Random, now: float) -> dict[str, Any]:
    is_right = rng.random() < RIGHT["B" if sample["bundle_digest"] == NEW else "A"]
    label = "red" if is_right else "blue"
    kind = FeedbackKind.CONFIRMED if is_right else FeedbackKind.CORRECTED
    return {"digest": sample["digest"], "kind": kind.value, "label": label, "who": "bea", "at": now - 1800}

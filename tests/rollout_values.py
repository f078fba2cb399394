"""Rollouts, statuses and rows for tests of the fleet."""

from cloud_train.fleet_types import HealthLimits, Ring, Rollout, RolloutKind, RolloutPlan, RolloutState
from cloud_train.store.hours import HourFigures
from edge.sync.types import BundleHour, DeviceStatus

BASE, NEW = "a" * 64, "b" * 64
START = 1_700_000_000.0 - 1_700_000_000.0 % 3600


def make_rollout(
    *,
    percents=(1.0, 10.0, 50.0, 100.0),
    rollout_id=1,
    state=RolloutState.RUNNING,
    limits=None,
    started_at=START,
    kind=RolloutKind.ROLLOUT,
    **ring_options,
):
    rings = tuple(Ring(percent=percent, **ring_options) for percent in percents)
    return Rollout(
        rollout_id=rollout_id,
        channel="stable",
        kind=kind,
        bundle_digest=NEW,
        base_digest=BASE,
        plan=RolloutPlan(rings=rings, limits=limits or HealthLimits()),
        state=state,
        started_at=started_at,
        ring_since=started_at,
        made_by="ada",
    )


def make_status(device_id="d", **changes):
    values = {
        "software": "edgeloop 1",
        "bundle_digest": BASE,
        "bundle_version": 1,
        "outbox_pending": 0,
        "frames": 10,
        "accepted": 8,
        "confirmed": 1,
        "unknown": 1,
        "kept": 2,
        "latency_p50_ms": 20.0,
    }
    return DeviceStatus(device_id=device_id, **{**values, **changes})


def make_hour(bundle=BASE, hour=int(START // 3600), **changes):
    values = {"frames": 100, "accepted": 80, "confirmed": 10, "unknown": 10, "run": "0000abcd"}
    return BundleHour(bundle_digest=bundle, hour=hour, **{**values, **changes})


def row(device, *, hour=0, frames=200, accept=0.8, unknown=0.1, failed=0, ms=40.0, crashes=0):
    accepted, nothing = round(frames * accept), round(frames * unknown)
    return HourFigures(device, hour, frames, accepted, frames - accepted - nothing, nothing, failed, ms, crashes)

import random
from dataclasses import replace

import pytest
from rollout_values import START, make_rollout, row

from cloud_train.fleet.health import Standing, new_health, old_health
from cloud_train.fleet.intervals import Estimate, newcombe, t_quantile, wilson
from cloud_train.fleet.rollout import Action, judge
from cloud_train.fleet_types import HealthLimits, RolloutKind, RolloutState

FINE = Standing(tried=50, failed=0, seen=50, silent=0, due=50)
LATE = START + 5 * 3600
SOON = START + 40 * 60


def rows(num, seed, *, hours=(0, 1), name="k", **changes):
    """Devices that differ a little from each other, hour by hour."""
    drawn = random.Random(seed)
    accept = changes.pop("accept", 0.8)
    return [
        row(f"{name}{number}", hour=hour, accept=min(1.0, max(0.0, accept + drawn.gauss(0, 0.03))), **changes)
        for number in range(num)
        for hour in hours
    ]


def said(new_rows, old_rows=None, *, now=SOON, standing=FINE, other=FINE, rollout=None, before=()):
    old_rows = rows(100, 1, name="o") if old_rows is None else old_rows
    new = new_health(new_rows, standing, before=before)
    return judge(rollout or make_rollout(), new, old_health(old_rows, other, beside=new_rows), now)


def test_a_healthy_ring_advances_and_the_last_one_finishes():
    verdict = said(rows(50, 2))
    assert verdict.action is Action.ADVANCE
    assert "accept rate" in verdict.reason
    assert said(rows(50, 2), rollout=replace(make_rollout(), ring=3)).action is Action.FINISH


@pytest.mark.parametrize("state", [RolloutState.PAUSED, RolloutState.HALTED, RolloutState.DONE])
def test_only_a_running_one_moves(state):
    verdict = said(rows(50, 2, accept=0.1), rollout=replace(make_rollout(), state=state))
    assert verdict.action is Action.WAIT


def test_it_waits_for_time_devices_and_frames():
    assert "minutes" in said(rows(50, 2), now=START + 60).reason
    few = make_rollout(min_devices=60)
    assert said(rows(50, 2), rollout=few, standing=replace(FINE, due=100)).reason.startswith(
        "ring 1 of 4: 50 of 60 devices"
    )
    assert "frames" in said(rows(50, 2), rollout=make_rollout(min_frames=10**6)).reason
    assert said(rows(50, 2), rollout=few).action is Action.ADVANCE  # there are no more than 50 in this ring


def test_a_ring_without_devices_asks_for_time_alone():
    nobody = Standing()
    assert said([], standing=nobody).action is Action.WAIT
    assert said([], standing=nobody, now=LATE).action is Action.ADVANCE


@pytest.mark.parametrize(
    ("new_rows", "standing", "word"),
    [
        (rows(50, 2), replace(FINE, failed=10), "failed on 10 of 50"),
        (rows(1, 2), Standing(tried=1, failed=1, seen=1, due=1), "failed on 1 of 1"),
        (rows(50, 2, crashes=3), FINE, "crash again and again"),
        (rows(50, 2, crashes=1), FINE, "unclean starts"),
        (rows(50, 2, failed=20), FINE, "model failed"),
        (rows(50, 2), replace(FINE, silent=25), "fell silent"),
        (rows(50, 2, ms=100.0), FINE, "latency"),
        (rows(50, 2, accept=0.5), FINE, "accept rate"),
        (rows(50, 2, accept=0.8, unknown=0.2), FINE, ""),
        (rows(50, 2, accept=0.78, unknown=0.22), FINE, "unknown rate"),
    ],
)
def test_what_is_certainly_bad_halts_at_once(new_rows, standing, word):
    verdict = said(new_rows, standing=standing, now=START + 60)
    assert (verdict.action is Action.HALT) is bool(word), verdict
    assert word in verdict.reason


def test_three_devices_do_not_halt_for_noise_nor_wait_for_ever():
    noisy = [row("a", accept=0.9), row("b", accept=0.55), row("c", accept=0.75)]
    early, late = said(noisy), said(noisy, now=LATE)
    assert early.action is Action.WAIT
    assert "doubt" in early.reason
    assert late.action is Action.ADVANCE
    assert "time is up" in late.reason


def test_three_devices_that_are_alike_bad_halt_when_waiting_did_not_help():
    bad = [row(name, accept=accept) for name, accept in (("a", 0.62), ("b", 0.66), ("c", 0.58))]
    assert said(bad).action is Action.WAIT
    verdict = said(bad, now=LATE)
    assert verdict.action is Action.HALT
    assert "waiting did not help" in verdict.reason


def test_one_failed_device_of_few_waits_and_then_halts():
    standing = Standing(tried=4, failed=1, seen=4, due=4)
    assert said(rows(3, 2), standing=standing).action is Action.WAIT
    assert said(rows(3, 2), standing=standing, now=LATE).action is Action.HALT


def test_the_hour_of_the_day_is_no_fault_of_the_bundle():
    night, noon = (0.4, 2), (0.9, 12)
    old = [r for accept, hour in (night, noon) for r in rows(100, 3, hours=(hour,), accept=accept, name="o")]
    new = rows(50, 4, hours=(2,), accept=0.4)
    assert said(new, old).action is Action.ADVANCE


def test_latency_is_held_against_the_same_devices_where_they_are_known():
    fast, slow = rows(20, 5, ms=10.0, name="f"), rows(20, 6, ms=200.0, name="s")
    before = [*rows(20, 7, ms=10.0, name="f"), *rows(20, 8, ms=200.0, name="s")]
    old = rows(100, 9, ms=20.0, name="o")
    assert said([*fast, *slow], old, before=before).action is Action.ADVANCE
    twice = [r._replace(latency_p90_ms=2 * r.latency_p90_ms) for r in (*fast, *slow)]
    verdict = said(twice, old, before=before)
    assert verdict.action is Action.HALT
    assert "2.00 times" in verdict.reason


def test_one_busy_device_does_not_speak_for_all():
    """A hundred thousand frames of one device are one device."""
    loud = [row("loud", frames=100_000, accept=0.3), *rows(4, 2)]
    assert said(loud).action is Action.WAIT


def test_restarts_within_an_hour_are_one_hour():
    parts = [row("a", frames=50)._replace(unclean_starts=1), row("a", frames=50), row("b", frames=100)]
    health = new_health(parts, FINE)
    assert (health.devices, health.frames, health.crashes.value, health.looping) == (2, 200, 0.5, 0)


def test_a_comparison_halts_for_hard_failures_alone_and_never_advances():
    rollout = make_rollout(kind=RolloutKind.AB, percents=(100.0,))
    assert said(rows(50, 2, accept=0.3), rollout=rollout, now=LATE).action is Action.WAIT
    assert said(rows(50, 2, failed=50), rollout=rollout).action is Action.HALT


def test_limits_are_what_decides():
    lax = make_rollout(limits=HealthLimits(max_accept_drop=50.0, max_unknown_rise=50.0))
    assert said(rows(50, 2, accept=0.5), rollout=lax).action is Action.ADVANCE


@pytest.mark.parametrize(
    ("level", "freedom", "expected"),
    [(0.999, 1, 318.3088), (0.999, 2, 22.3271), (0.95, 3, 2.3534), (0.975, 10, 2.2281), (0.975, 1000, 1.9600)],
)
def test_t_quantile(level, freedom, expected):
    assert t_quantile(level, freedom) == pytest.approx(expected, abs=1e-3)


def test_wilson_and_newcombe():
    assert wilson(0, 0) == (0.0, 1.0)
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=1e-4)  # Newcombe 1998
    assert newcombe(56, 70, 48, 80) == pytest.approx((0.0524, 0.3339), abs=1e-4)  # the same, method 10
    assert Estimate(value=1.0, devices=1).margin(0.975) == float("inf")

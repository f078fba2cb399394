"""Whole rollouts over simulated fleets: good bundles reach everybody, bad ones almost nobody, noise halts nothing."""

from dataclasses import replace

import pytest
from rollout_values import BASE, NEW, START, make_rollout

from cloud_train.fleet.simulation import FAULTS, Fault, SimulatedFleet, simulate
from cloud_train.fleet_types import RolloutState

DAY_S = 86_400.0


def run(num, seed, fault, **options):
    fleet = SimulatedFleet(num, seed=seed, fault=fault, begins=START - DAY_S, hours=90)
    fleet.digests = (BASE, NEW)
    for hour in range(24):
        fleet.step(START - DAY_S + hour * 3600)
    rollout = make_rollout(rollout_id=seed, min_devices=3, **options)
    return simulate(rollout, fleet, begins=START)


def test_a_good_bundle_reaches_all_of_ten_thousand_devices():
    outcome = run(10_000, 1, Fault())
    assert outcome.rollout.state is RolloutState.DONE, outcome.rollout.reason
    assert outcome.reached > 0.93  # five in a hundred are switched off
    assert outcome.hours < 6


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_bad_bundle_reaches_one_in_a_hundred_of_ten_thousand(name):
    outcome = run(10_000, 2, FAULTS[name])
    assert outcome.rollout.state is RolloutState.ROLLED_BACK, outcome.rollout.reason
    assert outcome.rollout.ring == 0
    assert outcome.reached < 0.015
    assert outcome.hours <= 5


@pytest.mark.parametrize("name", sorted(FAULTS))
def test_a_bad_bundle_in_a_fleet_of_three_hundred_stops_in_the_first_rings(name):
    """Three devices in the first ring can tell little; the second has thirty."""
    outcome = run(300, 3, FAULTS[name])
    assert outcome.rollout.state is RolloutState.ROLLED_BACK, outcome.rollout.reason
    assert outcome.reached < 0.15


def test_it_halts_without_sending_devices_back_where_that_is_asked_for():
    limits = replace(make_rollout().plan.limits, roll_back=False)
    assert run(2000, 4, FAULTS["slow"], limits=limits).rollout.state is RolloutState.HALTED


def test_noise_halts_nothing():
    """Of many rollouts of good bundles; the rate over more of them is the slow test below."""
    halted = [outcome for seed in range(100, 104) if (outcome := run(300, seed, Fault())).rollout.state.value != "done"]
    assert not halted, [outcome.rollout.reason for outcome in halted]


@pytest.mark.slow
def test_false_alarms_are_rare_over_many_seeds():
    outcomes = [run(300, seed, Fault()) for seed in range(1000, 1060)]
    assert sum(outcome.rollout.state is not RolloutState.DONE for outcome in outcomes) <= 3


def test_a_small_harm_within_the_limits_goes_through():
    assert run(3000, 5, Fault(accept_drop=0.03, slowness=1.1)).rollout.state is RolloutState.DONE

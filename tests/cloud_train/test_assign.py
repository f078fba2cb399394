import math
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rollout_values import BASE, NEW, make_rollout, make_status

from cloud_train.fleet.assign import BUCKETS, arm, assign, bucket, is_in_ring
from cloud_train.fleet_types import HealthLimits, Member, Ring, RolloutKind, RolloutPlan, RolloutState

BOTH = frozenset((BASE, NEW))
names = st.text("abcdefghij0123456789-", min_size=1, max_size=20)


def told(member=None, status=None, rollouts=(), settled=BASE, offered=BOTH):
    member = member or Member(device_id="d")
    return assign(member, status or make_status(member.device_id), rollouts, settled, offered).bundle_digest


def member_in(rollout, *, inside):
    return next(
        member for number in range(100_000) if is_in_ring(member := Member(device_id=f"d{number}"), rollout) is inside
    )


def test_without_a_rollout_the_channel_decides():
    assert told() == BASE
    assert told(settled="", offered=frozenset()) == ""


def test_revoked_gets_nothing_and_a_pin_and_a_hold_come_before_the_rollout():
    rollout = make_rollout(percents=(100.0,))
    assert told(Member(device_id="d", revoked_at=1.0, pinned=NEW), rollouts=[rollout]) == ""
    assert told(Member(device_id="d", pinned="c" * 64, held=True), rollouts=[rollout]) == "c" * 64
    held = Member(device_id="d", held=True)
    assert told(held, make_status("d", bundle_digest="f" * 64), [rollout]) == "f" * 64


def test_a_held_device_without_a_bundle_gets_its_first():
    assert told(Member(device_id="d", held=True), make_status("d", bundle_digest="")) == BASE


def test_rings_by_percent():
    rollout = make_rollout(percents=(5.0, 100.0))
    assert told(member_in(rollout, inside=True), rollouts=[rollout]) == NEW
    assert told(member_in(rollout, inside=False), rollouts=[rollout]) == BASE


def test_rings_by_label_and_labels_of_earlier_rings():
    plan = RolloutPlan(rings=(Ring(percent=0, labels={"store": "17"}), Ring(percent=0.01), Ring(percent=100)))
    rollout = replace(make_rollout(), plan=plan)
    there = Member(device_id="x", labels={"store": "17", "lane": "2"})
    elsewhere = Member(device_id="x", labels={"store": "18"})
    for ring in (0, 1):
        assert told(there, rollouts=[replace(rollout, ring=ring)]) == NEW
        assert told(elsewhere, rollouts=[replace(rollout, ring=ring)]) == BASE
    assert told(elsewhere, rollouts=[replace(rollout, ring=2)]) == NEW


@pytest.mark.parametrize(
    ("state", "roll_back", "runs", "expected"),
    [
        (RolloutState.RUNNING, True, BASE, NEW),
        (RolloutState.PAUSED, True, BASE, NEW),
        (RolloutState.HALTED, True, NEW, BASE),
        (RolloutState.HALTED, False, NEW, NEW),
        (RolloutState.HALTED, False, BASE, BASE),
        (RolloutState.ROLLED_BACK, True, NEW, BASE),
        (RolloutState.ROLLED_BACK, False, NEW, BASE),
        (RolloutState.DONE, True, BASE, NEW),
    ],
)
def test_states(state, roll_back, runs, expected):
    rollout = make_rollout(percents=(100.0,), state=state, limits=HealthLimits(roll_back=roll_back))
    assert told(status=make_status("d", bundle_digest=runs), rollouts=[rollout]) == expected


@pytest.mark.parametrize("state", list(RolloutState))
def test_a_device_on_which_it_failed_never_gets_it_again(state):
    rollout = make_rollout(percents=(100.0,), state=state)
    assert told(status=make_status("d", rejected=(NEW,)), rollouts=[rollout]) == BASE


def test_the_newest_rollout_counts_and_an_ended_one_gives_way_to_what_was_published_since():
    old = make_rollout(percents=(100.0,), rollout_id=1, state=RolloutState.ROLLED_BACK)
    new = make_rollout(percents=(100.0,), rollout_id=2)
    assert told(rollouts=[new, old]) == told(rollouts=[old, new]) == NEW
    done = make_rollout(percents=(100.0,), state=RolloutState.DONE)
    later = "9" * 64
    assert told(rollouts=[done], settled=later, offered=frozenset((later, NEW))) == later


def test_what_is_not_signed_is_never_named():
    assert told(rollouts=[make_rollout(percents=(100.0,))], offered=frozenset((BASE,))) == BASE


@given(names, st.integers(1, 10**6), st.lists(st.floats(0, 100), min_size=2, max_size=6))
def test_raising_the_percent_never_takes_a_device_out(name, rollout_id, percents):
    member = Member(device_id=name)
    rollout = make_rollout(percents=tuple(sorted(percents)), rollout_id=rollout_id)
    inside = [is_in_ring(member, replace(rollout, ring=ring)) for ring in range(len(percents))]
    assert inside == sorted(inside)
    sides = [arm(member, make_rollout(percents=(percent,), rollout_id=rollout_id)) for percent in sorted(percents)]
    assert len({side for side in sides if side}) <= 1


@settings(max_examples=25)
@given(st.integers(1, 10**9), st.floats(0.5, 99.5))
def test_the_share_is_within_binomial_bounds(rollout_id, percent):
    rollout = make_rollout(percents=(percent,), rollout_id=rollout_id)
    num = 4000
    hits = sum(is_in_ring(Member(device_id=f"kiosk-{number}"), rollout) for number in range(num))
    share = round(percent * BUCKETS / 100) / BUCKETS
    assert abs(hits - num * share) <= 5 * math.sqrt(num * share * (1 - share)) + 1


@settings(max_examples=25)
@given(st.integers(1, 10**9), st.integers(1, 10**9))
def test_rollouts_are_independent_of_each_other(first, second):
    if first == second:
        return
    num = 4000
    both = sum(bucket(first, f"k{number}") < 5000 and bucket(second, f"k{number}") < 5000 for number in range(num))
    assert abs(both - num / 4) <= 5 * math.sqrt(num * 3 / 16)


def test_an_ab_comparison_halves_those_that_take_part():
    rollout = replace(make_rollout(percents=(40.0,)), kind=RolloutKind.AB)
    arms = [arm(Member(device_id=f"k{number}"), rollout) for number in range(5000)]
    for name, expected in (("A", 1000), ("B", 1000), ("", 3000)):
        assert abs(arms.count(name) - expected) < 5 * math.sqrt(5000 * 0.25)
    chosen = Member(device_id=f"k{arms.index('B')}")
    assert told(chosen, rollouts=[rollout]) == NEW
    assert told(Member(device_id=f"k{arms.index('A')}"), rollouts=[rollout]) == BASE
    assert told(chosen, rollouts=[replace(rollout, state=RolloutState.DONE)]) == BASE

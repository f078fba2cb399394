"""Two bundles side by side: devices are the unit, answers of people count, what is not known is not claimed."""

import json
import math
import random
from dataclasses import replace

import pytest
from rollout_values import BASE, NEW, START, make_hour, make_rollout, make_status, row

from cloud_train.fleet.ab_report import ab_report, compared, report_lines, report_value
from cloud_train.fleet.assign import arm
from cloud_train.fleet.check_in import Channel, CheckInParts, CheckInRules, check_in
from cloud_train.fleet.health import NOBODY, new_health
from cloud_train.fleet.watch import WatchParts
from cloud_train.fleet_types import Member, RolloutKind
from cloud_train.store.answered import Answered, AnsweredSamples
from cloud_train.store.check_ins import SqlCheckInStore
from cloud_train.store.database import open_database
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.rollouts import SqlRolloutStore
from cloud_train.store.roster import SqlRoster
from edge import jsonvalue

ROLLOUT = replace(make_rollout(percents=(100.0,)), kind=RolloutKind.AB)


def side(num, accept, seed, spread=0.05):
    drawn = random.Random(seed)
    return new_health([row(f"k{n}", accept=min(1, max(0, drawn.gauss(accept, spread)))) for n in range(num)], NOBODY)


def figure(report, name):
    return next(one for one in report.figures if one.name == name)


def test_a_clear_difference_is_called_clear_and_noise_is_not():
    clear = compared(ROLLOUT, side(50, 0.7, 1), side(50, 0.8, 2), (), (), now=START + 7200)
    accepted = figure(clear, "accepted")
    assert accepted.is_clear
    assert accepted.difference.value == pytest.approx(10, abs=3)
    assert accepted.difference.lower < accepted.difference.value < accepted.difference.upper
    assert clear.hours == 2.0
    noise = compared(ROLLOUT, side(50, 0.75, 3), side(50, 0.75, 4), (), (), now=START)
    assert not figure(noise, "accepted").is_clear


def test_intervals_hold_what_they_promise():
    """Two hundred comparisons of the same bundle: about one in twenty claims a difference that is none."""
    false = sum(
        figure(
            compared(ROLLOUT, side(12, 0.7, seed), side(12, 0.7, seed + 9999), (), (), now=START), "accepted"
        ).is_clear
        for seed in range(200)
    )
    assert false <= 22


def test_many_frames_of_few_devices_are_few():
    many = [row(name, frames=10_000, accept=accept) for name, accept in (("a", 0.5), ("b", 0.9))]
    report = compared(ROLLOUT, new_health(many, NOBODY), side(50, 0.75, 2), (), (), now=START)
    a = figure(report, "accepted").a
    assert a.upper - a.lower > 50
    assert any("fewer than 10 devices" in note for note in report.notes)


def test_one_device_has_no_interval():
    report = compared(ROLLOUT, side(1, 0.7, 1), side(9, 0.7, 2), (), (), now=START)
    assert math.isinf(figure(report, "accepted").difference.upper)
    assert not figure(report, "accepted").is_clear
    json.loads(jsonvalue.canonical_bytes(report_value(report)))
    assert "inf" not in "\n".join(report_lines(report))


def test_answers_of_people_are_counted_by_device():
    of_a = tuple(Answered(device_id=f"k{n}", samples=10, right=6) for n in range(20))
    of_b = tuple(Answered(device_id=f"k{n}", samples=10, right=9) for n in range(20))
    report = compared(ROLLOUT, side(20, 0.7, 1), side(20, 0.7, 2), of_a, of_b, now=START)
    right = figure(report, "right, of answered samples")
    assert (round(right.a.value), round(right.b.value), right.is_clear) == (60, 90, True)
    assert report.answered == (200, 200)
    assert any("doubtful" in note for note in report.notes)


def test_the_report_from_a_store(tmp_path):
    from sample_values import make_sample

    from cloud_train.store.sql import SqlMetaStore
    from cloud_train.types import Label, SampleRecord
    from edge.types import FeedbackKind

    database = open_database(tmp_path / "meta.sqlite")
    channel = Channel(settled=BASE, offered=frozenset((BASE, NEW)))
    rules = CheckInRules(channel="stable", check_in_s=30.0)
    desk = CheckInParts(store=SqlCheckInStore(database), read_channel=lambda name: channel, rules=rules)
    devices = [f"k{number}" for number in range(16)]
    for device in devices:
        is_b = arm(Member(device_id=device), ROLLOUT) == "B"
        hours = tuple(
            make_hour(bundle=digest, accepted=90, confirmed=0) for digest in ((BASE, NEW) if is_b else (BASE,))
        )
        status = make_status(device, bundle_digest=NEW if is_b else BASE, hours=hours)
        check_in(status, desk, now=START + 60, takes_strangers=True)
    meta, b = SqlMetaStore(database), next(d for d in devices if arm(Member(device_id=d), ROLLOUT) == "B")
    sample = make_sample(1)
    metadata = replace(sample.metadata, device_id=b, bundle_digest=NEW, label="tea")
    meta.add_samples((SampleRecord(digest=sample.digest, size_bytes=3, received_at=START + 90, metadata=metadata),))
    for kind, label in ((FeedbackKind.CORRECTED, "mug"), (FeedbackKind.CONFIRMED, "tea")):
        meta.add_label(Label(digest=sample.digest, kind=kind, label=label, who="ada", at=START + len(label)))
    parts = WatchParts(
        rollouts=SqlRolloutStore(database),
        hours=SqlHourStore(database),
        roster=SqlRoster(database),
        default_channel="stable",
    )
    report = ab_report(ROLLOUT, parts, AnsweredSamples(database), now=START + 600)
    arms = [arm(Member(device_id=device), ROLLOUT) for device in devices]
    assert report.devices == (arms.count("A"), arms.count("B"))
    assert report.frames == (100 * arms.count("A"), 100 * arms.count("B"))  # B devices' hours with A do not count as A
    assert report.answered == (0, 1)
    assert AnsweredSamples(database).of(NEW, since=0.0) == (Answered(device_id=b, samples=1, right=1),)
    assert f"A/B {ROLLOUT.rollout_id} on channel stable" in report_lines(report)[0]
    database.close()

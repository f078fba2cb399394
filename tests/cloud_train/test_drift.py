"""Drift: a shifted mix of classes scores high, the same mix low, few frames say nothing."""

import json
import random
from collections import Counter
from pathlib import Path

import pytest
from rollout_values import BASE, START, make_hour

from cloud_train.fleet.drift import MOVED, DriftMark, confidence_drift, drift_of, noise_floor
from cloud_train.fleet.drift_report import drift_lines, drift_report
from cloud_train.fleet.expected import Expected, expected_from, expected_of
from cloud_train.store.database import open_database
from cloud_train.store.hours import SqlHourStore
from cloud_train.store.published import PublishedFolder

HOUR = int(START // 3600)
MIX = {"tea": 50, "coffee": 30, "cocoa": 15, "milk": 5}


def seen(mix, num, seed):
    return Counter(random.Random(seed).choices(list(mix), list(mix.values()), k=num))


def test_the_same_mix_scores_low_and_a_shifted_one_high():
    same = drift_of(MIX, seen(MIX, 20_000, 1), expected_frames=2000)
    moved = drift_of(MIX, seen({**MIX, "milk": 60}, 20_000, 1), expected_frames=2000)
    assert same.mark is DriftMark.SAME
    assert moved.mark is DriftMark.MOVED
    assert moved.score > 10 * same.raw
    assert moved.largest.startswith("milk: 5.0% to 3")


def test_chance_alone_alarms_nobody():
    """The mix is the same; a hundred draws of few frames, each counted as independent."""
    alarms = [
        drift_of(MIX, seen(MIX, 250, seed), expected_frames=200, alike=1.0).mark is not DriftMark.SAME
        for seed in range(100)
    ]
    assert sum(alarms) <= 5


def test_the_noise_floor_is_what_chance_makes():
    """Simulated: nineteen of twenty indices of the same mix lie below it."""
    raw = [drift_of(MIX, seen(MIX, 2000, seed), expected_frames=10**6, alike=1.0).raw for seed in range(300)]
    below = sum(value <= noise_floor(4, 2000, 10**6) for value in raw)
    assert 0.9 <= below / 300 <= 0.99


def test_too_few_frames_say_so():
    assert drift_of(MIX, {"milk": 100}, expected_frames=2000).mark is DriftMark.TOO_FEW
    assert drift_of({"tea": 1}, {"tea": 1000}, expected_frames=1).mark is DriftMark.TOO_FEW


def test_frames_of_one_camera_are_not_believed_as_many():
    shifted = {"tea": 600, "coffee": 250, "cocoa": 100, "milk": 50}
    assert drift_of(MIX, shifted, expected_frames=2000, alike=1.0).raw > 0
    assert drift_of(MIX, shifted, expected_frames=2000, alike=100.0).score == 0.0


def test_lumped_labels_are_held_against_all_that_are_not_named():
    lumped = drift_of(MIX, {"tea": 5000, "coffee": 3000, "": 2000}, expected_frames=2000)
    assert lumped.score == 0.0
    unknown = drift_of(MIX, {"tea": 500, "gravel": 9500}, expected_frames=2000)
    assert unknown.score > MOVED


def test_confidence_that_sinks_is_seen():
    high = [0] * 15 + [20, 50, 100, 400, 430]
    low = [10] * 5 + [30] * 10 + [100] * 5
    assert confidence_drift(high, [10 * number for number in high]).mark is DriftMark.SAME
    assert confidence_drift(high, [10 * number for number in low]).mark is DriftMark.MOVED


def test_what_a_proof_says():
    new = {"distribution": {"confidence": [1] * 20, "classes": {"tea": 20}}, "answers": []}
    assert expected_from(new, metric="ap50") == Expected(
        classes={"tea": 20}, confidence=(1,) * 20, source="the validation pictures"
    )
    answers = [{"before": "tea", "after": "tea", "num": 5}, {"before": "milk", "after": "tea", "num": 2}]
    old = expected_from({"answers": answers}, metric="top1")
    assert old is not None
    assert (old.classes, old.confidence) == ({"tea": 7}, ())
    assert "older proof" in old.source
    assert expected_from({"answers": answers}, metric="ap50") is None


def test_the_proof_is_found_through_the_published_manifest(tmp_path):
    place = PublishedFolder(tmp_path)
    manifest = {"proof": {"file": "proof.json"}, "files": [{"name": "proof.json", "sha256": "f" * 64}]}
    place.write(f"targets/channel/stable/{BASE}.manifest.json", json.dumps(manifest).encode())
    assert expected_of(place, "stable", BASE) is None
    proof = {"artifacts": [{"distribution": {"confidence": [1] * 20, "classes": {"tea": 20}}}]}
    place.write(f"files/sha256/{'f' * 64}", json.dumps(proof).encode())
    assert expected_of(place, "stable", BASE).classes == {"tea": 20}
    assert expected_of(place, "stable", "c" * 64) is None


@pytest.fixture
def hours(tmp_path):
    database = open_database(Path(tmp_path) / "meta.sqlite")
    yield SqlHourStore(database)
    database.close()


def record(hours, mix, *, ago, devices=30):
    for number in range(devices):
        classes = dict(seen(mix, 100, number))
        hours.record(f"k{number}", (make_hour(hour=HOUR - ago, classes=classes, confidence=(0,) * 19 + (100,)),))


def test_the_report_holds_the_field_against_the_proof(hours):
    expected = Expected(classes={name: float(number) for name, number in MIX.items()}, source="the validation pictures")
    record(hours, MIX, ago=1)
    same = drift_report(BASE, hours, lambda: expected, now=START)
    assert (same.devices, same.classes.frames, same.classes.mark) == (30, 3000, DriftMark.SAME)
    assert same.confidence is None
    record(hours, {**MIX, "milk": 200}, ago=2)
    moved = drift_report(BASE, hours, lambda: expected, now=START)
    assert moved.classes.mark is DriftMark.MOVED
    assert "milk: 5.0% to" in "\n".join(drift_lines(moved))


def test_without_a_proof_it_is_the_first_week(hours):
    record(hours, MIX, ago=1)
    nothing = drift_report(BASE, hours, lambda: None, now=START)
    assert nothing.against == ""
    assert "nothing to compare with" in drift_lines(nothing)[1]
    record(hours, MIX, ago=100)
    first = drift_report(BASE, hours, lambda: None, now=START)
    assert first.against == "its own first days in the field"
    assert (first.classes.mark, first.confidence.mark) == (DriftMark.SAME, DriftMark.SAME)

"""Statistics by bundle and hour: bounded, complete, small enough for a check-in."""

import random
import sys
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edge.outbox.base import OutboxStats
from edge.statistics import (
    MAX_BUNDLES,
    MAX_HOURS,
    TOP_CLASSES,
    HourBook,
    bucket_of,
    latency_quantile,
    top_classes,
    with_fewer_classes,
)
from edge.telemetry import Circumstances, Telemetry, device_status, quantile, with_hours
from edge.types import Classification, ClassScore, Decision, DecisionReason, Inference, Outcome, Text, Timings
from edge.update.types import Slot
from edge.wire import convert, limits

HOUR_S = 3600.0
NOW = 472_222 * HOUR_S
A, B = "a" * 64, "b" * 64
STATUS = device_status(
    __import__("edge.telemetry", fromlist=["Counts"]).Counts(),
    Slot(bundle_digest=A, version=1),
    OutboxStats(pending=0, sent=0, parked=0, pending_bytes=0),
    Circumstances(device_id="d", software="edgeloop 1"),
)


def book(run="0123abcd"):
    return HourBook(run)


def answer(made, now, *, bundle=A, outcome=Outcome.ACCEPT, confidence=0.9, label="tea", ms=20.0):
    made.answered(now, bundle, outcome, confidence, label, ms)


def test_an_hour_holds_everything():
    made = book()
    for outcome, confidence, label in (
        (Outcome.ACCEPT, 1.0, "tea"),
        (Outcome.CONFIRM, 0.5, "tea"),
        (Outcome.UNKNOWN, 0.0, "mug"),
    ):
        answer(made, NOW + 5, outcome=outcome, confidence=confidence, label=label)
    made.kept(2)
    made.failed(NOW + 6, A)
    made.waiting(NOW + 7, A, 9)
    made.waiting(NOW + 8, A, 4)
    (hour,) = made.untold(NOW + 9)
    limits.check_hour(hour)
    assert (hour.bundle_digest, hour.hour, hour.run) == (A, 472_222, "0123abcd")
    assert (hour.frames, hour.accepted, hour.confirmed, hour.unknown) == (3, 1, 1, 1)
    assert (hour.failed, hour.kept, hour.outbox_depth) == (1, 2, 9)
    assert [place for place, number in enumerate(hour.confidence) if number] == [0, 10, 19]
    assert hour.classes == {"tea": 2, "mug": 1}
    assert hour.latency_p50_ms == hour.latency_p99_ms == pytest.approx(20.0, rel=0.05)


def test_bundles_and_hours_are_apart_and_the_oldest_comes_first():
    made = book()
    for now, bundle in ((NOW, B), (NOW + HOUR_S, A), (NOW, A)):
        answer(made, now, bundle=bundle)
    assert [(hour.hour - 472_222, hour.bundle_digest) for hour in made.untold(NOW)] == [(0, A), (0, B), (1, A)]


def test_what_was_told_is_told_again_only_when_it_changed_and_forgotten_when_it_is_over():
    made = book()
    answer(made, NOW)
    made.told(made.untold(NOW))
    assert made.untold(NOW) == ()
    answer(made, NOW + 1)
    assert [hour.frames for hour in made.untold(NOW)] == [2]  # an hour is one row, and grows
    told = made.untold(NOW)
    answer(made, NOW + 2)  # between the report and its answer
    made.told(told)
    assert [hour.frames for hour in made.untold(NOW)] == [3]
    made.told(made.untold(NOW))
    assert made.untold(NOW + HOUR_S) == ()
    answer(made, NOW + 3)  # a clock that went back
    assert [hour.frames for hour in made.untold(NOW)] == [4]
    made.told(made.untold(NOW))
    assert made.untold(NOW + 2 * HOUR_S) == ()
    assert made._tallies == {}


def test_another_run_is_none_of_ours():
    made = book()
    answer(made, NOW)
    made.told(replace(hour, run="ffffffff") for hour in made.untold(NOW))
    assert len(made.untold(NOW)) == 1


def test_two_days_without_a_road_lose_nothing_and_more_loses_the_oldest():
    made = book()
    for number in range(MAX_HOURS):
        answer(made, NOW + number * HOUR_S)
    assert len(made.untold(NOW)) == MAX_HOURS
    assert made.lost == 0
    answer(made, NOW + MAX_HOURS * HOUR_S)
    hours = made.untold(NOW)
    assert (len(hours), hours[0].hour, made.lost) == (MAX_HOURS, 472_223, 1)


def test_memory_is_bounded():
    made = book()
    drawn = random.Random(1)
    for number in range(2_000):
        answer(
            made, NOW + drawn.randrange(400) * HOUR_S, bundle=f"{number % 9:064d}", label=f"class {number}", ms=number
        )
    assert len(made._tallies) <= MAX_HOURS * MAX_BUNDLES
    for _ in range(2000):
        answer(made, NOW + 500 * HOUR_S, label=str(drawn.random()))
    tally = made._tallies[(472_722, A)]
    assert len(tally.classes) <= 513
    assert sys.getsizeof(tally.latencies) < 10_000


def test_a_clock_far_out_still_gives_hours_that_can_be_sent():
    made = book()
    for now in (-5.0, 0.0, 1e15):
        answer(made, now)
    for hour in made.untold(NOW):
        limits.check_hour(hour)


@given(st.dictionaries(st.text(max_size=130), st.integers(1, 10**6), max_size=60), st.integers(0, 30))
def test_the_commonest_classes_stay_and_the_sum_too(classes, most):
    kept = top_classes(classes, most)
    assert sum(kept.values()) == sum(classes.values())
    assert len([label for label in kept if label]) <= most
    for label in kept:
        limits.check_text(label, "label", empty=True)


@given(st.lists(st.floats(0.2, 90_000.0), min_size=1, max_size=200), st.sampled_from([0.5, 0.9, 0.99]))
def test_quantiles_of_buckets_are_within_five_percent(values, share):
    buckets = {}
    for value in values:
        buckets[bucket_of(value)] = buckets.get(bucket_of(value), 0) + 1
    assert latency_quantile(buckets, share) == pytest.approx(quantile(sorted(values), share), rel=0.05)


def test_no_latency_at_all():
    assert latency_quantile({}, 0.9) == 0.0
    assert bucket_of(0.0) == bucket_of(-1.0) == 0


def test_a_check_in_is_small_whatever_there_is_to_tell():
    made = book()
    labels = [f"{'ü' * 90}{number}" for number in range(40)]
    for number in range(40):
        for label in labels:
            answer(made, NOW + number * HOUR_S, label=label)
    status = replace(STATUS, last_error="x" * 500, rejected=tuple(f"{number:064d}" for number in range(16)))
    told, hours = 0, made.untold(NOW)
    while hours:
        sent = with_hours(status, hours)
        message = convert.check_in_request_to_message(sent)
        assert message.ByteSize() <= limits.MAX_CHECK_IN_BYTES
        assert sent.hours, "an hour that never fits would never go"
        assert all(sum(hour.classes.values()) == 40 for hour in sent.hours)
        told += len(sent.hours)
        hours = hours[len(sent.hours) :]
    assert told == 40


def test_ordinary_hours_are_sent_several_at_a_time():
    made = book()
    for number in range(48):
        for frame in range(300):
            answer(made, NOW + number * HOUR_S, label=f"product {frame % 30}", confidence=frame / 300)
    sent = with_hours(STATUS, made.untold(NOW))
    assert len(sent.hours) >= 4
    assert [hour.hour for hour in sent.hours] == sorted(hour.hour for hour in made.untold(NOW))[: len(sent.hours)]
    assert len(with_fewer_classes(sent.hours[0], 3).classes) == 4
    assert len(sent.hours[0].classes) == TOP_CLASSES + 1


def inference(prediction, bundle=A):
    return Inference(
        prediction=prediction,
        decision=Decision(outcome=Outcome.ACCEPT, confidence=0.9, reason=DecisionReason.CONFIDENT),
        timings=Timings(preprocess_ms=1.0, infer_ms=2.0, postprocess_ms=0.5),
        bundle_digest=bundle,
        artifact="m.tflite",
        picture_digest="c" * 64,
    )


def test_telemetry_fills_the_hours():
    telemetry = Telemetry(run="0123abcd", clock=lambda: NOW)
    tea = Classification(top=(ClassScore(label="tea", index=0, probability=0.9),), margin=0.5, entropy=0.1)
    telemetry.answered(inference(tea), 1)
    telemetry.add(kept=1)
    telemetry.failed(B)
    first, second = telemetry.hours(A, 7)
    assert (first.frames, first.kept, first.outbox_depth, first.classes) == (1, 1, 7, {"tea": 1})
    assert (second.bundle_digest, second.failed) == (B, 1)
    telemetry.reported((first, second))
    assert telemetry.hours(A, 7) == ()


def test_what_was_read_is_in_no_statistic():
    telemetry = Telemetry(clock=lambda: NOW)
    telemetry.answered(inference(Text(text="B-AB 1234", confidence=0.9)), 1)
    assert telemetry.hours(A, 0)[0].classes == {"": 1}


def test_what_outlives_a_kill_is_all_that_the_server_has_not_heard_more_of_since():
    made = book()
    answer(made, NOW - HOUR_S)
    answer(made, NOW)
    before, present = made.over(NOW)
    assert (before.hour, present.hour) == (472_221, 472_222)
    made.told([before])
    assert made.over(NOW) == (present,)
    made.told([present])
    answer(made, NOW)
    assert made.over(NOW) == ()
    assert [hour.frames for hour in made.untold(NOW)] == [2]

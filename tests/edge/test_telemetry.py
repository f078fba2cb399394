import threading

import pytest

from edge.outbox.base import OutboxStats
from edge.telemetry import Circumstances, Counts, Telemetry, Topic, device_status, quantile
from edge.types import Classification, ClassScore, Decision, DecisionReason, Inference, Outcome, Timings
from edge.update.types import Slot


def inference(outcome=Outcome.ACCEPT, ms=1.0, bundle="b" * 64):
    return Inference(
        prediction=Classification(top=(ClassScore(label="x", index=0, probability=1.0),), margin=1.0, entropy=0.0),
        decision=Decision(outcome=outcome, confidence=1.0, reason=DecisionReason.CONFIDENT),
        timings=Timings(preprocess_ms=ms, infer_ms=0.0, postprocess_ms=0.0),
        bundle_digest=bundle,
        artifact="m.tflite",
        picture_digest="c" * 64,
    )


def test_counts():
    telemetry = Telemetry()
    for outcome, bundle, version in ((Outcome.ACCEPT, "a", 1), (Outcome.CONFIRM, "b", 2), (Outcome.UNKNOWN, "b", 2)):
        telemetry.add(frames_seen=1)
        telemetry.answered(inference(outcome, bundle=bundle), version)
    telemetry.add(frames_seen=3, frames_unreadable=1, frames_failed=1, kept=2)
    counts = telemetry.counts()
    assert (counts.frames_seen, counts.frames_answered, counts.frames_dropped, counts.kept) == (6, 3, 1, 2)
    assert (counts.accepted, counts.confirmed, counts.unknown) == (1, 1, 1)
    assert counts.frames_by_bundle == {"a": 1, "b": 2}
    assert counts.frames_by_version == {"1": 1, "2": 2}


def test_latencies_are_those_of_the_last_answers():
    telemetry = Telemetry(window=100)
    for ms in [900.0] * 50 + [float(number) for number in range(1, 101)]:
        telemetry.answered(inference(ms=ms), 1)
    counts = telemetry.counts()
    assert (counts.latency_p50_ms, counts.latency_p95_ms) == (50.0, 95.0)


@pytest.mark.parametrize(
    ("values", "share", "expected"),
    [([], 0.5, 0.0), ([3.0], 0.5, 3.0), ([1.0, 2.0], 0.5, 1.0), ([1.0, 2.0], 0.95, 2.0), ([1.0, 2.0, 3.0], 0.0, 1.0)],
)
def test_quantile(values, share, expected):
    assert quantile(values, share) == expected


def test_the_road_speaks_before_the_frames_and_both_can_be_well_again():
    telemetry = Telemetry()
    telemetry.trouble(Topic.FRAME, "disk full")
    telemetry.trouble(Topic.ROAD, "no road")
    assert telemetry.counts().last_error == "no road"
    telemetry.trouble(Topic.ROAD, "")
    assert telemetry.counts().last_error == "disk full"
    telemetry.trouble(Topic.FRAME, "")
    assert telemetry.counts().last_error == ""


def test_unknown_counter_is_a_mistake():
    telemetry = Telemetry()
    telemetry.add(frames_sene=1)
    with pytest.raises(TypeError):
        telemetry.counts()


def test_threads_lose_nothing():
    telemetry = Telemetry()
    threads = [threading.Thread(target=lambda: [telemetry.add(kept=1) for _ in range(2000)]) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert telemetry.counts().kept == 8000


def test_device_status():
    counts = Counts(frames_answered=5, accepted=3, confirmed=1, unknown=1, kept=2, last_error="x" * 900)
    stats = OutboxStats(pending=4, sent=1, parked=0, pending_bytes=9)
    slot = Slot(bundle_digest="b" * 64, version=7)
    status = device_status(counts, slot, stats, Circumstances(device_id="d", software="edgeloop 1"))
    assert (status.bundle_digest, status.bundle_version, status.outbox_pending) == ("b" * 64, 7, 4)
    assert (status.frames, status.accepted, status.confirmed, status.unknown, status.kept) == (5, 3, 1, 1, 2)
    assert len(status.last_error) == 500

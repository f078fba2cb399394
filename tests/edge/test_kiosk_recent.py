from __future__ import annotations

import hashlib
import threading

import numpy as np
from tiny_bundles import bundle_fields

from edge.answering import Answer
from edge.bundle.manifest import BundleManifest
from edge.kiosk.recent import Recent
from edge.types import Classification, ClassScore, Decision, DecisionReason, Frame, Inference, Outcome, Timings

MANIFEST = BundleManifest(files=(), golden_file="golden.json", **bundle_fields())


def answer(name: str, *, size: int = 10, data: object = None) -> Answer:
    inference = Inference(
        prediction=Classification(top=(ClassScore(label="red", index=0, probability=0.9),), margin=1.0, entropy=0.0),
        decision=Decision(outcome=Outcome.ACCEPT, confidence=0.9, reason=DecisionReason.CONFIDENT),
        timings=Timings(preprocess_ms=1.0, infer_ms=1.0, postprocess_ms=1.0),
        bundle_digest="b" * 64,
        artifact="model.tflite",
        picture_digest=hashlib.sha256(name.encode()).hexdigest(),
    )
    frame = Frame(data=bytes(size) if data is None else data, captured_at=0.0, source=name, sequence=0)
    return Answer(frame=frame, inference=inference, manifest=MANIFEST)


def test_an_answer_is_found_by_its_id() -> None:
    recent = Recent(max_answers=3, max_bytes=1000)
    first = answer("a")
    recent.remember(first)
    assert recent.find(first.inference.prediction_id) is first
    assert recent.find(answer("b").inference.prediction_id) is None


def test_the_oldest_goes_when_there_are_too_many() -> None:
    recent = Recent(max_answers=2, max_bytes=1000)
    answers = [answer(name) for name in "abc"]
    for one in answers:
        recent.remember(one)
    assert [recent.find(one.inference.prediction_id) is not None for one in answers] == [False, True, True]
    assert (len(recent), recent.num_bytes) == (2, 20)


def test_an_answer_that_comes_again_is_the_newest_and_counted_once() -> None:
    recent = Recent(max_answers=2, max_bytes=1000)
    for name, size in (("a", 10), ("b", 20), ("a", 30), ("c", 40)):
        recent.remember(answer(name, size=size))
    assert recent.find(answer("b").inference.prediction_id) is None
    assert recent.find(answer("a").inference.prediction_id) is not None
    assert recent.num_bytes == 70


def test_the_oldest_go_when_their_pictures_are_too_large() -> None:
    recent = Recent(max_answers=100, max_bytes=100)
    for name in "abcdef":
        recent.remember(answer(name, size=30))
    assert (len(recent), recent.num_bytes) == (3, 90)


def test_the_newest_stays_however_large_it_is() -> None:
    recent = Recent(max_answers=100, max_bytes=100)
    recent.remember(answer("a", size=50))
    recent.remember(answer("b", size=5000))
    assert recent.find(answer("b").inference.prediction_id) is not None
    assert len(recent) == 1
    recent.remember(answer("c", size=1))
    assert (len(recent), recent.num_bytes) == (1, 1)


def test_pixels_count_as_the_memory_they_take() -> None:
    recent = Recent(max_answers=100, max_bytes=10_000)
    recent.remember(answer("a", data=np.zeros((10, 20, 3), np.uint8)))
    assert recent.num_bytes == 600


def test_many_threads_leave_it_in_order() -> None:
    recent = Recent(max_answers=5, max_bytes=1000)

    def work(number: int) -> None:
        for at in range(200):
            recent.remember(answer(f"{(number * at) % 17}", size=at % 50))
            recent.find(answer(f"{at % 17}").inference.prediction_id)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(1, 5)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(recent) <= 5
    kept = [one for name in range(17) if (one := recent.find(answer(str(name)).inference.prediction_id)) is not None]
    assert recent.num_bytes == sum(len(one.frame.data) for one in kept)

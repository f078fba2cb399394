from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest

from edge.bundle.manifest import DecisionPolicy, KeepPolicy
from edge.decide import decide
from edge.keep.policy import judge
from edge.types import Classification, ClassScore, Inference, KeepReason, Timings

POLICY = KeepPolicy(keep_unknown=True, below_confidence=0.6, below_margin=0.2, random_fraction=0.0)


def inference(confidence: float, margin: float, *, entropy: float = 0.1, picture: str = "picture") -> Inference:
    prediction = Classification(
        top=(ClassScore(label="a", index=0, probability=confidence),), margin=margin, entropy=entropy
    )
    return Inference(
        prediction=prediction,
        decision=decide(prediction, DecisionPolicy()),
        timings=Timings(preprocess_ms=1, infer_ms=2, postprocess_ms=3),
        bundle_digest="b" * 64,
        artifact="a.tflite",
        picture_digest=hashlib.sha256(picture.encode()).hexdigest(),
    )


@pytest.mark.parametrize(
    ("confidence", "margin", "reason"),
    [
        (0.2, 0.1, KeepReason.NOT_RECOGNISED),
        (0.59, 0.5, KeepReason.LOW_CONFIDENCE),
        (0.6, 0.19, KeepReason.SMALL_MARGIN),
        (0.6, 0.2, KeepReason.NOT_NEEDED),
        (0.99, 0.98, KeepReason.NOT_NEEDED),
    ],
)
def test_rules_in_order(confidence: float, margin: float, reason: KeepReason) -> None:
    verdict = judge(inference(confidence, margin), POLICY)
    assert (verdict.reason, verdict.keep) == (reason, reason is not KeepReason.NOT_NEEDED)


def test_unknown_may_be_left_out() -> None:
    policy = replace(POLICY, keep_unknown=False, below_confidence=0.0, below_margin=0.0)
    assert not judge(inference(0.1, 0.0), policy).keep


def test_random_floor_is_a_fair_draw_by_digest() -> None:
    policy = replace(POLICY, random_fraction=0.25)
    sure = [inference(0.99, 0.98, picture=str(number)) for number in range(4000)]
    verdicts = [judge(item, policy) for item in sure]
    kept = sum(verdict.keep for verdict in verdicts)
    assert 880 <= kept <= 1120
    assert {verdict.reason for verdict in verdicts} == {KeepReason.RANDOM_FLOOR, KeepReason.NOT_NEEDED}
    assert [judge(item, policy) for item in sure] == verdicts
    more = [judge(item, replace(policy, random_fraction=0.5)).keep for item in sure]
    assert all(large for verdict, large in zip(verdicts, more, strict=True) if verdict.keep)


def test_random_floor_at_its_ends() -> None:
    all_zero, all_ones = (replace(inference(0.99, 0.98), picture_digest=digit * 64) for digit in "0f")
    assert not judge(all_zero, POLICY).keep
    assert judge(all_ones, replace(POLICY, random_fraction=1.0)).reason is KeepReason.RANDOM_FLOOR


def test_value_orders_by_doubt() -> None:
    sure, close, lost = inference(0.99, 0.98), inference(0.5, 0.05, entropy=0.7), inference(0.1, 0.0, entropy=1.0)
    values = [judge(item, POLICY).value for item in (sure, close, lost)]
    assert values == sorted(values)
    assert values == pytest.approx([0.1, 0.95, 1.0])
    assert judge(inference(0.9, 1.0, entropy=0.0), POLICY).value == 0.0

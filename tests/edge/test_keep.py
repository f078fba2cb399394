from __future__ import annotations

import hashlib
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prediction_values import (
    attributes,
    classification,
    counted,
    counts,
    detection,
    detections,
    inference,
    matches,
    text,
    with_digest,
)

from edge.bundle.manifest import DecisionPolicy, KeepBudget, KeepPolicy
from edge.keep.context import KeepContext
from edge.keep.ledger import KeepLedger
from edge.keep.policy import judge, withheld
from edge.keep.rules import RULES, Question
from edge.keep.scores import is_drawn, labels
from edge.types import CountedItem, Inference, KeepReason, KeepVerdict, Prediction

POLICY = KeepPolicy(keep_unknown=True, below_confidence=0.6, below_margin=0.2, random_fraction=0.0)
NOTHING = KeepPolicy(keep_unknown=False, below_confidence=0.0, below_margin=0.0, random_fraction=0.0)
SURE = classification("a", 0.99, 0.98, entropy=0.1)
CONTEXT = KeepContext(
    score_threshold=0.25,
    known_labels=(frozenset({"bottle", "can"}), frozenset({"can", "bottle", "cola"}), frozenset()),
)
DRAWN, NOT_DRAWN = "0" * 64, "f" * 64


def sample(confidence: float, margin: float, *, entropy: float = 0.1, picture: str = "picture") -> Inference:
    answer = classification("a", confidence, margin, entropy=entropy)
    return inference(answer, picture=picture, policy=DecisionPolicy())


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
    verdict = judge(sample(confidence, margin), POLICY)
    assert (verdict.reason, verdict.keep) == (reason, reason is not KeepReason.NOT_NEEDED)


def test_unknown_may_be_left_out() -> None:
    policy = replace(POLICY, keep_unknown=False, below_confidence=0.0, below_margin=0.0)
    assert not judge(sample(0.1, 0.0), policy).keep


BOTTLE = detection("bottle", 0.9)
AT_028, AT_022 = detections(detection("a", 0.28)), detections(nearest_miss=0.22)
READ_AS_CAN = counts(counted(BOTTLE, classification("can", 0.95)))
CASES: list[tuple[dict[str, object], Prediction, Prediction, KeepReason]] = [
    ({"above_entropy": 0.5}, classification("a", 0.9, entropy=0.51), classification("a", 0.9, entropy=0.5),
     KeepReason.HIGH_ENTROPY),
    ({"above_entropy": 0.5}, attributes(SURE, classification("b", 0.9, entropy=0.6)), attributes(SURE, SURE),
     KeepReason.HIGH_ENTROPY),
    ({"above_entropy": 0.5}, counts(counted(BOTTLE, classification("a", 0.9, entropy=0.6))),
     counts(counted(BOTTLE, classification("a", 0.9, entropy=0.4))), KeepReason.HIGH_ENTROPY),
    ({"below_margin": 0.2}, counts(counted(BOTTLE, matches("a", 0.9, 0.1)), counted(BOTTLE, matches("a", 0.8, 0.9))),
     counts(counted(BOTTLE, matches("a", 0.9, 0.2))), KeepReason.SMALL_MARGIN),
    ({"below_margin": 0.2}, text("AB", 0.9, 0.1), text("AB", 0.9, 0.2), KeepReason.SMALL_MARGIN),
    ({"below_confidence": 0.5}, detections(BOTTLE, detection("a", 0.49)), detections(BOTTLE, detection("a", 0.5)),
     KeepReason.LOW_CONFIDENCE),
    ({"near_threshold": 0.05}, AT_028, detections(detection("a", 0.31)), KeepReason.NEAR_THRESHOLD),
    ({"near_threshold": 0.05}, AT_022, detections(nearest_miss=0.19), KeepReason.NEAR_THRESHOLD),
    ({"near_threshold": 0.25}, detections(detection("a", 0.49)), detections(detection("a", 0.5)),
     KeepReason.NEAR_THRESHOLD),
    ({"near_threshold": 0.5}, detections(BOTTLE, nearest_miss=0.1), detections(BOTTLE), KeepReason.NEAR_THRESHOLD),
    ({"near_threshold": 0.05}, counts(counted(detection("bottle", 0.26), matches("a", 0.9))),
     counts(counted(BOTTLE, matches("a", 0.26))), KeepReason.NEAR_THRESHOLD),
    ({"disagreement": True}, READ_AS_CAN, counts(counted(BOTTLE, classification("bottle", 0.95))),
     KeepReason.DISAGREEMENT),
    ({"above_novelty": 0.3}, classification("a", 0.9, novelty=0.31), classification("a", 0.9, novelty=0.3),
     KeepReason.NOVEL),
    ({"above_novelty": 0.3}, matches("a", 0.9, novelty=0.31), classification("a", 0.9), KeepReason.NOVEL),
    ({"above_novelty": 0.3}, counts(counted(BOTTLE, SURE, matches("a", 0.9, novelty=0.4))), detections(BOTTLE),
     KeepReason.NOVEL),
    ({"rare_classes": ("b",), "rare_per_day": 1}, classification("b", 1.0), SURE, KeepReason.RARE_CLASS),
    ({"rare_classes": ("b",), "rare_per_day": 1}, detections(BOTTLE, detection("b", 0.9)), detections(BOTTLE),
     KeepReason.RARE_CLASS),
    ({"rare_classes": ("b",), "rare_per_day": 1}, attributes(SURE, classification("b", 0.9)), text("a", 0.9),
     KeepReason.RARE_CLASS),
    ({"rare_classes": ("b",), "rare_per_day": 1}, matches("b", 0.9), matches("b", 0.9, known=False),
     KeepReason.RARE_CLASS),
    ({"rare_classes": ("b",), "rare_per_day": 1}, text("b", 0.9), text("b", 0.1), KeepReason.RARE_CLASS),
]  # fmt: skip


@pytest.mark.parametrize(("rule", "asked_for", "left", "reason"), CASES)
def test_each_rule_alone(rule: dict[str, object], asked_for: Prediction, left: Prediction, reason: KeepReason) -> None:
    policy = replace(NOTHING, **rule)
    verdict = judge(inference(asked_for), policy, context=CONTEXT)
    assert (verdict.keep, verdict.reason) == (True, reason)
    assert judge(inference(left), policy, context=CONTEXT).reason is KeepReason.NOT_NEEDED
    assert judge(inference(asked_for), NOTHING, context=CONTEXT).reason is KeepReason.NOT_NEEDED


@pytest.mark.parametrize("prediction", [AT_028, AT_022, READ_AS_CAN])
def test_rules_that_need_the_bundle_ask_for_nothing_without_it(prediction: Prediction) -> None:
    policy = replace(NOTHING, near_threshold=0.5, disagreement=True)
    assert judge(inference(prediction), policy).reason is KeepReason.NOT_NEEDED


@pytest.mark.parametrize(
    ("crops", "disagree"),
    [
        (counted(BOTTLE, classification("can", 0.95)), True),
        (counted(BOTTLE, classification("bottle", 0.95)), False),
        (counted(BOTTLE, classification("cola", 0.95)), False),  # the detector knows no cola
        (counted(detection("box", 0.9), classification("can", 0.95)), False),  # the reader knows no box
        (counted(BOTTLE, classification("can", 0.1)), False),  # UNKNOWN names nothing
        (counted(BOTTLE, matches("can", 0.95, known=False)), False),
        (counted(BOTTLE, attributes(classification("cola", 0.95), classification("can", 0.95))), True),
        (counted(BOTTLE, attributes(classification("can", 0.95), classification("bottle", 0.95))), False),
        (counted(BOTTLE, classification("cola", 0.95), text("can", 0.9)), False),  # readings are no classes
    ],
)
def test_disagreement_needs_two_that_know_both(crops: CountedItem, disagree: bool) -> None:
    policy = replace(NOTHING, disagreement=True)
    assert judge(inference(counts(crops)), policy, context=CONTEXT).keep is disagree


def test_two_readers_may_disagree_with_one_another() -> None:
    both = frozenset({"cola", "tea"})
    context = KeepContext(known_labels=(frozenset({"bottle"}), both, both))
    policy = replace(NOTHING, disagreement=True)
    for second, keep in (("tea", True), ("cola", False)):
        prediction = counts(counted(BOTTLE, classification("cola", 0.9), matches(second, 0.9)))
        assert judge(inference(prediction), policy, context=context).keep is keep
    unread = counts(counted(detection("cola", 0.9), classification("cola", 0.1), matches("tea", 0.9)))
    assert judge(inference(unread), policy, context=KeepContext(known_labels=(both, both, both))).keep


# The random floor.


def test_random_floor_is_a_fair_draw_by_digest() -> None:
    policy = replace(POLICY, random_fraction=0.25)
    sure = [sample(0.99, 0.98, picture=str(number)) for number in range(4000)]
    verdicts = [judge(item, policy) for item in sure]
    kept = sum(verdict.keep for verdict in verdicts)
    assert 880 <= kept <= 1120
    assert {verdict.reason for verdict in verdicts} == {KeepReason.RANDOM_FLOOR, KeepReason.NOT_NEEDED}
    assert [judge(item, policy) for item in sure] == verdicts
    more = [judge(item, replace(policy, random_fraction=0.5)).keep for item in sure]
    assert all(large for verdict, large in zip(verdicts, more, strict=True) if verdict.keep)


def test_random_floor_at_its_ends() -> None:
    all_zero, all_ones = (with_digest(sample(0.99, 0.98), digest) for digest in (DRAWN, NOT_DRAWN))
    assert not judge(all_zero, POLICY).keep
    assert judge(all_ones, replace(POLICY, random_fraction=1.0)).reason is KeepReason.RANDOM_FLOOR


@pytest.mark.parametrize("bits", [-1, 4])
def test_an_estimate_over_the_drawn_is_unbiased_whatever_the_rules_keep(bits: int) -> None:
    """Three pictures in ten are unsure, and near-duplicates of each other."""
    policy = replace(POLICY, random_fraction=0.2, duplicate_bits=bits, budget=KeepBudget(per_day=4000))
    ledger, drawn, kept = KeepLedger(), [], []
    for number in range(5000):
        unsure = number % 10 < 3
        item = sample(0.5 if unsure else 0.99, 0.9, picture=str(number))
        hashed = 7 if unsure else number << 32
        verdict = judge(item, policy, ledger=ledger, now=float(number), picture_hash=hashed)
        if verdict.keep:
            ledger = ledger.after(item, policy, now=float(number), size_bytes=0, picture_hash=hashed)
            kept.append(unsure)
        if is_drawn(item.picture_digest, policy.random_fraction):
            assert verdict.keep
            drawn.append(unsure)
    assert 900 <= len(drawn) <= 1100
    assert 0.26 <= sum(drawn) / len(drawn) <= 0.34
    if bits < 0:
        assert sum(kept) / len(kept) > 0.6  # the kept ones would have told another story


# What speaks against a sample.

UNSURE = classification("a", 0.5, 0.5)


def ledger_with(*hashes: int, times: int = 0, policy: KeepPolicy = POLICY) -> KeepLedger:
    ledger = KeepLedger()
    for value in hashes:
        ledger = ledger.after(inference(UNSURE), policy, now=0.0, size_bytes=10, picture_hash=value)
    for _ in range(times):
        ledger = ledger.after(inference(UNSURE), policy, now=0.0, size_bytes=10)
    return ledger


@pytest.mark.parametrize(
    ("bits", "picture_hash", "digest", "reason"),
    [
        (2, 0b0011, NOT_DRAWN, KeepReason.NEAR_DUPLICATE),
        (1, 0b0011, NOT_DRAWN, KeepReason.LOW_CONFIDENCE),
        (0, 0b0000, NOT_DRAWN, KeepReason.NEAR_DUPLICATE),
        (-1, 0b0000, NOT_DRAWN, KeepReason.LOW_CONFIDENCE),
        (2, None, NOT_DRAWN, KeepReason.LOW_CONFIDENCE),
        (2, 0b0011, DRAWN, KeepReason.LOW_CONFIDENCE),
    ],
)
def test_near_duplicates_are_not_kept_unless_drawn(
    bits: int, picture_hash: int | None, digest: str, reason: KeepReason
) -> None:
    policy = replace(POLICY, random_fraction=0.1, duplicate_bits=bits)
    item = with_digest(inference(UNSURE), digest)
    verdict = judge(item, policy, ledger=ledger_with(0xFFFF_0000, 0b0000), picture_hash=picture_hash)
    assert (verdict.reason, verdict.keep) == (reason, reason is KeepReason.LOW_CONFIDENCE)


@pytest.mark.parametrize(
    ("kept", "fraction", "digest", "reason"),
    [
        (9, 0.0, NOT_DRAWN, KeepReason.LOW_CONFIDENCE),
        (10, 0.0, NOT_DRAWN, KeepReason.OVER_BUDGET),
        (8, 0.1, NOT_DRAWN, KeepReason.LOW_CONFIDENCE),
        (9, 0.1, NOT_DRAWN, KeepReason.OVER_BUDGET),
        (9, 0.1, DRAWN, KeepReason.LOW_CONFIDENCE),
        (10, 0.1, DRAWN, KeepReason.OVER_BUDGET),
    ],
)
def test_budget_with_a_tenth_for_the_drawn(kept: int, fraction: float, digest: str, reason: KeepReason) -> None:
    policy = replace(POLICY, random_fraction=fraction, budget=KeepBudget(per_hour=10))
    item = with_digest(inference(UNSURE), digest)
    verdict = judge(item, policy, ledger=ledger_with(times=kept), now=30.0, size_bytes=10)
    assert (verdict.reason, verdict.keep) == (reason, reason is KeepReason.LOW_CONFIDENCE)


def test_what_is_not_wanted_is_neither_duplicate_nor_over_budget() -> None:
    policy = replace(POLICY, duplicate_bits=64, budget=KeepBudget(per_day=1))
    verdict = judge(inference(SURE), policy, ledger=ledger_with(5), picture_hash=5)
    assert verdict.reason is KeepReason.NOT_NEEDED


def test_withheld_keeps_the_value() -> None:
    verdict = judge(sample(0.5, 0.05), POLICY)
    assert withheld(verdict) == KeepVerdict(keep=False, reason=KeepReason.PRIVATE, value=verdict.value)


# Whole days.

FRAME = st.tuples(
    st.floats(0, 8_000),
    st.sampled_from(["a", "b", "c"]),
    st.sampled_from([0.3, 0.55, 0.99]),
    st.integers(0, 300),
    st.sampled_from([0, 1, 0xFF, 0xFFFF]),
)


@settings(max_examples=150, deadline=None)
@given(frames=st.lists(FRAME, max_size=40), quota=st.integers(0, 3), fraction=st.sampled_from([0.0, 0.3]))
def test_a_day_on_the_device(frames: list[tuple[float, str, float, int, int]], quota: int, fraction: float) -> None:
    policy = replace(
        POLICY, random_fraction=fraction, duplicate_bits=2, rare_classes=("b", "c"), rare_per_day=quota,
        budget=KeepBudget(per_hour=5, per_day=12, bytes_per_day=2000),
    )  # fmt: skip
    ledger, now, kept = KeepLedger(), 1.7e9, []
    for number, (step, label, confidence, size, hashed) in enumerate(frames):
        now += step
        item = inference(classification(label, confidence), picture=f"{number}")
        verdict = judge(item, policy, ledger=ledger, now=now, size_bytes=size, picture_hash=hashed)
        assert verdict == judge(item, policy, ledger=ledger, now=now, size_bytes=size, picture_hash=hashed)
        if verdict.keep:
            drawn = is_drawn(item.picture_digest, fraction)
            ledger = ledger.after(item, policy, now=now, size_bytes=size, picture_hash=hashed)
            kept.append((now, label, verdict.reason, size, hashed, drawn))
    for then, label, reason, _, hashed, drawn in kept:
        day = [one for one in kept if then - 86_400 < one[0] <= then]
        assert len([one for one in kept if then - 3_600 < one[0] <= then]) <= 5
        assert len(day) <= 12
        assert sum(one[3] for one in day) <= 2000
        if reason is KeepReason.RARE_CLASS:
            assert sum(one[1] == label and one[2] is KeepReason.RARE_CLASS for one in day) <= quota
        earlier = [one[4] for one in kept[: kept.index((then, label, reason, _, hashed, drawn))]]
        assert drawn or all((hashed ^ other).bit_count() > 2 for other in earlier)


# Value.


def test_value_orders_by_doubt() -> None:
    sure, close, lost = sample(0.99, 0.98), sample(0.5, 0.05, entropy=0.7), sample(0.1, 0.0, entropy=1.0)
    values = [judge(item, POLICY).value for item in (sure, close, lost)]
    assert values == sorted(values)
    assert values == pytest.approx([0.1, 0.95, 1.0])
    assert judge(sample(0.9, 1.0, entropy=0.0), POLICY).value == 0.0


def test_verdict_of_a_digest_is_a_function_of_nothing_else() -> None:
    digest = hashlib.sha256(b"any").hexdigest()
    assert is_drawn(digest, 1.0)
    assert not is_drawn(digest, 0.0)
    assert is_drawn(digest, 0.5) == (int(digest, 16) < 1 << 255)


def test_a_rule_of_ones_own() -> None:
    """A rule is a reason and a function of the question."""

    def blue_at_night(question: Question) -> bool:
        return "blue" in labels(question.inference) and question.now % 86_400 < 6 * 3_600

    rules = (*RULES, (KeepReason.RARE_CLASS, blue_at_night))
    blue, red = (inference(classification(label, 0.99)) for label in ("blue", "red"))
    assert judge(blue, POLICY, now=3_600.0, rules=rules).reason is KeepReason.RARE_CLASS
    assert not judge(blue, POLICY, now=8 * 3_600.0, rules=rules).keep
    assert not judge(red, POLICY, now=3_600.0, rules=rules).keep
    assert not judge(blue, POLICY, now=3_600.0).keep

from __future__ import annotations

from pathlib import Path

import pytest
from pipeline_bundles import COLOURS, DETECT, YELLOW, build_pipeline, squares
from tiny_bundles import build_bundle, picture_bytes

from edge.bundle.policy import ClassDecision, DecisionPolicy
from edge.engine import open_engine
from edge.kiosk.stricter import judge_again, stricter_policy
from edge.types import Counts, Inference, Outcome


def inferred(bundle: Path, picture: bytes) -> tuple[Inference, DecisionPolicy]:
    with open_engine(bundle) as engine:
        return engine.infer(picture), engine.bundle.manifest.decision


def test_no_threshold_for_naming_stays_below() -> None:
    own = ClassDecision(label="red", confirm_confidence=0.1, accept_confidence=0.95)
    policy = stricter_policy(DecisionPolicy(confirm_confidence=0.3, class_thresholds=(own,)), 0.9)
    assert (policy.confirm_confidence, policy.accept_confidence) == (0.9, 0.9)
    assert policy.class_thresholds[0] == ClassDecision(label="red", confirm_confidence=0.9, accept_confidence=0.95)


@pytest.mark.parametrize("threshold", [0.0, 0.1])
def test_a_threshold_below_the_bundles_own_changes_nothing(threshold: float) -> None:
    assert stricter_policy(DecisionPolicy(), threshold) == DecisionPolicy()


def test_the_same_policy_decides_the_same(tmp_path: Path) -> None:
    for bundle, picture in (
        (build_bundle(tmp_path / "tiny"), picture_bytes("red")),
        (build_pipeline(tmp_path / "pipeline"), squares((1, 1, COLOURS["red"]), (5, 5, YELLOW))),
        (build_pipeline(tmp_path / "bare", stages=(DETECT,)), squares((1, 1, COLOURS["red"]))),
    ):
        inference, policy = inferred(bundle, picture)
        assert judge_again(inference, policy) == inference


def test_a_classifier_below_the_threshold_names_nothing(tmp_path: Path) -> None:
    inference, policy = inferred(build_bundle(tmp_path / "tiny"), picture_bytes("red"))
    confidence = inference.decision.confidence
    assert inference.decision.outcome is Outcome.ACCEPT
    assert judge_again(inference, stricter_policy(policy, confidence)).decision.outcome is Outcome.ACCEPT
    above = judge_again(inference, stricter_policy(policy, confidence + 1e-9))
    assert above.decision.outcome is Outcome.UNKNOWN
    assert above.decision.confidence == confidence


def test_of_a_pipeline_every_thing_is_decided_anew_and_the_numbers_with_it(tmp_path: Path) -> None:
    inference, policy = inferred(
        build_pipeline(tmp_path / "pipeline"), squares((1, 1, COLOURS["red"]), (5, 5, COLOURS["blue"]))
    )
    assert isinstance(inference.prediction, Counts)
    sure = sorted(item.decision.confidence for item in inference.prediction.items)
    again = judge_again(inference, stricter_policy(policy, 1.0))
    assert again.decision.outcome is Outcome.UNKNOWN
    assert isinstance(again.prediction, Counts)
    assert again.prediction.by_label == (("", 2),)
    assert [item.answers for item in again.prediction.items] == [item.answers for item in inference.prediction.items]
    assert again.decision.confidence == sure[0]

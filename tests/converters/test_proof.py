from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters import recipes
from converters.proof import judge, prove_artifact, summarise
from converters.types import Artifact, Proof, QuantRecipe
from edge import jsonvalue
from edge.bundle.manifest import ArtifactFormat, QualityLimits, Verdict

LIMITS = QualityLimits(max_drop_points=1.0, max_drop_upper_points=2.5)


def artifact(recipe: QuantRecipe = recipes.STATIC_INT8, size: int = 1000) -> Artifact:
    form = ArtifactFormat.TFLITE
    return Artifact(path=Path("classify.tflite"), format=form, recipe=recipe, sha256="0" * 64, size_bytes=size)


def prove(*, num: int, lost: int, won: int = 0, recipe: QuantRecipe = recipes.STATIC_INT8, limits=LIMITS):
    """`num` pictures that the float network gets right but for the last `won`; the artifact loses the first `lost`."""
    truths = [0] * num
    reference = np.tile(np.array([[2.0, 1.0]], dtype=np.float32), (num, 1))
    reference[num - won :] = (1.0, 2.0)
    found = np.tile(np.array([[2.0, 1.0]], dtype=np.float32), (num, 1))
    found[:lost] = (1.0, 2.0)
    return prove_artifact(
        artifact(recipe), output="logits", reference=reference, found=found, truths=truths, limits=limits
    )


@pytest.mark.parametrize(
    ("drop", "upper", "size", "verdict", "words"),
    [
        (0.0, 1.0, 10, Verdict.PASS, "loses 0.00 points"),
        (1.0, 2.5, 10, Verdict.PASS, "at most 2.50"),
        (1.0, 2.51, 10, Verdict.UNDECIDED, "cannot be ruled out"),
        (1.01, 2.0, 10, Verdict.FAIL, "at most 1.00 are allowed"),
        (-3.0, 2.0, 10, Verdict.PASS, "loses -3.00"),
        (0.0, 0.0, 5001, Verdict.FAIL, "5001 bytes, at most 5000"),
    ],
)
def test_the_acceptance_rule(drop, upper, size, verdict, words):
    limits = QualityLimits(max_drop_points=1.0, max_drop_upper_points=2.5, max_size_bytes=5000)
    found, reason = judge(drop=drop, upper=upper, size_bytes=size, limits=limits)
    assert found is verdict
    assert words in reason


def test_the_drop_is_paired_and_in_points():
    proof = prove(num=1000, lost=12, won=4)
    assert (proof.float_accuracy, proof.accuracy) == (99.6, 98.8)
    assert proof.drop_points == pytest.approx(0.8)
    assert proof.drop_lower_points < 0.8 < proof.drop_upper_points < 2.5
    assert proof.agreement == pytest.approx(0.984)
    assert proof.verdict is Verdict.PASS


def test_one_loss_in_fifty_fails():
    assert prove(num=50, lost=1).verdict is Verdict.FAIL


def test_few_pictures_without_a_loss_leave_an_int8_model_undecided_but_not_a_float_one():
    assert prove(num=40, lost=0).verdict is Verdict.UNDECIDED
    assert prove(num=40, lost=0).drop_upper_points == pytest.approx(8.8, abs=0.1)
    assert prove(num=200, lost=0).verdict is Verdict.PASS
    assert prove(num=40, lost=0, recipe=recipes.FLOAT32).verdict is Verdict.PASS


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_no_numbers_fail_whatever_the_accuracy(bad):
    reference = np.array([[2.0, 1.0]] * 300, dtype=np.float32)
    found = reference.copy()
    found[7, 1] = bad
    proof = prove_artifact(
        artifact(), output="logits", reference=reference, found=found, truths=[0] * 300, limits=LIMITS
    )
    assert proof.verdict is Verdict.FAIL
    assert "not finite" in proof.reason
    jsonvalue.canonical_bytes(proof)  # the proof itself stays valid JSON


def test_another_score_than_top_1_can_be_asked_for():
    reference = np.array([[2.0, 1.0]] * 10, dtype=np.float32)
    proof = prove_artifact(
        artifact(recipes.FLOAT32),
        output="logits",
        reference=reference,
        found=reference - 0.5,
        truths=[0] * 10,
        limits=QualityLimits(max_drop_points=60, max_drop_upper_points=60),
        score=lambda logits, truths: logits[:, 0] / 2,
    )
    assert (proof.float_accuracy, proof.accuracy, proof.drop_points) == (100.0, 75.0, 25.0)


def test_the_manifest_says_which_recipes_fell_through_and_why():
    good, bad = prove(num=400, lost=0), prove(num=400, lost=30)
    summary = summarise(
        Proof(limits=LIMITS, calibration_digests=(), validation_digests=(), artifacts=(good,), rejected=(bad,))
    )
    assert summary.verdict is Verdict.PASS
    assert summary.file == "proof.json"
    assert summary.fallbacks == ("static_wi8_ai8: loses 7.50 points, at most 1.00 are allowed",)

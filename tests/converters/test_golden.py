from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from converters.golden import SAFE_DISTANCE, Answer, answer_of, choose_golden, golden_draft
from edge.bundle.golden import unpack_values
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import (
    ArtifactFormat,
    ArtifactSpec,
    CropPolicy,
    DecisionPolicy,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
)
from edge.bundle.reader import open_bundle
from edge.engine import open_engine
from edge.types import Decision, DecisionReason, Outcome

POLICY = DecisionPolicy(accept_confidence=0.8, confirm_confidence=0.4, accept_margin=0.2)


def answer(label: str, confidence: float, distance: float, outcome: Outcome = Outcome.ACCEPT) -> Answer:
    decision = Decision(outcome=outcome, confidence=confidence, reason=DecisionReason.CONFIDENT)
    return Answer(label=label, decision=decision, distance=distance)


def test_every_class_and_the_hardest_safe_pictures_are_chosen():
    rng = np.random.default_rng(0)
    rows = [[answer(f"class {i % 5}", 0.9 + rng.uniform(0, 0.1), 0.1 + i / 1000)] * 2 for i in range(60)]
    rows[41] = [answer("class 1", 0.81, 0.011)] * 2
    chosen = choose_golden(rows)
    assert len(chosen) == 12
    assert {rows[i][0].label for i in chosen} == {f"class {i}" for i in range(5)}
    assert 41 in chosen


def test_pictures_that_might_flip_elsewhere_are_not_chosen():
    rows = [[answer("a", 0.9, 0.1)] * 2 for _ in range(3)]
    rows.append([answer("a", 0.9, 0.1), answer("b", 0.9, 0.1)])
    rows.append([answer("a", 0.9, 0.1), answer("a", 0.79, 0.1, Outcome.CONFIRM)])
    rows.append([answer("a", 0.9, 0.1), answer("a", 0.8, SAFE_DISTANCE / 2)])
    assert choose_golden(rows) == (0, 1, 2)


def test_without_safe_pictures_the_safest_that_agree_are_taken():
    rows = [[answer("a", 0.5, 0.001 * i)] * 2 for i in range(9)]
    rows[8] = [answer("a", 0.5, 0.009), answer("b", 0.5, 0.009)]
    assert choose_golden(rows) == (0, 1, 2, 3, 4, 5, 6, 7)
    assert choose_golden([[answer("a", 0.5, 0.0), answer("b", 0.5, 0.0)]]) == (0,)


@pytest.mark.parametrize(
    ("probabilities", "distance"),
    [((0.95, 0.05), 0.15), ((0.81, 0.19), 0.01), ((0.41, 0.3, 0.29), 0.01), ((0.5, 0.5), 0.0), ((0.6, 0.4), 0.0)],
)
def test_distance_is_to_the_nearest_threshold(probabilities, distance):
    logits = np.log(np.array([probabilities], dtype=np.float32))
    output = OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=logits.shape)
    found = answer_of(logits, output, [str(i) for i in range(len(probabilities))], POLICY)
    assert found.distance == pytest.approx(distance, abs=1e-6)


@pytest.mark.parametrize(("crop", "size"), list(product(CropPolicy, [(31, 17), (24, 24)])))
def test_golden_pictures_pass_any_crop_policy_unchanged(crop, size):
    spec = PreprocessSpec(width=size[0], height=size[1], crop=crop)
    picture = np.random.default_rng(1).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    artifact = ArtifactSpec(file="m.onnx", format=ArtifactFormat.ONNX, recipe="fp32", tolerance=1e-4)
    output = OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, 2))
    logits = np.array([[3.0, -1.0]], dtype=np.float32)
    draft = golden_draft(
        [picture], {artifact: logits}, output=output, labels=["a", "b"], policy=POLICY, preprocess=spec
    )
    assert list(draft.pictures) == ["golden-00.png"]
    (golden,) = draft.index.vectors[0].outputs
    assert (golden.label, golden.outcome) == ("a", Outcome.ACCEPT)
    np.testing.assert_array_equal(unpack_values(golden), logits)


def test_the_engine_repeats_every_golden_answer_of_every_artifact(bundle):
    opened = open_bundle(bundle)
    golden = load_golden(opened)
    assert 8 <= len(golden.vectors) <= 12
    for spec in opened.manifest.stages[0].artifacts:
        with open_engine(opened, artifact=spec.file) as engine:
            for vector in golden.vectors:
                inference = engine.infer(opened.read(vector.input_file))
                expected = next(output for output in vector.outputs if output.artifact == spec.file)
                assert inference.prediction.top[0].label == expected.label
                assert inference.decision.outcome is expected.outcome


def test_golden_vectors_of_a_real_bundle_cover_classes_and_outcomes(bundle):
    vectors = load_golden(open_bundle(bundle)).vectors
    assert {output.label for vector in vectors for output in vector.outputs} == {"disc", "empty", "square", "stripes"}
    assert len({vector.outputs[0].outcome for vector in vectors}) >= 2
    for vector in vectors:
        assert len({(output.label, output.outcome) for output in vector.outputs}) == 1


def test_another_temperature_is_another_confidence():
    logits = np.array([[2.0, 0.0]], dtype=np.float32)
    output = OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, 2))
    cold = answer_of(logits, output, ["a", "b"], POLICY)
    warm = answer_of(logits, replace(output, temperature=4.0), ["a", "b"], POLICY)
    assert (cold.decision.outcome, warm.decision.outcome) == (Outcome.ACCEPT, Outcome.CONFIRM)

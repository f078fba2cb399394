from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from converters.answers import Reading
from converters.golden import (
    FEW_COLOURS,
    NUM_FULL_COLOUR,
    SAFE_DISTANCE,
    Answer,
    Recorder,
    choose_golden,
    draft_golden,
    golden_outputs,
    golden_png,
)
from edge.backends.select import open_backend
from edge.bundle.golden import unpack_values
from edge.bundle.golden_reader import load_golden
from edge.bundle.manifest import (
    ArtifactFormat,
    ArtifactSpec,
    CropPolicy,
    DecisionPolicy,
    Decoder,
    DetectSpec,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    StageSpec,
    Task,
)
from edge.bundle.reader import open_bundle
from edge.engine import open_engine
from edge.preprocess import preprocess_pixels
from edge.types import (
    Box,
    Classification,
    ClassScore,
    Decision,
    DecisionReason,
    Detection,
    Detections,
    Match,
    Matches,
    Outcome,
    Prediction,
    RawOutputs,
)

POLICY = DecisionPolicy(accept_confidence=0.8, confirm_confidence=0.4, accept_margin=0.2)


def answer(
    label: str, confidence: float, distance: float, outcome: Outcome = Outcome.ACCEPT, labels: tuple[str, ...] = ()
) -> Answer:
    decision = Decision(outcome=outcome, confidence=confidence, reason=DecisionReason.CONFIDENT)
    return Answer(label=label, decision=decision, distance=distance, labels=labels or (label,))


def stage(*, labels: int = 2, preprocess: PreprocessSpec = PreprocessSpec(width=8, height=8)) -> StageSpec:  # noqa: B008
    output = OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, labels))
    return StageSpec(name="classify", preprocess=preprocess, outputs=(output,), artifacts=())


def classified(probabilities: tuple[float, ...]) -> Classification:
    ordered = sorted(probabilities, reverse=True)
    top = [ClassScore(label=str(i), index=i, probability=probability) for i, probability in enumerate(ordered)]
    return Classification(top=tuple(top), margin=ordered[0] - ordered[1], entropy=0.0)


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


def test_every_class_is_covered_even_of_two_hundred():
    rows = [[answer(f"class {i % 200}", 0.9 + (i >= 200) * 0.05, 0.1)] for i in range(400)]
    chosen = choose_golden(rows)
    assert len({rows[i][0].label for i in chosen}) == 200
    assert len(chosen) == 204  # the surest of each class, and the four hardest
    assert sum(i >= 200 for i in chosen) >= 200


def test_no_more_than_the_most_are_chosen_and_rare_classes_come_first():
    rows = [[answer("common" if i else "rare", 0.9, 0.1)] for i in range(30)]
    assert choose_golden(rows, most=1) == (0,)
    assert len(choose_golden(rows, most=5)) == 5


def test_one_picture_of_a_detector_may_serve_all_the_classes_in_it():
    rows = [[answer("a", 0.9, 0.5, labels=("a", "b"))], [answer("b", 0.8, 0.5)], [answer("c", 0.8, 0.5)]]
    rows += [[answer("b", 0.8, 0.5)] for _ in range(9)]
    chosen = choose_golden(rows, most=2)
    assert chosen == (0, 2)


@pytest.mark.parametrize(
    ("probabilities", "distance"),
    [((0.95, 0.05), 0.15), ((0.81, 0.19), 0.01), ((0.41, 0.3, 0.29), 0.01), ((0.5, 0.5), 0.0), ((0.6, 0.4), 0.0)],
)
def test_distance_is_to_the_nearest_threshold(probabilities, distance):
    names = tuple(str(i) for i in range(len(probabilities)))
    recorder = Recorder(stage=stage(labels=len(names)), labels=names, policy=POLICY)
    assert recorder.answer(classified(probabilities)).distance == pytest.approx(distance, abs=1e-6)


def detector() -> StageSpec:
    boxes = OutputSpec(name="boxes", kind=OutputKind.BOXES, shape=(1, 4, 4))
    scores = OutputSpec(name="scores", kind=OutputKind.SCORES, shape=(1, 4, 2))
    detect = DetectSpec(decoder=Decoder.YOLO, score_threshold=0.3)
    return replace(stage(), task=Task.DETECT, outputs=(boxes, scores), detect=detect)


def found(*scores: float, nearest_miss: float = 0.0) -> Detections:
    place = Box(left=0, top=0, right=4, bottom=4)
    items = [Detection(box=place, label=f"{i}", index=i, score=score) for i, score in enumerate(scores)]
    return Detections(items=tuple(items), nearest_miss=nearest_miss)


def matched(confidence: float, margin: float) -> Matches:
    top = tuple(Match(label=label, similarity=0.9) for label in "ab")
    return Matches(top=top, known=confidence >= 0.5, confidence=confidence, margin=margin, novelty=0.1)


@pytest.mark.parametrize(
    ("prediction", "distance"),
    [
        (found(0.95, 0.6), 0.15),  # to 0.8, both 0.95 and 0.6 being further from the others
        (found(0.95, 0.93), 0.02),  # the weakest names the picture, and the next is as near as that
        (found(0.95, nearest_miss=0.29), 0.01),  # a box that almost counts
        (found(nearest_miss=0.1), 0.1),  # 1 - 0.1 is 0.9, which is 0.1 above 0.8
        (matched(0.52, 0.9), 0.02),  # to 0.5, where the class becomes known
        (matched(0.95, 0.21), 0.01),
    ],
)
def test_distance_of_boxes_and_matches(prediction, distance):
    asked = detector() if isinstance(prediction, Detections) else stage()
    recorder = Recorder(stage=asked, labels=("0", "1"), policy=POLICY)
    assert recorder.answer(prediction).distance == pytest.approx(distance, abs=1e-6)


def test_an_answer_of_boxes_names_every_class():
    recorder = Recorder(stage=detector(), labels=("0", "1"), policy=POLICY)
    assert recorder.answer(found(0.9, 0.6)).labels == ("0", "1")
    assert recorder.answer(found(0.9, 0.6)).label == "1"
    assert recorder.answer(found()).labels == ("",)


@pytest.mark.parametrize(("crop", "size"), list(product(CropPolicy, [(31, 17), (24, 24)])))
def test_golden_pictures_pass_any_crop_policy_unchanged(crop, size):
    spec = PreprocessSpec(width=size[0], height=size[1], crop=crop)
    picture = np.random.default_rng(1).integers(0, 256, size=(size[1], size[0], 3), dtype=np.uint8)
    png = golden_png(picture, stage(preprocess=spec))
    np.testing.assert_array_equal(preprocess_pixels(png, spec)[0], picture)
    small = golden_png(picture, stage(preprocess=spec), colours=FEW_COLOURS)
    assert len(small) < len(png)
    assert len(np.unique(preprocess_pixels(small, spec)[0].reshape(-1, 3), axis=0)) <= FEW_COLOURS


def test_golden_outputs_hold_the_values_and_what_follows_from_them():
    artifact = ArtifactSpec(file="m.onnx", format=ArtifactFormat.ONNX, recipe="fp32", tolerance=1e-4)
    logits = np.array([[3.0, -1.0]], dtype=np.float32)
    (golden,) = golden_outputs(artifact, stage(), RawOutputs(by_name={"logits": logits}), answer("a", 0.9, 0.1))
    assert (golden.artifact, golden.output, golden.label, golden.outcome) == ("m.onnx", "logits", "a", Outcome.ACCEPT)
    np.testing.assert_array_equal(unpack_values(golden), logits)


def test_vectors_beyond_the_sixteenth_are_small_and_hold_what_the_model_says_of_them(models, job, tmp_path):
    path = tmp_path / "classify.onnx"
    path.write_bytes(models.onnx)
    spec = ArtifactSpec(file=path.name, format=ArtifactFormat.ONNX, recipe="onnx_fp32", tolerance=1e-4)
    recorder = Recorder(stage=job.stage((spec,)), labels=job.labels, policy=job.decision)
    # As if each picture had a class of its own: all are to be kept.
    told = [
        replace(recorder_answer(recorder, path, pixels), labels=(f"{i}",)) for i, pixels in enumerate(models.pixels)
    ]
    draft = draft_golden(recorder, {spec: path}, models.pixels, [told])
    num_safe = sum(one.distance >= SAFE_DISTANCE for one in told)
    assert len(draft.index.vectors) == num_safe > NUM_FULL_COLOUR
    colours = [num_colours(draft.pictures[vector.input_file], job.preprocess) for vector in draft.index.vectors]
    assert min(colours[:NUM_FULL_COLOUR]) > FEW_COLOURS
    assert min(colours[NUM_FULL_COLOUR:]) <= FEW_COLOURS
    backend = open_backend(path, ArtifactFormat.ONNX, threads=1)
    for vector in draft.index.vectors:
        raw, said = recorder.run(backend, draft.pictures[vector.input_file])
        assert (vector.outputs[0].label, vector.outputs[0].outcome) == (said.label, said.decision.outcome)
        np.testing.assert_allclose(unpack_values(vector.outputs[0]), raw.by_name["logits"], atol=1e-4)


def recorder_answer(recorder, path, pixels) -> Answer:
    backend = open_backend(path, ArtifactFormat.ONNX, threads=1)
    try:
        return recorder.run(backend, golden_png(pixels, recorder.stage))[1]
    finally:
        backend.close()


def num_colours(png: bytes, spec: PreprocessSpec) -> int:
    return len(np.unique(preprocess_pixels(png, spec)[0].reshape(-1, 3), axis=0))


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
    warm = replace(stage().outputs[0], temperature=4.0)
    outputs, geometry = {"logits": np.array([[2.0, 0.0]], dtype=np.float32)}, preprocess_geometry()

    def outcome(asked: StageSpec) -> Outcome:
        prediction: Prediction = Reading(stage=asked, labels=("a", "b")).read(outputs, geometry)
        return Recorder(stage=asked, labels=("a", "b"), policy=POLICY).answer(prediction).decision.outcome

    assert outcome(stage()) is Outcome.ACCEPT
    assert outcome(replace(stage(), outputs=(warm,))) is Outcome.CONFIRM


def preprocess_geometry():
    return preprocess_pixels(np.zeros((8, 8, 3), dtype=np.uint8), stage().preprocess)[1]

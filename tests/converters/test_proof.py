from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from converters import recipes
from converters.acceptance import Figures, judge, judge_latency
from converters.answers import RAW_PICTURES, Answers, Reading, SeenPicture, ask
from converters.examples import LabelledPicture
from converters.proof import prove_artifact, summarise
from converters.types import Artifact, Estimate, OutputError, Proof, QuantRecipe
from edge import jsonvalue
from edge.bundle.manifest import (
    ArtifactFormat,
    OutputKind,
    OutputSpec,
    PreprocessSpec,
    QualityLimits,
    StageSpec,
    Verdict,
)
from edge.types import Classification, ClassScore, Geometry

LIMITS = QualityLimits(max_drop_points=1.0, max_drop_upper_points=2.5)


def artifact(recipe: QuantRecipe = recipes.STATIC_INT8, size: int = 1000) -> Artifact:
    form = ArtifactFormat.TFLITE
    return Artifact(path=Path("classify.tflite"), format=form, recipe=recipe, sha256="0" * 64, size_bytes=size)


def answers(labels: list[str], logits: np.ndarray | None = None) -> Answers:
    """What a model said, picture by picture; its raw outputs fit where nobody looks at them."""
    top = {name: (ClassScore(label=name, index=int(name), probability=0.9),) for name in "01"}
    said = tuple(Classification(top=top[label], margin=0.8, entropy=0.1) for label in labels)
    values = np.array([[1.0, 2.0] if label == "1" else [2.0, 1.0] for label in labels], dtype=np.float32)
    return Answers(predictions=said, raw={"logits": values[:64] if logits is None else logits})


def truths(num: int) -> tuple[LabelledPicture, ...]:
    return tuple(LabelledPicture(digest=f"{i:064x}", path=Path(f"{i}.png"), label="0") for i in range(num))


def prove(
    *, num: int, lost: int, won: int = 0, recipe: QuantRecipe = recipes.STATIC_INT8, limits=LIMITS, metric="top1"
):
    """`num` pictures that the float network gets right but for the last `won`; the artifact loses the first `lost`."""
    return prove_artifact(
        artifact(recipe),
        reference=answers(["0"] * (num - won) + ["1"] * won),
        found=answers(["1"] * lost + ["0"] * (num - lost)),
        truths=truths(num),
        metric=metric,
        limits=limits,
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
    figures = Figures(drop=Estimate(value=drop, lower=drop, upper=upper), size_bytes=size)
    found, reason = judge(figures, limits)
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


def error(cosine: float, output: str = "logits") -> OutputError:
    return OutputError(output=output, max_abs=1.0, mean_abs=0.1, sqnr_db=30.0, cosine=cosine)


@pytest.mark.parametrize(
    ("limits", "agreement", "cosines", "words"),
    [
        (QualityLimits(min_agreement=0.95), 0.949, (), "94.9% of the answers stand, at least 95.0% are asked"),
        (QualityLimits(min_cosine=0.999), 1.0, (0.9995, 0.9985), "output '1' has cosine 0.9985, at least 0.9990"),
        (QualityLimits(min_agreement=0.95, min_cosine=0.999), 0.95, (0.999, 0.999), ""),
        (QualityLimits(), 0.0, (-1.0,), ""),
    ],
)
def test_the_acceptance_rule_of_agreement_and_cosine(limits, agreement, cosines, words):
    none = Estimate(value=0.0, lower=0.0, upper=0.0)
    errors = [error(cosine, str(place)) for place, cosine in enumerate(cosines)]
    verdict, reason = judge(Figures(drop=none, size_bytes=1, agreement=agreement, errors=errors), limits)
    assert verdict is (Verdict.FAIL if words else Verdict.PASS)
    assert words in reason


@pytest.mark.parametrize(("limit", "words"), [(0.0, ""), (5.0, ""), (4.99, "slower than 4.99 ms")])
def test_a_limit_of_latency_is_of_the_machine_that_converts(limit, words):
    assert words in judge_latency(5.0, QualityLimits(max_latency_ms=limit))
    assert bool(judge_latency(5.0, QualityLimits(max_latency_ms=limit))) == bool(words)


def test_a_model_that_gives_no_answers_fails_whatever_the_accuracy():
    broken = Answers(predictions=(), raw={}, broken="some outputs are not finite numbers")
    proof = prove_artifact(
        artifact(), reference=answers(["0"] * 300), found=broken, truths=truths(300), metric="top1", limits=LIMITS
    )
    assert proof.verdict is Verdict.FAIL
    assert "not finite" in proof.reason
    assert (proof.float_accuracy, proof.accuracy, proof.drop_points, proof.agreement) == (100.0, 0.0, 100.0, 0.0)
    jsonvalue.canonical_bytes(proof)  # the proof itself stays valid JSON


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_outputs_that_are_no_numbers_are_no_answers(bad):
    pictures = see_nothing(5)
    rows = iter(np.array([[2.0, 1.0]] * 3 + [[2.0, bad]] + [[2.0, 1.0]], dtype=np.float32))
    found = ask(lambda pixels: {"logits": next(rows)[None]}, pictures, reading())
    assert (found.predictions, found.raw, found.broken) == ((), {}, "some outputs are not finite numbers")


def test_raw_outputs_are_kept_of_the_first_pictures_and_answers_of_all():
    ticks = []
    found = ask(
        lambda pixels: {"logits": np.array([[2.0, 1.0]], dtype=np.float32)},
        see_nothing(RAW_PICTURES + 3),
        reading(),
        tick=lambda: ticks.append(1),
    )
    assert len(found.predictions) == len(ticks) == RAW_PICTURES + 3
    assert found.raw["logits"].shape == (RAW_PICTURES, 2)


def test_an_output_that_is_missing_or_malformed_is_no_answer():
    found = ask(lambda pixels: {"logits": np.zeros((1, 5), dtype=np.float32)}, see_nothing(2), reading())
    assert found.predictions == ()
    assert "logits" in found.broken


def see_nothing(num: int) -> list[SeenPicture]:
    same = Geometry(picture_width=8, picture_height=8, scale_x=1, scale_y=1, offset_x=0, offset_y=0)
    return [SeenPicture(pixels=np.zeros((8, 8, 3), dtype=np.uint8), geometry=same)] * num


def reading() -> Reading:
    output = OutputSpec(name="logits", kind=OutputKind.LOGITS, shape=(1, 2))
    spec = PreprocessSpec(width=8, height=8)
    return Reading(stage=StageSpec(name="c", preprocess=spec, outputs=(output,), artifacts=()), labels=("0", "1"))


def test_the_metric_is_what_the_drop_is_measured_in():
    """Half of the only class that there is: F1 of it is 2 * 30 / (30 + 60), of which accuracy knows nothing."""
    wide = QualityLimits(max_drop_points=60, max_drop_upper_points=60)
    assert prove(num=60, lost=30, limits=wide).drop_points == 50.0
    proof = prove(num=60, lost=30, metric="macro_f1", limits=wide)
    assert (proof.accuracy, proof.drop_points) == (pytest.approx(66.666667), pytest.approx(33.333333))


def test_the_confusion_of_the_float_models_answers_is_counted():
    found = prove(num=10, lost=3, won=2).answers
    assert [(pair.before, pair.after, pair.num) for pair in found] == [("0", "0", 5), ("0", "1", 3), ("1", "0", 2)]


def test_the_manifest_says_which_recipes_fell_through_and_why():
    good, bad = prove(num=400, lost=0), prove(num=400, lost=30)
    proof = Proof(limits=LIMITS, calibration_digests=(), validation_digests=(), artifacts=(good,))
    summary = summarise(proof, [bad])
    assert summary.verdict is Verdict.PASS
    assert summary.file == "proof.json"
    assert summary.fallbacks == ("static_wi8_ai8: loses 7.50 points, at most 1.00 are allowed",)
    assert summarise(proof, []).fallbacks == ()

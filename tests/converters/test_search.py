"""Which model a bundle gets: by the declared order, or with a search the best by the stated rule."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from converters import recipes
from converters.pipeline import convert
from converters.records import read_record, read_trained_proof
from converters.search import best
from converters.types import Artifact, ArtifactProof, Latency, OutputError, Scheme
from converters.workshop import Trial
from edge.bundle.manifest import ArtifactFormat, QualityLimits, Verdict
from edge.bundle.reader import Bundle, open_bundle
from edge.engine import open_engine
from edge.errors import EdgeloopError, UsageError


def trial(
    name: str,
    *,
    verdict: Verdict = Verdict.PASS,
    size: int = 1000,
    drop: float = 0.0,
    noise: float = 20.0,
    scheme: Scheme = Scheme.STATIC_INT8,
    float_layers: tuple[str, ...] = (),
    form: ArtifactFormat = ArtifactFormat.TFLITE,
) -> Trial:
    recipe = replace(recipes.STATIC_INT8, name=name, format=form, scheme=scheme, float_layers=float_layers)
    artifact = Artifact(path=Path(name), format=form, recipe=recipe, sha256="0" * 64, size_bytes=size)
    errors = tuple(
        OutputError(output=output, max_abs=1, mean_abs=1, sqnr_db=level, cosine=1)
        for output, level in (("easy", 60.0), ("worst", noise))
    )
    proof = ArtifactProof(
        file=name,
        recipe=name,
        size_bytes=size,
        num_pictures=100,
        float_accuracy=90.0,
        accuracy=90.0 - drop,
        drop_points=drop,
        drop_lower_points=drop,
        drop_upper_points=drop,
        agreement=1.0,
        errors=errors,
        verdict=verdict,
        reason="",
    )
    return Trial(artifact=artifact, proof=proof, answers=(), latency=Latency(file=name, p50_ms=1, p95_ms=1, runs=1))


@pytest.mark.parametrize(
    "worse",
    [
        trial("worse", verdict=Verdict.UNDECIDED, noise=50),
        trial("worse", verdict=Verdict.FAIL, noise=50),
        trial("worse", verdict=Verdict.NONE, noise=50),
        trial("worse", scheme=Scheme.WEIGHT_INT8, size=10, noise=50),
        trial("worse", scheme=Scheme.FLOAT16, size=10, noise=50),
        trial("worse", scheme=Scheme.FLOAT32, size=10, noise=50),
        trial("worse", float_layers=("head",), noise=50),
        trial("worse", noise=19.9, drop=-1),  # what a few pictures say of the drop is chance
        trial("worse", noise=50, form=ArtifactFormat.ONNX),
    ],
)
def test_the_stated_rule(worse):
    better = trial("better", drop=0.2)
    assert best([better, worse]) is better
    assert best([worse, better]) is better


def test_of_equal_ones_the_first_is_taken():
    assert best([first := trial("first"), trial("second")]) is first


def test_where_nothing_is_good_enough_nothing_is_best():
    assert best([]) is None
    assert best([trial("a", verdict=Verdict.FAIL), trial("b", form=ArtifactFormat.ONNX)]) is None
    undecided = trial("b", verdict=Verdict.UNDECIDED)
    assert best([trial("a", verdict=Verdict.FAIL), undecided]) is undecided


def converted(job: Any, cache: Any, out: Path) -> Bundle:
    return open_bundle(convert(replace(job, out=out), cache=cache, progress=False))


TRIED = (recipes.FLOAT32, recipes.WEIGHT_INT8, recipes.ONNX_INT8, recipes.STATIC_INT8_MSE, recipes.STATIC_INT8)


def test_a_search_tries_everything_and_picks_by_the_rule(job, cache, tmp_path):
    bundle = converted(replace(job, recipes=TRIED, search=True), cache, tmp_path / "out")
    record = read_record(bundle)
    assert [one.recipe for one in record.trials] == [recipe.name for recipe in TRIED]
    forms = {recipe.name: recipe.format for recipe in TRIED}
    good = [one for one in record.trials if forms[one.recipe] is ArtifactFormat.TFLITE]
    good = [one for one in good if one.verdict is Verdict.PASS]
    assert len(good) >= 2
    static = [one for one in good if one.recipe.startswith("static")]
    wanted = max(static, key=lambda one: one.errors[0].sqnr_db)
    assert record.chosen == (wanted.recipe,)
    assert bundle.manifest.stages[0].artifacts[0].recipe == wanted.recipe
    measured = json.loads((bundle.folder / "measurements.json").read_bytes())
    assert {row["recipe"] for row in measured["latencies"]} >= set(forms)


def test_recipes_that_differ_in_their_ranges_alone_are_weighed_against_each_other(job, cache, tmp_path):
    record = read_record(converted(job, cache, tmp_path / "out"))
    ranges = [recipe.name for recipe in recipes.DEFAULT_RECIPES[:4]]
    assert [one.recipe for one in record.trials] == ranges
    assert record.chosen == (max(record.trials, key=lambda one: one.errors[0].sqnr_db).recipe,)


def test_without_a_search_the_first_kind_that_is_good_enough_is_taken(job, cache, tmp_path):
    tried = (recipes.WEIGHT_INT8, recipes.STATIC_INT8)
    record = read_record(converted(replace(job, recipes=tried), cache, tmp_path / "out"))
    assert [one.recipe for one in record.trials] == ["weight_int8"] == list(record.chosen)


def test_further_models_are_proven_and_in_the_bundle(job, cache, tmp_path):
    job = replace(job, recipes=(recipes.STATIC_INT8,), also=(recipes.ONNX_INT8, recipes.ONNX_FLOAT16))
    bundle = converted(job, cache, tmp_path / "out")
    proof, record = read_trained_proof(bundle), read_record(bundle)
    assert [(spec.file, spec.recipe) for spec in bundle.manifest.stages[0].artifacts] == [
        ("classify.tflite", "static_wi8_ai8"),
        ("classify-onnx_qdq_wu8_au8.onnx", "onnx_qdq_wu8_au8"),
        ("classify-onnx_fp16.onnx", "onnx_fp16"),
        ("classify.onnx", "onnx_fp32"),
    ]
    assert [one.recipe for one in proof.artifacts] == ["static_wi8_ai8", "onnx_qdq_wu8_au8", "onnx_fp16"]
    assert list(record.chosen) == [one.recipe for one in proof.artifacts]
    assert all(one.verdict is Verdict.PASS for one in proof.artifacts)
    assert proof.artifacts[2].errors[0].sqnr_db > proof.artifacts[1].errors[0].sqnr_db > 10
    for one in proof.artifacts:
        with open_engine(bundle, artifact=one.file) as engine:
            right = [engine.infer(p.path).prediction.headline.label == p.label for p in job.validation]
        assert 100 * sum(right) / len(right) == pytest.approx(one.accuracy, abs=1e-3)


@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (QualityLimits(max_latency_ms=1e-6), "{}: slower than 1e-06 ms on the machine that converted it"),
        (QualityLimits(min_cosine=0.9999999), r"{}: output 'logits' has cosine"),
        (QualityLimits(max_size_bytes=100), "{}: "),
    ],
    ids=["latency", "cosine", "size"],
)
def test_a_limit_that_nothing_meets_refuses_everything_and_leaves_nothing(job, cache, tmp_path, limits, words):
    tried = (recipes.STATIC_INT8, recipes.STATIC_INT8_MSE)
    with pytest.raises(EdgeloopError) as caught:
        converted(replace(job, recipes=tried, limits=limits), cache, tmp_path / "out")
    for recipe in tried:
        assert words.format(recipe.name) in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_a_limit_of_agreement_leads_to_the_next_recipe(job, cache, tmp_path):
    tried = (recipes.STATIC_INT8, recipes.FLOAT32)
    plain = read_record(converted(replace(job, recipes=tried), cache, tmp_path / "plain"))
    assert plain.trials[0].agreement < 1.0
    strict = replace(job, recipes=tried, limits=QualityLimits(min_agreement=1.0))
    record = read_record(converted(strict, cache, tmp_path / "strict"))
    assert "of the answers stand, at least 100.0% are asked" in record.trials[0].reason
    assert record.chosen == ("fp32",)


def test_what_is_found_makes_the_same_bundle_as_what_was_made(job, cache, tmp_path):
    job = replace(job, recipes=TRIED[1:], search=True, version=7)
    first = converted(job, cache, tmp_path / "first")
    assert converted(job, cache, tmp_path / "second").digest == first.digest


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (("fp32", "int4"), "no quantization recipe 'int4'"),
        (("fp32", "weight_int8", "fp32"), "a quantization recipe is named twice"),
    ],
)
def test_recipes_by_name(names, words):
    with pytest.raises(UsageError, match=words):
        recipes.find_recipes(names)
    assert recipes.find_recipes(("fp32", "static_wi8_ai8")) == (recipes.FLOAT32, recipes.STATIC_INT8)

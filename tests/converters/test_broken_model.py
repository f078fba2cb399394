"""A network that quantization breaks is rescued by what is declared to follow, or refused; it never gets through."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from broken_networks import massive_network
from conversion_jobs import network, pictures

from converters import recipes
from converters.metrics import score_of
from converters.pipeline import convert
from converters.records import read_record, read_trained_proof
from converters.tallies import MeanTally
from converters.types import ConversionRecord, Scheme
from edge.bundle.manifest import ArtifactFormat, Verdict
from edge.bundle.reader import Bundle, open_bundle
from edge.engine import open_engine
from edge.errors import EdgeloopError
from edge.update.selftest import self_test

STATIC = tuple(recipe for recipe in recipes.DEFAULT_RECIPES if recipe.scheme is Scheme.STATIC_INT8)


@pytest.fixture(scope="session")
def broken_job(job: Any, tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A job that nobody runs at its own place."""
    folder = tmp_path_factory.mktemp("broken")
    made = network(pictures(folder / "pictures", seed=1, count=200), make=massive_network)
    return replace(job, network=made, name="broken", out=folder / "never")


def converted(job: Any, cache: Any, out: Path) -> tuple[Bundle, ConversionRecord]:
    bundle = open_bundle(convert(replace(job, out=out), cache=cache, progress=False))
    record = read_record(bundle)
    assert record is not None
    return bundle, record


def require_that_it_really_works(bundle: Bundle, job: Any) -> None:
    """The engine, on the pictures themselves: as good as the float model, which was good."""
    self_test(bundle)
    scores = []
    for spec in (bundle.manifest.stages[0].artifacts[0], bundle.manifest.stages[0].artifacts[-1]):
        with open_engine(bundle, artifact=spec.file) as engine:
            right = [engine.infer(one.path).prediction.headline.label == one.label for one in job.validation]
        scores.append(score_of(MeanTally(right)).value)
    assert scores[1] > 75
    assert scores[1] - scores[0] <= job.limits.max_drop_points


def test_static_int8_fails_with_figures_and_the_declared_fallback_passes(broken_job, cache, tmp_path):
    bundle, record = converted(broken_job, cache, tmp_path / "out")
    *failed, last = record.trials
    assert [trial.recipe for trial in failed] == [recipe.name for recipe in STATIC]
    for trial in failed:
        assert trial.verdict is Verdict.FAIL
        assert trial.drop_points > 20
        assert trial.agreement < 0.7
        assert trial.errors[0].sqnr_db < 10
        assert re.fullmatch(r"loses \d+\.\d\d points, at most 1\.00 are allowed", trial.reason)
    assert (last.recipe, last.verdict) == ("weight_int8", Verdict.PASS)
    assert record.chosen == ("weight_int8",)
    assert bundle.manifest.stages[0].artifacts[0].recipe == "weight_int8"
    assert [line.split(":")[0] for line in bundle.manifest.proof.fallbacks] == [recipe.name for recipe in STATIC]
    require_that_it_really_works(bundle, broken_job)


def test_the_proof_holds_only_what_is_in_the_bundle(broken_job, cache, tmp_path):
    bundle, _ = converted(broken_job, cache, tmp_path / "out")
    proof = read_trained_proof(bundle)
    assert [(one.file, one.recipe) for one in proof.artifacts] == [("classify.tflite", "weight_int8")]
    models = {spec.file for spec in bundle.manifest.stages[0].artifacts}
    assert models == {"classify.tflite", proof.reference} == {"classify.tflite", "classify.onnx"}
    assert not [entry.name for entry in bundle.manifest.files if "static" in entry.name]


@pytest.mark.parametrize("tried", [STATIC, STATIC[:1]], ids=["all static", "one"])
def test_static_int8_alone_is_refused_with_every_reason(broken_job, cache, tmp_path, tried):
    with pytest.raises(EdgeloopError) as caught:
        converted(replace(broken_job, recipes=tried), cache, tmp_path / "out")
    words = str(caught.value)
    assert words.startswith("no quantization recipe is good enough: static_wi8_ai8: loses ")
    assert re.findall(r"(\S+): loses \d+\.\d\d points, at most 1\.00", words) == [recipe.name for recipe in tried]
    assert "\n" not in words
    assert caught.value.exit_code == 1
    assert "--auto" in caught.value.hint
    assert list(tmp_path.iterdir()) == []


def test_the_fewest_layers_stay_float_and_are_named(broken_job, cache, tmp_path):
    job = replace(broken_job, recipes=STATIC, sensitivity=True)
    bundle, record = converted(job, cache, tmp_path / "out")
    assert len(record.float_layers) == 2
    assert all(re.search(r"Conv2d_(massive|narrow)", layer) for layer in record.float_layers)
    assert [one.layer for one in record.sensitivity[:2]] == list(record.float_layers)
    assert record.sensitivity[2].sqnr_db > record.sensitivity[1].sqnr_db + 10
    names = [trial.recipe for trial in record.trials]
    assert names[: len(STATIC)] == [recipe.name for recipe in STATIC]
    searched = {name: trial.verdict for name, trial in zip(names, record.trials, strict=True) if name.endswith("float")}
    one, two = (next(name for name in searched if name.endswith(f"_{number}_float")) for number in (1, 2))
    assert (searched[one], searched[two]) == (Verdict.FAIL, Verdict.PASS)
    assert record.chosen == (two,)
    assert bundle.manifest.stages[0].artifacts[0].recipe == two
    require_that_it_really_works(bundle, job)


def test_those_layers_are_float_and_all_others_int8(broken_job, cache, tmp_path):
    from ai_edge_litert.interpreter import Interpreter, OpResolverType

    bundle, record = converted(replace(broken_job, recipes=STATIC, sensitivity=True), cache, tmp_path / "out")
    kind = OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    interpreter = Interpreter(str(bundle.path("classify.tflite")), experimental_op_resolver_type=kind)
    types = {int(one["index"]): one["dtype"].__name__ for one in interpreter.get_tensor_details()}
    weights = [
        types[int(op["inputs"][1])]
        for op in interpreter._get_ops_details()
        if op["op_name"] in ("CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED")
    ]
    assert sorted(weights) == ["float32"] * 2 + ["int8"] * (len(weights) - 2)
    assert len(weights) == 7
    assert {layer.sqnr_db for layer in record.layers if layer.layer in record.float_layers} != {200.0}


def test_an_onnx_recipe_that_loses_no_more_does_not_stop_the_search_for_layers(broken_job, cache, tmp_path):
    tried = (recipes.ONNX_INT8, recipes.STATIC_INT8)
    job = replace(broken_job, recipes=tried, search=True, sensitivity=True)
    bundle, record = converted(job, cache, tmp_path / "out")
    assert [trial.verdict for trial in record.trials[:2]] == [Verdict.FAIL] * 2
    assert len(record.float_layers) == 2
    assert bundle.manifest.stages[0].artifacts[0].format is ArtifactFormat.TFLITE


def test_a_further_model_that_is_not_good_enough_stays_out(broken_job, cache, tmp_path):
    job = replace(broken_job, also=(recipes.ONNX_INT8, recipes.ONNX_FLOAT16))
    bundle, record = converted(job, cache, tmp_path / "out")
    assert {trial.recipe: trial.verdict for trial in record.trials}["onnx_qdq_wu8_au8"] is Verdict.FAIL
    assert record.chosen == ("weight_int8", "onnx_fp16")
    files = [spec.file for spec in bundle.manifest.stages[0].artifacts]
    assert files == ["classify.tflite", "classify-onnx_fp16.onnx", "classify.onnx"]
    assert not any(line.startswith("onnx") for line in bundle.manifest.proof.fallbacks)

from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from converters import recipes
from converters.answers import RAW_PICTURES
from converters.examples import TrueBox
from converters.job import job_digest
from converters.pipeline import convert
from converters.types import ConversionRecord, Proof
from edge import jsonvalue
from edge.bundle.manifest import ArtifactFormat, PreprocessSpec, QualityLimits, Verdict
from edge.bundle.reader import open_bundle
from edge.errors import EdgeloopError
from edge.types import Box

BOXES = (TrueBox(index=0, box=Box(left=0, top=0, right=9, bottom=9)),)
HERE = Path(__file__).resolve().parent


def no_trace_of(out: Path) -> bool:
    return not out.exists() and not any(out.parent.glob(f".{out.name}*"))


def test_the_bundle_says_what_it_is_made_of(bundle, job):
    opened = open_bundle(bundle)
    manifest = opened.manifest
    proof = jsonvalue.load(Proof, opened.read("proof.json"), where="proof.json")
    assert manifest.labels == job.labels
    assert manifest.provenance == job.provenance
    assert [(a.file, a.recipe, a.tolerance) for a in manifest.stages[0].artifacts] == [
        ("classify.tflite", proof.artifacts[0].recipe, 0.0),
        ("classify.onnx", "onnx_fp32", 1e-4),
    ]
    assert manifest.stages[0].outputs[0].temperature == job.temperature
    assert manifest.proof.verdict is Verdict.PASS
    assert manifest.proof.drop_points == proof.artifacts[0].drop_points
    assert proof.calibration_digests == tuple(picture.digest for picture in job.calibration)
    assert proof.validation_digests == tuple(picture.digest for picture in job.validation)
    assert [(p.file, p.num_pictures) for p in proof.artifacts] == [("classify.tflite", len(job.validation))]
    assert (proof.reference, proof.metric) == ("classify.onnx", "top1")
    assert proof.score is not None
    assert proof.artifacts[0].float_accuracy == proof.score.value > 75
    assert proof.score.lower < proof.score.value < proof.score.upper
    assert opened.read("proof.json") == jsonvalue.canonical_bytes(proof)


def test_the_bundle_says_how_it_came_about(bundle, job):
    opened = open_bundle(bundle)
    record = jsonvalue.load(ConversionRecord, opened.read("conversion.json"), where="conversion.json")
    assert opened.read("conversion.json") == jsonvalue.canonical_bytes(record)
    assert [parity.format for parity in record.parity] == [ArtifactFormat.ONNX, ArtifactFormat.TFLITE]
    for parity in record.parity:
        assert (parity.num_pictures, parity.agreement) == (RAW_PICTURES, 1.0)
        assert parity.errors[0].sqnr_db > 80
    assert [trial.recipe for trial in record.trials] == [recipe.name for recipe in recipes.DEFAULT_RECIPES[:4]]
    (chosen,) = record.chosen
    assert [trial.file for trial in record.trials if trial.recipe == chosen] == ["classify.tflite"]
    confusion = record.trials[0].answers
    assert sum(pair.num for pair in confusion) == len(job.validation)
    same = sum(pair.num for pair in confusion if pair.before == pair.after)
    assert record.trials[0].agreement == pytest.approx(same / len(job.validation), abs=1e-6)
    assert {"CONV_2D", "DEPTHWISE_CONV_2D", "FULLY_CONNECTED"} <= {layer.operation for layer in record.layers}
    assert all(0 < layer.sqnr_db <= 200 for layer in record.layers)
    assert (record.sensitivity, record.float_layers, record.fine_tuned) == ((), (), False)
    assert dict(record.tools)["onnx"]


def test_times_lie_beside_the_manifest_and_name_the_recipes(bundle):
    measured = json.loads((bundle / "measurements.json").read_bytes())
    tried = [recipe.name for recipe in recipes.DEFAULT_RECIPES[:4]]
    assert [row["recipe"] for row in measured["latencies"]] == [*tried, "onnx_fp32"]
    assert {"classify.tflite", "classify.onnx"} <= {row["file"] for row in measured["latencies"]}
    assert all(0 < row["p50_ms"] <= row["p95_ms"] for row in measured["latencies"])
    steps = [row["step"] for row in measured["steps"]]
    assert steps[0] == "exporting the network"
    assert {"writing onnx", "calibrating", "proving: static_wi8_ai8", "choosing golden vectors"} <= set(steps)
    assert measured["peak_memory_mb"] > 50


def test_the_proof_is_what_the_engine_measures(bundle, job):
    from edge.engine import open_engine

    proof = json.loads((bundle / "proof.json").read_bytes())
    scores = {proof["reference"]: proof["score"]["value"]} | {
        row["file"]: row["accuracy"] for row in proof["artifacts"]
    }
    assert len(scores) == 2
    for file, score in scores.items():
        with open_engine(bundle, artifact=file) as engine:
            right = [engine.infer(p.path).prediction.top[0].label == p.label for p in job.validation]
        assert 100 * sum(right) / len(right) == pytest.approx(score, abs=1e-4)


@pytest.mark.slow
def test_another_process_with_other_threads_and_hash_seed_makes_the_same_bundle(bundle, job, tmp_path):
    environment = {**os.environ, "PYTHONHASHSEED": "4711", "OMP_NUM_THREADS": "2"}
    arguments = [sys.executable, str(HERE / "conversion_jobs.py"), str(tmp_path / "out"), str(tmp_path / "pictures")]
    done = subprocess.run(arguments, env=environment, capture_output=True, text=True, timeout=300, check=True)
    assert done.stdout.strip() == open_bundle(bundle).digest


def test_a_finished_bundle_is_returned_as_it_stands(bundle, job):
    before = {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()}
    leftover = bundle.parent / f".{bundle.name}.converting"
    leftover.mkdir()  # of a run that was killed between the rename and its clean-up
    assert convert(replace(job, out=bundle), progress=False) == bundle
    assert not leftover.exists()
    assert {path.name: path.stat().st_mtime_ns for path in bundle.iterdir()} == before


def other_weights(job):
    import copy

    network = copy.deepcopy(job.network)
    network.classifier.bias.data[0] += 1e-3
    return replace(job, network=network)


def with_truth(job, **truth):
    return (replace(job.validation[0], **truth), *job.validation[1:])


@pytest.mark.parametrize(
    "change",
    [
        lambda job: replace(job, version=2),
        lambda job: replace(job, name="other"),
        lambda job: replace(job, labels=tuple(reversed(job.labels))),
        lambda job: replace(job, temperature=1.5),
        lambda job: replace(job, preprocess=PreprocessSpec(width=40, height=32)),
        lambda job: replace(job, calibration=job.calibration[1:]),
        lambda job: replace(job, validation=tuple(reversed(job.validation))),
        lambda job: replace(job, validation=with_truth(job, label="empty")),
        lambda job: replace(job, limits=QualityLimits(max_drop_points=2)),
        lambda job: replace(job, decision=replace(job.decision, accept_confidence=0.9)),
        lambda job: replace(job, keep=replace(job.keep, random_fraction=0.5)),
        lambda job: replace(job, provenance=replace(job.provenance, seed=4)),
        lambda job: replace(job, recipes=recipes.DEFAULT_RECIPES[1:]),
        lambda job: replace(job, also=(recipes.ONNX_INT8,)),
        lambda job: replace(job, search=True),
        lambda job: replace(job, sensitivity=True),
        lambda job: replace(job, files={"gallery.egal": b"1"}),
        lambda job: replace(job, references=job.validation[:1]),
        lambda job: replace(job, validation=(replace(job.validation[0], boxes=BOXES), *job.validation[1:])),
        lambda job: replace(
            job, validation=(replace(job.validation[0], attributes=(("a", "b"),)), *job.validation[1:])
        ),
        other_weights,
    ],
)
def test_any_other_input_is_another_job(job, change):
    assert job_digest(change(job)) != job_digest(job)


def test_the_place_and_the_paths_are_no_part_of_a_job(job, tmp_path):
    moved = tuple(replace(picture, path=tmp_path / picture.path.name) for picture in job.calibration)
    assert job_digest(replace(job, out=tmp_path, calibration=moved)) == job_digest(job)


def test_a_damaged_or_foreign_bundle_is_made_again(bundle, bundle_copy, job, cache):
    copy = bundle_copy()
    model = bytearray((copy / "classify.tflite").read_bytes())
    model[1000] ^= 1
    (copy / "classify.tflite").write_bytes(model)
    again = convert(replace(job, out=copy), cache=cache, progress=False)
    assert open_bundle(again).digest == open_bundle(bundle).digest


def test_a_network_that_int8_spoils_falls_back_and_says_why(job, tmp_path):
    from conversion_jobs import network, pictures

    fragile = network(pictures(tmp_path / "pictures", seed=1, count=200), ridge=1e-9)
    limits = QualityLimits(max_drop_points=0.0, max_drop_upper_points=2.5)
    out = convert(replace(job, network=fragile, limits=limits, out=tmp_path / "out"), progress=False)
    record = json.loads((out / "conversion.json").read_bytes())
    manifest = open_bundle(out).manifest
    assert manifest.proof.verdict is not Verdict.FAIL
    assert manifest.stages[0].artifacts[0].recipe != "static_wi8_ai8"
    tried = [row["recipe"] for row in record["trials"]]
    assert tried == [recipe.name for recipe in recipes.DEFAULT_RECIPES[: len(tried)]]
    verdicts = {row["recipe"]: row["verdict"] for row in record["trials"]}
    assert verdicts["static_wi8_ai8"] == "fail"
    (chosen,) = record["chosen"]
    assert verdicts[chosen] == manifest.proof.verdict.value
    failed = [recipe for recipe in tried if verdicts[recipe] == "fail"]
    assert all(row["drop_points"] > 0 for row in record["trials"] if row["verdict"] == "fail")
    assert [line.split(":")[0] for line in manifest.proof.fallbacks] == failed


def test_when_no_recipe_is_good_enough_every_reason_is_named_and_nothing_is_left(job, cache, tmp_path):
    spoiled = replace(job, out=tmp_path / "out", limits=QualityLimits(max_size_bytes=100))
    with pytest.raises(EdgeloopError) as caught:
        convert(spoiled, cache=cache, progress=False)
    for recipe in recipes.DEFAULT_RECIPES:
        assert f"{recipe.name}: " in str(caught.value)
    assert "at most 100 are allowed" in str(caught.value)
    assert no_trace_of(tmp_path / "out")


def test_torch_keeps_its_threads(job, bundle):
    import torch

    from converters.parity import one_thread

    before = torch.get_num_threads()
    with one_thread():
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before

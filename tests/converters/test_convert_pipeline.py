from __future__ import annotations

import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from converters import recipes
from converters.job import LabelledPicture, job_digest
from converters.pipeline import convert
from edge import jsonvalue
from edge.bundle.manifest import PreprocessSpec, QualityLimits, Verdict
from edge.bundle.reader import open_bundle
from edge.errors import EdgeloopError, ImageError, StorageError, UsageError

HERE = Path(__file__).resolve().parent


def no_trace_of(out: Path) -> bool:
    return not out.exists() and not any(out.parent.glob(f".{out.name}*"))


def test_the_bundle_says_what_it_is_made_of(bundle, job):
    from converters.types import Proof

    opened = open_bundle(bundle)
    manifest = opened.manifest
    proof = jsonvalue.load(Proof, opened.read("proof.json"), where="proof.json")
    assert manifest.labels == job.labels
    assert manifest.provenance == job.provenance
    assert [(a.file, a.recipe, a.tolerance) for a in manifest.stages[0].artifacts] == [
        ("classify.tflite", "static_wi8_ai8", 0.0),
        ("classify.onnx", "fp32", 1e-4),
    ]
    assert manifest.stages[0].outputs[0].temperature == job.temperature
    assert manifest.proof.verdict is Verdict.PASS
    assert manifest.proof.drop_points == proof.artifacts[0].drop_points
    assert proof.calibration_digests == tuple(picture.digest for picture in job.calibration)
    assert proof.validation_digests == tuple(picture.digest for picture in job.validation)
    assert [p.num_pictures for p in proof.artifacts] == [len(job.validation)] * 2
    assert proof.artifacts[0].float_accuracy > 75
    assert proof.artifacts[1].agreement == 1.0
    assert proof.artifacts[1].errors[0].sqnr_db > 80
    assert opened.read("proof.json") == jsonvalue.canonical_bytes(proof)


def test_the_proof_is_what_the_engine_measures(bundle, job):
    from edge.engine import open_engine

    proof = json.loads((bundle / "proof.json").read_bytes())
    for row in proof["artifacts"]:
        with open_engine(bundle, artifact=row["file"]) as engine:
            right = [engine.infer(p.path).prediction.top[0].label == p.label for p in job.validation]
        assert 100 * sum(right) / len(right) == pytest.approx(row["accuracy"], abs=1e-4)


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
        lambda job: replace(job, validation=(replace(job.validation[0], label="empty"), *job.validation[1:])),
        lambda job: replace(job, limits=QualityLimits(max_drop_points=2)),
        lambda job: replace(job, decision=replace(job.decision, accept_confidence=0.9)),
        lambda job: replace(job, keep=replace(job.keep, random_fraction=0.5)),
        lambda job: replace(job, provenance=replace(job.provenance, seed=4)),
        lambda job: replace(job, recipes=recipes.DEFAULT_RECIPES[1:]),
        other_weights,
    ],
)
def test_any_other_input_is_another_job(job, change):
    assert job_digest(change(job)) != job_digest(job)


def test_the_place_and_the_paths_are_no_part_of_a_job(job, tmp_path):
    moved = tuple(replace(picture, path=tmp_path / picture.path.name) for picture in job.calibration)
    assert job_digest(replace(job, out=tmp_path, calibration=moved)) == job_digest(job)


def test_a_damaged_or_foreign_bundle_is_made_again(bundle, bundle_copy, job):
    copy = bundle_copy()
    model = bytearray((copy / "classify.tflite").read_bytes())
    model[1000] ^= 1
    (copy / "classify.tflite").write_bytes(model)
    assert open_bundle(convert(replace(job, out=copy), progress=False)).digest == open_bundle(bundle).digest


def truncated(job, folder: Path):
    broken = folder / "broken.png"
    broken.write_bytes(job.validation[0].path.read_bytes()[:200])
    return replace(job, validation=(LabelledPicture(digest="0" * 64, path=broken, label="disc"), *job.validation))


def nan_weights(job, folder: Path):
    import copy

    network = copy.deepcopy(job.network)
    network.stem[0].weight.data[0, 0, 0, 0] = float("nan")
    return replace(job, network=network)


def file_in_the_way(job, folder: Path):
    (folder / "file").write_text("x")
    return replace(job, out=folder / "file" / "bundle")


def stranger(job, folder: Path):
    return replace(job, validation=(replace(job.validation[0], label="cat"), *job.validation))


@pytest.mark.parametrize(
    ("spoil", "kind", "code", "words"),
    [
        (nan_weights, EdgeloopError, 1, "weights of 'stem.0.weight' hold 1 values that are not finite"),
        (lambda job, folder: replace(job, calibration=()), UsageError, 2, "at least one calibration picture"),
        (lambda job, folder: replace(job, validation=()), UsageError, 2, "at least one validation picture"),
        (lambda job, folder: replace(job, recipes=()), UsageError, 2, "at least one quantization recipe"),
        (
            lambda job, folder: replace(job, labels=(*job.labels, "fifth")),
            UsageError,
            2,
            "the network has 4 outputs, but there are 5 labels",
        ),
        (lambda job, folder: replace(job, labels=("disc", *job.labels[:3])), UsageError, 2, "'disc' appears more"),
        (stranger, UsageError, 2, "label 'cat', which the network does not know"),
        (truncated, ImageError, 1, "broken.png"),
        (file_in_the_way, StorageError, 1, "cannot write"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_nothing(job, tmp_path, spoil, kind, code, words):
    spoiled = spoil(replace(job, out=tmp_path / "out"), tmp_path)
    with pytest.raises(kind) as caught:
        convert(spoiled, progress=False)
    assert words in str(caught.value)
    assert "\n" not in str(caught.value)
    assert caught.value.exit_code == code
    assert no_trace_of(spoiled.out)


def test_a_network_that_int8_spoils_falls_back_and_says_why(job, tmp_path):
    from conversion_jobs import network, pictures

    fragile = network(pictures(tmp_path / "pictures", seed=1, count=200), ridge=1e-9)
    limits = QualityLimits(max_drop_points=0.0, max_drop_upper_points=2.5)
    out = convert(replace(job, network=fragile, limits=limits, out=tmp_path / "out"), progress=False)
    proof = json.loads((out / "proof.json").read_bytes())
    manifest = open_bundle(out).manifest
    assert manifest.proof.verdict is not Verdict.FAIL
    assert manifest.stages[0].artifacts[0].recipe != "static_wi8_ai8"
    tried = [row["recipe"] for row in proof["rejected"]]
    assert tried == [recipe.name for recipe in recipes.DEFAULT_RECIPES[: len(tried)]]
    assert tried[0] == "static_wi8_ai8"
    assert all(row["drop_points"] > 0 for row in proof["rejected"])
    assert [line.split(":")[0] for line in manifest.proof.fallbacks] == tried


def test_when_no_recipe_is_good_enough_every_reason_is_named_and_nothing_is_left(job, tmp_path):
    with pytest.raises(EdgeloopError) as caught:
        convert(replace(job, out=tmp_path / "out", limits=QualityLimits(max_size_bytes=100)), progress=False)
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

"""`edgeloop convert` and `edgeloop reprove` on a tiny trained run."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_training
from serving import Finished

from cloud_train.datasets.snapshot import save_snapshot
from cloud_train.training.classifier import train_classifier
from converters.records import read_record, read_trained_proof
from edge.bundle.reader import open_bundle

Run = Callable[..., Finished]


@dataclass(frozen=True, slots=True, kw_only=True)
class Trained:
    """A finished run with what it was trained on."""

    run: Path
    snapshot: Path
    blobs: Path
    cache: Path

    def options(self, out: Path) -> tuple[object, ...]:
        told = ("--snapshot", self.snapshot, "--blobs", self.blobs, "--cache", self.cache)
        return ("convert", self.run, *told, "--out", out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Trained:
    root = tmp_path_factory.mktemp("converted")
    snapshot, blobs = tiny_training.freeze(tiny_training.write_coloured(root / "data"), root / "store")
    train_classifier(snapshot, blobs, tiny_training.RECIPE, root / "run", progress=False)
    digest = save_snapshot(snapshot, root / "snapshots")
    return Trained(
        run=root / "run",
        snapshot=root / "snapshots" / f"{digest}.json",
        blobs=root / "store" / "blobs",
        cache=root / "cache",
    )


@pytest.fixture
def converted(trained: Trained, run_here: Run, tmp_path: Path) -> Path:
    done = run_here(*trained.options(tmp_path / "bundle"))
    assert done.returncode == 0, done.stderr
    return tmp_path / "bundle"


def test_a_second_conversion_elsewhere_gives_the_same_bundle(
    trained: Trained, converted: Path, run_here: Run, tmp_path: Path
) -> None:
    done = run_here(*trained.options(tmp_path / "again"), "--json")
    assert json.loads(done.stdout)["digest"] == open_bundle(converted).digest


def test_a_search_prints_what_every_recipe_costs(trained: Trained, run_here: Run, tmp_path: Path) -> None:
    done = run_here(*trained.options(tmp_path / "best"), "--auto", "--also", "onnx_qdq_wu8_au8")
    assert done.returncode == 0, done.stderr
    record = read_record(open_bundle(tmp_path / "best"))
    assert record is not None
    lines = done.stdout.splitlines()
    assert lines[0].split()[:3] == ["recipe", "MB", "score"]
    tried = {one.recipe for one in record.trials}
    assert {line.split()[0] for line in lines[1 : 1 + len(record.trials)]} == tried
    assert {"static_wi8_ai8", "static_wi8_ai8_mse", "weight_int8", "fp16", "onnx_fp16"} <= tried
    files = [artifact.recipe for artifact in open_bundle(tmp_path / "best").manifest.stages[0].artifacts]
    assert files[1:] == ["onnx_qdq_wu8_au8", "onnx_fp32"]


def test_the_proof_made_again_from_bundle_and_snapshot_alone_is_equal(
    trained: Trained, converted: Path, run_here: Run
) -> None:
    done = run_here("reprove", converted, "--snapshot", trained.snapshot, "--blobs", trained.blobs, "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["equal"]
    assert found["proof"] == json.loads((converted / "proof.json").read_bytes())


def test_a_proof_that_says_better_than_it_is_is_found_out(
    trained: Trained, converted: Path, run_here: Run, tmp_path: Path
) -> None:
    """Whoever forges the figure must forge the manifest's digests too; the pictures still tell."""
    import hashlib
    from dataclasses import replace

    from edge import jsonvalue

    bundle = open_bundle(converted)
    proof = read_trained_proof(bundle)
    assert proof is not None
    better = replace(proof, artifacts=tuple(replace(one, agreement=0.5) for one in proof.artifacts))
    data = jsonvalue.canonical_bytes(better)
    forged = shutil.copytree(converted, tmp_path / "forged")
    entries = tuple(
        replace(entry, sha256=hashlib.sha256(data).hexdigest(), size_bytes=len(data))
        if entry.name == "proof.json"
        else entry
        for entry in bundle.manifest.files
    )
    (forged / "proof.json").write_bytes(data)
    (forged / "manifest.json").write_bytes(jsonvalue.canonical_bytes(replace(bundle.manifest, files=entries)))
    done = run_here("reprove", forged, "--snapshot", trained.snapshot, "--blobs", trained.blobs)
    assert done.returncode == 1
    assert "proof.artifacts[0].agreement: stated 0.5" in done.stderr


@pytest.mark.parametrize(
    ("options", "code", "words"),
    [
        (("--recipe", "int4"), 2, "no quantization recipe 'int4'"),
        (("--recipe", "fp16", "--recipe", "fp16"), 2, "named twice"),
        (("--recipe", "onnx_fp16"), 2, "the preferred model is a TFLite one"),
        (("--metric", "ap50"), 2, "metric 'ap50' does not fit a bundle with task 'classify'"),
        (("--max-latency", "0.000001"), 1, "slower than 1e-06 ms on the machine that converted it"),
        (("--max-size", "10"), 1, "at most 10 are allowed"),
        (("--app", "nothing"), 2, "'nothing' is not an application"),
    ],
)
def test_bad_input_is_one_line_and_leaves_nothing(
    trained: Trained, run_here: Run, tmp_path: Path, options: tuple[str, ...], code: int, words: str
) -> None:
    out = tmp_path / "out"
    done = run_here(*trained.options(out), *options)
    assert done.returncode == code
    assert words in done.stderr
    assert len(done.stderr.strip().splitlines()) <= 2
    assert not out.exists()
    assert not list(tmp_path.glob(".out*"))


def test_a_bundle_of_another_snapshot_is_refused(
    trained: Trained, converted: Path, run_here: Run, tmp_path: Path
) -> None:
    other, _ = tiny_training.freeze(tiny_training.write_coloured(tmp_path / "data", 9), tmp_path / "store")
    digest = save_snapshot(other, tmp_path / "snapshots")
    snapshot = tmp_path / "snapshots" / f"{digest}.json"
    done = run_here("reprove", converted, "--snapshot", snapshot, "--blobs", trained.blobs)
    assert done.returncode == 2
    assert "was not trained on snapshot" in done.stderr

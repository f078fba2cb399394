from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from page_reading import assert_self_contained, read_page
from proof_values import made_answers, made_layers, made_trial
from tiny_bundles import build_bundle, bundle_fields, write_manifest

from converters.records import CONVERSION_FILE
from converters.types import ConversionRecord, Estimate, Latency, Measurements, Proof
from edge import jsonvalue
from edge.bundle.manifest import MEASUREMENTS_NAME, Origin, QualityLimits, Verdict
from edge.bundle.reader import open_bundle

COMPAT = Path(__file__).resolve().parents[1] / "compat" / "bundle_v1.edgebundle"

RUN = "from converters.cli import bundle; from edge.cli import run_cli; run_cli(bundle)"


def run(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", RUN, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_show_and_verify(bundle):
    shown = run("show", bundle)
    assert shown.returncode == 0
    assert "shapes version 1" in shown.stdout
    assert "classify.tflite, static_wi8_ai8" in shown.stdout
    value = json.loads(run("show", bundle, "--json").stdout)
    assert value["digest"] == open_bundle(bundle).digest
    assert value["manifest"]["name"] == "shapes"
    verified = json.loads(run("verify", bundle, "--json").stdout)
    assert verified["ok"] is True
    assert verified["golden_vectors"] >= 8
    assert run("verify", bundle, "--artifact", "classify.onnx").stdout.startswith("ok: ")


def test_pack_and_unpack_give_the_same_bundle(bundle, tmp_path):
    archive = tmp_path / "folder" / "shapes.edgebundle"
    assert run("pack", bundle, archive).returncode == 0
    done = run("unpack", archive, tmp_path / "again", "--json")
    assert json.loads(done.stdout)["digest"] == open_bundle(bundle).digest
    assert open_bundle(tmp_path / "again").digest == open_bundle(bundle).digest


def flip(folder: Path) -> Path:
    data = bytearray((folder / "classify.onnx").read_bytes())
    data[500] ^= 4
    (folder / "classify.onnx").write_bytes(data)
    return folder


@pytest.fixture
def told(tmp_path: Path) -> Path:
    """A tiny bundle that tells all that there is to tell."""
    folder = build_bundle(tmp_path / "told")
    colours = ("red", "green", "blue")
    trial = made_trial("fp32", 0.4, file="tiny_fp32.tflite", answers=made_answers(colours), size=3_696)
    failed = made_trial("static_wi8_ai8", 4.0, Verdict.FAIL, file="tiny.tflite")
    proof = Proof(
        limits=QualityLimits(),
        calibration_digests=(),
        validation_digests=(),
        artifacts=(trial,),
        reference="tiny_fp32.onnx",
        score=Estimate(value=91.4, lower=88.0, upper=94.0),
    )
    record = ConversionRecord(parity=(), trials=(failed, trial), chosen=("fp32",), layers=made_layers(5))
    latency = Latency(file="tiny_fp32.tflite", p50_ms=0.71, p95_ms=0.9, runs=30, recipe="fp32")
    (folder / "proof.json").write_bytes(jsonvalue.canonical_bytes(proof))
    (folder / CONVERSION_FILE).write_bytes(jsonvalue.canonical_bytes(record))
    write_manifest(folder, bundle_fields() | {"golden_file": "golden.json"})
    measured = Measurements(created_at=1.0, machine="Example CPU", latencies=(latency,))
    (folder / MEASUREMENTS_NAME).write_bytes(jsonvalue.pretty_bytes(measured))
    return folder


def test_show_tells_what_every_model_costs(told):
    shown = run("show", told).stdout.splitlines()
    assert "model      tiny_fp32.tflite, fp32, 0.00 MB, drop 0.40 (-0.50 to 1.30), agreement 98.2 %, 0.71 ms" in shown
    assert "model      tiny_fp32.onnx, fp32, 0.00 MB, the reference" in shown
    assert "metric     top1" in shown
    assert "reference  tiny_fp32.onnx, 91.4 points (88.0 to 94.0)" in shown
    value = json.loads(run("show", told, "--json").stdout)
    assert value["proof"]["artifacts"][0]["drop_points"] == 0.4
    assert [one["recipe"] for one in value["conversion"]["trials"]] == ["static_wi8_ai8", "fp32"]
    assert value["measurements"]["machine"] == "Example CPU"


def test_show_writes_the_page_of_a_proof_anew(told, tmp_path):
    page = tmp_path / "deep" / "proof.html"
    done = run("show", told, "--html", page)
    assert done.returncode == 0
    html = page.read_text()
    found = read_page(html)
    assert_self_contained(found, html)
    words = " ".join(" ".join(found.words).split())
    assert "Of 2 recipes tried, 1 failed: static_wi8_ai8." in words
    assert open_bundle(told).digest in words
    assert list(page.parent.iterdir()) == [page]


def test_a_bundle_of_version_1_is_shown_straight_from_its_archive(tmp_path):
    shown = run("show", COMPAT, "--html", tmp_path / "proof.html")
    assert shown.returncode == 0
    assert "tiny_fp32.tflite, fp32, 0.00 MB, drop 0.00 (0.00 to 0.00), agreement 100.0 %" in shown.stdout
    assert "No times are known for this bundle." in (tmp_path / "proof.html").read_text()
    value = json.loads(run("show", COMPAT, "--json").stdout)
    assert (value["conversion"], value["measurements"]) == (None, None)


def test_a_bundle_without_a_proof_has_no_page(tmp_path):
    bare = build_bundle(tmp_path / "bare", origin=Origin.IMPORTED, verdict=Verdict.NONE)
    done = run("show", bare, "--html", tmp_path / "proof.html")
    assert (done.returncode, done.stdout) == (1, "")
    assert "has no proof of a conversion, so there is no page to write" in done.stderr
    assert not (tmp_path / "proof.html").exists()
    assert json.loads(run("show", bare, "--json").stdout)["proof"] is None


@pytest.mark.parametrize("data", [b"{}", b"\xff", b"[]"])
def test_damaged_measurements_are_one_line(told, data):
    (told / MEASUREMENTS_NAME).write_bytes(data)
    done = run("show", told)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert MEASUREMENTS_NAME in done.stderr


def test_diff_of_folders_and_archives(tmp_path):
    first, second = build_bundle(tmp_path / "a"), build_bundle(tmp_path / "b", version=2, flavour=1)
    lines = run("diff", first, second).stdout.splitlines()
    assert lines[0] == "bundle     tiny version 1 -> tiny version 2"
    assert "field      version: 1 -> 2" in lines
    assert any(line.startswith("model      classify/tiny_fp32.onnx: ") for line in lines)
    value = json.loads(run("diff", COMPAT, second, "--json").stdout)
    assert value["digests"][1] == open_bundle(second).digest
    same = run("diff", first, first)
    assert same.returncode == 0
    assert same.stdout.startswith("the same bundle: tiny version 1")


@pytest.mark.parametrize("damaged", [0, 1])
def test_diff_with_what_is_no_bundle_is_one_line(tmp_path, damaged):
    sides = [build_bundle(tmp_path / "a"), build_bundle(tmp_path / "b")]
    sides[damaged] = tmp_path / "words.txt"
    sides[damaged].write_text("words")
    done = run("diff", *sides)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (1, "", 1)
    assert "words.txt: not a bundle" in done.stderr


@pytest.mark.parametrize("command", ["show", "verify"])
def test_a_flipped_byte_is_one_line_and_exit_code_1(bundle_copy, command):
    done = run(command, flip(bundle_copy()))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("edgeloop: error: ")
    assert "classify.onnx" in done.stderr
    assert done.stderr.count("\n") == 1


@pytest.mark.parametrize("command", ["show", "verify", "pack"])
def test_a_place_without_a_bundle_is_one_line(tmp_path, command):
    done = run(command, tmp_path / "nowhere", *([tmp_path / "x.edgebundle"] if command == "pack" else []))
    assert done.returncode == 1
    assert "not a bundle" in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_looking_at_bundles_loads_no_training_library():
    code = (
        "import sys, converters.cli; print([m for m in ('torch', 'litert_torch', 'onnx', 'numpy') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"

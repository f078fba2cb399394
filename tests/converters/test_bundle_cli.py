from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from edge.bundle.reader import open_bundle

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
